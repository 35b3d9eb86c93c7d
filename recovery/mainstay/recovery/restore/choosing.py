"""Which point a restore takes: the newest good one at or before a moment that holds what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mainstay.inventory.errors import MainstayError, Refused, UsageError
from mainstay.recovery.depot import Depot
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import Restic, ResticError
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.order import Piece
from mainstay.runner.verdict import Verdict

SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """at: nothing newer. point: the beginning of an id. database: name of one in a source of databases."""

    host: str
    paths: tuple[str, ...] = ()
    source: str = ""
    database: str = ""
    at: datetime | None = None
    point: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """pieces: in the order of their points. notes: what somebody who says yes has to know. proved: point → when it was last
    proved, RFC 3339 UTC."""

    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    proved: Mapping[str, str] = field(default_factory=dict)


def choose(wanted: Wanted, depot: Depot, repositories: Mapping[str, Repository]) -> Choice:
    """Asks the repositories, and goes on to a copy where one can't be asked. repositories: name → as declared now.
    Raises UsageError where no point was made that could be meant, Refused where none can be had."""
    known = depot.points.points(hosts=[wanted.host])
    if not known:
        raise UsageError(
            f"nothing of {wanted.host} was ever backed up here", hint="mainstay points shows what there is"
        )
    found = candidates(known, wanted)
    search = _Search(wanted, depot, repositories)
    pieces: dict[str, tuple[RecoveryPoint, list[str], int, int]] = {}
    for path in wanted.paths or ("",):
        point, files, size = search.newest(found, path)
        before = pieces.get(point.id, (point, [], 0, 0))
        pieces[point.id] = (point, [*before[1], *([path] if path else [])], before[2] + files, before[3] + size)
    made = tuple(Piece(point=p, paths=tuple(paths), files=f, bytes=b) for p, paths, f, b in pieces.values())
    chosen = [piece.point for piece in made]
    proofs = depot.points.proofs(points=[point.id for point in chosen])
    notes = [*search.notes, *_degraded(chosen), *_newer(found, chosen)]
    return Choice(made, tuple(dict.fromkeys(notes)), proved(proofs))


def candidates(known: Sequence[RecoveryPoint], wanted: Wanted) -> list[RecoveryPoint]:
    """Those that could be meant, newest first; of the same moment the first repository's before its copies. Raises UsageError
    that says what there is instead."""
    named = [
        point
        for point in known
        if (not wanted.source or point.source == wanted.source)
        and (not wanted.database or point.item == wanted.database)
        and (not wanted.repository or point.repository == wanted.repository)
        and point.id.startswith(wanted.point)
    ]
    if not named:
        what = [
            *([f"source {wanted.source}"] if wanted.source else []),
            *([f"database {wanted.database}"] if wanted.database else []),
            *([f"repository {wanted.repository}"] if wanted.repository else []),
            *([f"point {wanted.point}"] if wanted.point else []),
        ]
        there = ", ".join(sorted({point.unit for point in known}))
        raise UsageError(f"{wanted.host} has no point of {', '.join(what)}", hint=f"It has points of {there}.")
    before = [point for point in named if wanted.at is None or datetime.fromisoformat(point.at) <= wanted.at]
    if not before:
        first = min(named, key=lambda point: point.at)
        raise UsageError(
            f"{wanted.host} has no point so old",
            hint=f"The first one is of {first.at} ({first.unit}, {first.id[:SHOWN]}).",
        )
    return sorted(before, key=lambda point: (point.at, point.copy_of is None, point.id), reverse=True)


def proved(proofs: Iterable[Proof]) -> dict[str, str]:
    """point → when it was last proved."""
    good = (Verdict.SUCCEEDED, Verdict.DEGRADED)
    return {proof.point: proof.at for proof in sorted(proofs, key=lambda one: one.at) if proof.verdict in good}


class _Search:
    """Asks each repository once whether it can be reached."""

    def __init__(self, wanted: Wanted, depot: Depot, repositories: Mapping[str, Repository]) -> None:
        self.wanted, self.depot, self.repositories = wanted, depot, repositories
        self.notes: list[str] = []
        self._open: dict[str, tuple[Restic, set[str]] | None] = {}
        self._first: MainstayError | None = None

    def newest(self, found: Sequence[RecoveryPoint], path: str) -> tuple[RecoveryPoint, int, int]:
        """(point, files, bytes) of the newest that holds the path; succeeded ones first."""
        good = [point for point in found if point.verdict is Verdict.SUCCEEDED or self.wanted.point]
        for point in [*good, *(point for point in found if point not in good)]:
            if path and not covers(point, path):
                continue
            held = self._held(point, path)
            if held is not None:
                return point, *held
        what = f"{path} of {self.wanted.host}" if path else f"what is asked for of {self.wanted.host}"
        if self._first is not None:
            raise self._first
        raise Refused(
            f"no point that could be meant holds {what}",
            hint="A path is absolute and as it was on the host; mainstay points shows what was backed up.",
        )

    def _held(self, point: RecoveryPoint, path: str) -> tuple[int, int] | None:
        """How much of it the snapshot holds; None: nothing, or it can't be asked."""
        opened = self._opened(point.repository)
        if opened is None:
            return None
        restic, there = opened
        if point.id not in there:
            self.notes.append(f"point {point.id[:SHOWN]} of {point.at} is gone from repository {point.repository}")
            return None
        count = [0, 0, 0]

        def each(node: Node) -> None:
            count[0] += 1
            if node.type == "file":
                count[1] += 1
                count[2] += node.size

        restic.ls(point.id, each, (path,) if path else ())
        return (count[1], count[2]) if count[0] else None

    def _opened(self, name: str) -> tuple[Restic, set[str]] | None:
        if name not in self._open:
            try:
                self._open[name] = self._ask(name)
            except MainstayError as error:
                self._open[name] = None
                self._first = self._first or error
                plain = error.plain if isinstance(error, ResticError) else error.message
                self.notes.append(f"repository {name} can't be asked: {plain}")
        return self._open[name]

    def _ask(self, name: str) -> tuple[Restic, set[str]]:
        if name not in self.repositories:
            raise UsageError(f"repository {name} is not declared in the site any more")
        restic = self.depot.open(self.repositories[name], self.wanted.host)
        return restic, {snapshot.id for snapshot in restic.snapshots()}


def covers(point: RecoveryPoint, path: str) -> bool:
    """Whether the point could hold it: what it was given is above the path, below it, or not known."""
    below = f"{path.rstrip('/')}/"
    return not point.paths or any(
        path == one or path.startswith(f"{one.rstrip('/')}/") or one.startswith(below) for one in point.paths
    )


def _degraded(chosen: Iterable[RecoveryPoint]) -> list[str]:
    found = []
    for point in chosen:
        if point.verdict is not Verdict.SUCCEEDED:
            why = [f"{point.unreadable} files could not be read"] if point.unreadable else []
            said = "; ".join([*why, *point.anomalies])
            found.append(f"point {point.id[:SHOWN]} is {point.verdict}" + (f": {said}" if said else ""))
    return found


def _newer(found: Iterable[RecoveryPoint], chosen: Sequence[RecoveryPoint]) -> list[str]:
    """Degraded points that were passed over."""
    notes = []
    for point in chosen:
        later = [
            one for one in found if one.unit == point.unit and one.at > point.at and one.verdict is Verdict.DEGRADED
        ]
        if later:
            newest = max(later, key=lambda one: one.at)
            notes.append(
                f"a newer point of {newest.unit} is degraded and was passed over: {newest.at}; --point {newest.id[:SHOWN]} takes it"
            )
    return notes

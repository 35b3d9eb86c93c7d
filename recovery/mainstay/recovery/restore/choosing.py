"""Which point a restore takes: the newest good one at or before a moment that holds what is asked for."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from mainstay.inventory.errors import MainstayError, Refused, UsageError
from mainstay.inventory.validation import did_you_mean
from mainstay.recovery.depot import Depot
from mainstay.recovery.point import ADOPTED, Proof, RecoveryPoint
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import (
    Locked,
    NoRepository,
    Restic,
    ResticError,
    TooOld,
    Unreachable,
    WrongPassword,
)
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.order import Piece
from mainstay.recovery.words import counted
from mainstay.runner.verdict import Verdict

SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


class Elsewhere(Refused):
    """It can't be had from the repository that was meant. instead: of each other one that holds it, its newest point. No other
    repository is ever taken without somebody asking for it."""

    def __init__(self, message: str, instead: Sequence[RecoveryPoint]) -> None:
        super().__init__(message)
        self.instead = tuple(instead)


@dataclass(frozen=True, slots=True)
class Wanted:
    """at: nothing newer. point: the beginning of an id. database: name of one in a source of databases. Without a repository or
    a point none but the plans' own repositories are meant, not their copies."""

    host: str
    paths: tuple[str, ...] = ()
    source: str = ""
    database: str = ""
    at: datetime | None = None
    point: str = ""
    repository: str = ""
    plan: str = ""

    @property
    def copies(self) -> bool:
        return bool(self.repository or self.point)


@dataclass(frozen=True, slots=True)
class Choice:
    """pieces: in the order of their points. notes: what somebody who says yes has to know. proved: point → when it was last
    proved, RFC 3339 UTC."""

    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    proved: Mapping[str, str] = field(default_factory=dict)


def choose(wanted: Wanted, depot: Depot, repositories: Mapping[str, Repository]) -> Choice:
    """Asks the repositories. repositories: name → as declared now. Raises UsageError where no point was made that could be
    meant, Elsewhere where another repository has it, Refused where none can be had; ResticError."""
    known = depot.points.points(hosts=[wanted.host])
    if not known:
        raise UsageError(
            f"Nothing of {wanted.host} was ever backed up here.",
            hint="mainstay points shows what there is. What a lost controller has made: mainstay repo init PLAN --adopt",
        )
    found = candidates(known, wanted)
    search = _Search(wanted, depot, repositories, _others(known, wanted))
    pieces: dict[str, tuple[RecoveryPoint, list[str], int, int]] = {}
    for path in wanted.paths or ("",):
        point, files, size = search.newest(found, path)
        before = pieces.get(point.id, (point, [], 0, 0))
        pieces[point.id] = (point, [*before[1], *([path] if path else [])], before[2] + files, before[3] + size)
    made = tuple(Piece(point=p, paths=tuple(paths), files=f, bytes=b) for p, paths, f, b in pieces.values())
    chosen = [piece.point for piece in made]
    proofs = proved(depot.points.proofs(points=[id for point in chosen for id in (point.id, point.copy_of) if id]))
    # A copy holds its original's data as it is, and is proved with it.
    times = {point.id: [proofs[id] for id in (point.id, point.copy_of) if id in proofs] for point in chosen}
    notes = [*search.notes, *_degraded(chosen), *_newer(found, chosen), *_newer_copies(search.others, found, chosen)]
    return Choice(made, tuple(dict.fromkeys(notes)), {id: max(of) for id, of in times.items() if of})


def candidates(known: Sequence[RecoveryPoint], wanted: Wanted) -> list[RecoveryPoint]:
    """Those that could be meant, newest first; of the same moment the first repository's before its copies. Empty where there are
    copies alone, and none was asked for. Raises UsageError that says what there is instead."""
    named = _named(known, wanted)
    if not named:
        asked = {name: getattr(wanted, name) for name in ("plan", "source", "database", "repository", "point")}
        what = [f"{'id' if name == 'point' else name} {value}" for name, value in asked.items() if value]
        there = sorted({f"{point.unit} ({point.plan}, in {point.repository})" for point in known})
        near = _meant(known, wanted)
        hint = f"{near + ' ' if near else ''}It has points of {', '.join(there)}."
        raise UsageError(f"{wanted.host} has no point of {', '.join(what)}", hint=hint)
    if wanted.point and len(ids := {point.id for point in named}) > 1:
        shown = ", ".join(
            f"{point.id[: max(SHOWN, len(wanted.point) + 1)]} ({point.unit}, {point.at})" for point in named[:5]
        )
        raise UsageError(f"{len(ids)} points of {wanted.host} begin with {wanted.point}", hint=f"Which one: {shown}?")
    before = _before(named, wanted)
    if not before:
        first = min(named, key=lambda point: point.at)
        raise UsageError(
            f"{wanted.host} has no point so old",
            hint=f"The first one is of {first.at[:16]}Z ({first.unit}): --point {first.id[:SHOWN]}",
        )
    return _sorted(point for point in before if wanted.copies or point.copy_of is None)


def _meant(known: Sequence[RecoveryPoint], wanted: Wanted) -> str:
    """Of the first word that no point has: the nearest that one has, as a question."""
    for word, field_ in (("plan", "plan"), ("source", "source"), ("database", "item"), ("repository", "repository")):
        there = {getattr(point, field_) for point in known} - {""}
        if getattr(wanted, word) and getattr(wanted, word) not in there:
            return did_you_mean(getattr(wanted, word), there) or ""
    return ""


def _named(known: Iterable[RecoveryPoint], wanted: Wanted) -> list[RecoveryPoint]:
    return [
        point
        for point in known
        if (not wanted.plan or point.plan == wanted.plan)
        and (not wanted.source or point.source == wanted.source)
        and (not wanted.database or point.item == wanted.database)
        and (not wanted.repository or point.repository == wanted.repository)
        and point.id.startswith(wanted.point)
    ]


def _before(points: Iterable[RecoveryPoint], wanted: Wanted) -> list[RecoveryPoint]:
    return [point for point in points if wanted.at is None or datetime.fromisoformat(point.at) <= wanted.at]


def _sorted(points: Iterable[RecoveryPoint]) -> list[RecoveryPoint]:
    return sorted(points, key=lambda point: (point.at, point.copy_of is None, point.id), reverse=True)


def _others(known: Sequence[RecoveryPoint], wanted: Wanted) -> list[RecoveryPoint]:
    """What could be taken instead, in whichever repository; where a point was named, it and its copies."""
    named = _named(known, replace(wanted, repository="", point=""))
    if wanted.point:
        origins = {_origin(point) for point in _named(known, wanted)}
        return _sorted(point for point in named if _origin(point) in origins)
    return _sorted(_before(named, wanted))


def _origin(point: RecoveryPoint) -> str:
    return point.copy_of or point.id


def proved(proofs: Iterable[Proof]) -> dict[str, str]:
    """point → when it was last proved."""
    good = (Verdict.SUCCEEDED, Verdict.DEGRADED)
    return {proof.point: proof.at for proof in sorted(proofs, key=lambda one: one.at) if proof.verdict in good}


AWAY = (Unreachable, NoRepository, WrongPassword, Locked, TooOld)
"""What is said of a repository, and not of a snapshot."""
NAMED = 8
"""Paths that are named where none of them is the one that was meant."""


class _Search:
    """Asks each repository once whether it can be reached. others: what could be taken instead, where somebody asked for it."""

    def __init__(
        self, wanted: Wanted, depot: Depot, repositories: Mapping[str, Repository], others: Sequence[RecoveryPoint]
    ) -> None:
        self.wanted, self.depot, self.repositories, self.others = wanted, depot, repositories, others
        self.notes: list[str] = []
        self._open: dict[str, Restic | MainstayError] = {}
        self._there: dict[str, set[str]] = {}

    def newest(self, found: Sequence[RecoveryPoint], path: str) -> tuple[RecoveryPoint, int, int]:
        """(point, files, bytes) of the newest that holds the path; succeeded ones first."""
        away: MainstayError | None = None
        for point in self._good_first(found):
            if path and not covers(point, path):
                continue
            opened = self._opened(point.repository)
            if isinstance(opened, MainstayError):
                away = opened
                break
            held = self._held(point, path)
            if held is not None:
                return point, *held
            if isinstance(opened := self._opened(point.repository), MainstayError):
                away = opened
                break
        raise self._nowhere(found, path, away)

    def _good_first(self, points: Sequence[RecoveryPoint]) -> list[RecoveryPoint]:
        good = [point for point in points if point.verdict is Verdict.SUCCEEDED or self.wanted.point]
        return [*good, *(point for point in points if point not in good)]

    def _nowhere(self, found: Sequence[RecoveryPoint], path: str, away: MainstayError | None) -> MainstayError:
        what = f"{path} of {self.wanted.host}" if path else f"what is asked for of {self.wanted.host}"
        tried = {point.id for point in found}
        instead: dict[str, RecoveryPoint] = {}
        for point in self._good_first(self.others):
            name = point.repository
            if name in instead or (point.id in tried and not away) or (path and not covers(point, path)):
                continue
            if not isinstance(self._opened(name), MainstayError) and self._held(point, path) is not None:
                instead[name] = point
        if instead:
            why = " and ".join(dict.fromkeys(self._away)) or f"none of the plans' own repositories holds {what} now"
            return Elsewhere(
                f"{why}. Nothing is taken from another repository unless that is asked for", [*instead.values()]
            )
        return away or self._not_there(found, path, what)

    def _not_there(self, found: Sequence[RecoveryPoint], path: str, what: str) -> Refused:
        host, looked = self.wanted.host, [point for point in found if not path or covers(point, path)]
        kept = dict.fromkeys(one for point in found for one in point.paths)
        if path and not looked and kept:
            hint = f"What is backed up of it: {', '.join([*kept][:NAMED])}{', …' if len(kept) > NAMED else ''}"
            return Refused(f"{path} of {host} is in no point", hint=f"{hint} (mainstay points {host} --all).")
        up = posixpath.dirname(path.rstrip("/"))
        near = f"What lies around it: mainstay restore {host} --path {up} --to DIR -n" if up not in ("", "/") else ""
        others = f"the points are shown by mainstay points {host} --all."
        hint = f"A path is absolute and as it was on the host. {near}; {others}" if near else others.capitalize()
        return Refused(f"None of {counted(len(looked), 'point')} that could be meant holds {what}", hint=hint)

    @property
    def _away(self) -> list[str]:
        told = []
        for name, one in self._open.items():
            if isinstance(one, MainstayError):
                plain = one.plain if isinstance(one, ResticError) else one.message
                told.append(f"repository {name} can't be asked: {plain.rstrip('.')}")
        return told

    def _held(self, point: RecoveryPoint, path: str) -> tuple[int, int] | None:
        """How much of it the snapshot holds; None: nothing, or it can't be asked."""
        opened = self._opened(point.repository)
        if isinstance(opened, MainstayError):
            return None
        count = [0, 0, 0]

        def each(node: Node) -> None:
            count[0] += 1
            if node.type == "file":
                count[1] += 1
                count[2] += node.size

        try:
            paths = (path,) if path else ()
            self.depot.listings.keep(opened, point.id, each, paths, self.depot.clock.now())
        except AWAY as error:
            self._open[point.repository] = error
            return None
        except ResticError:
            # Which snapshots there are takes a restic of its own, and is asked where one could not be listed alone.
            there = self._snapshots(point.repository, opened)
            if there is not None and point.id in there:
                raise
            if there is not None:
                self._gone(point)
            return None
        return (count[1], count[2]) if count[0] else None

    def _snapshots(self, name: str, restic: Restic) -> set[str] | None:
        """None: it can't be asked, which is kept."""
        if name not in self._there:
            try:
                self._there[name] = {snapshot.id for snapshot in restic.snapshots()}
            except ResticError as error:
                self._open[name] = error
                return None
        return self._there[name]

    def _gone(self, point: RecoveryPoint) -> None:
        copies = [one for one in self.others if _origin(one) == _origin(point) and one.id != point.id]
        more = "".join(f"; --point {one.id[:SHOWN]} takes its copy in {one.repository}" for one in copies)
        self.notes.append(f"point {point.id[:SHOWN]} of {point.at} is gone from repository {point.repository}{more}")

    def _opened(self, name: str) -> Restic | MainstayError:
        if name not in self._open:
            try:
                self._open[name] = self._begin(name)
            except MainstayError as error:
                self._open[name] = error
        return self._open[name]

    def _begin(self, name: str) -> Restic:
        """Nothing is asked of it yet."""
        if name not in self.repositories:
            raise UsageError(f"repository {name} is not declared in the site any more")
        return self.depot.open(self.repositories[name], self.wanted.host)


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
            why += ["how its backup ended is not known here"] if ADOPTED in point.measures else []
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


def _newer_copies(
    others: Iterable[RecoveryPoint], found: Iterable[RecoveryPoint], chosen: Sequence[RecoveryPoint]
) -> list[str]:
    """Copies of later points than the chosen one whose originals are not kept any more."""
    notes, kept = [], {point.id for point in found}
    for point in chosen:
        later = [
            one
            for one in others
            if one.copy_of is not None
            and one.copy_of not in kept
            and (one.plan, one.unit) == (point.plan, point.unit)
            and one.at > point.at
            and one.verdict is Verdict.SUCCEEDED
        ]
        if later and point.copy_of is None:
            newest = max(later, key=lambda one: one.at)
            notes.append(
                f"{newest.repository} has a copy of a newer point of {newest.unit}: {newest.at}; "
                f"--point {newest.id[:SHOWN]} takes it"
            )
    return notes

"""What is to be proved and read next: which source is due for a restore, which of its files are taken, and which part of a
repository's data is read. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import zip_longest
from statistics import median_low

from mainstay.inventory.names import clean
from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Group, group_of
from mainstay.recovery.freshness import PROVES, present
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.words import counted, sized

FIRST_RETRY = 3600.0
"""Seconds after a proof that failed; twice as many after each further one, and never more than the plan's own time."""
MOST_PARTS = 256
"""restic's own limit of n/t (https://restic.readthedocs.io/en/stable/045_working_with_repos.html)."""
SPARE = 0.15
"""Share of the nights in which nothing has to be read: so many can be missed."""
NAMED = 20
"""So many of what was left out are named."""


class Due(Value):
    """A source whose newest point is to be proved now."""

    point: RecoveryPoint
    reason: str


def due_at(every: float, proved_at: float | None, tried_at: float | None = None, failures: int = 0) -> float:
    """The moment (Unix seconds) from which on a proof is due; 0: at once. every: seconds. proved_at: the last that proved
    something. tried_at: the last one of all. failures: how many have failed since."""
    due = 0.0 if proved_at is None else proved_at + every
    if failures and tried_at is not None:
        due = max(due, tried_at + min(every, FIRST_RETRY * 2.0 ** min(failures - 1, 30)))
    return due


def proofs_due(
    points: Iterable[RecoveryPoint],
    proofs: Iterable[Proof],
    every: float,
    now: float,
    *,
    tried: Mapping[Group, float] | None = None,
) -> list[Due]:
    """Of each (host, plan, unit) with points, in their order. every: seconds. proofs: also those that failed. tried: when a
    proof was last begun that left none (it died); Unix seconds.

    What is proved is the newest point: a proof of an old one would say nothing of tonight's.
    """
    moment = datetime.fromtimestamp(now, UTC)
    newest: dict[Group, RecoveryPoint] = {}
    for point in present(points, moment):
        newest[group_of(point)] = point  # oldest first
    tries: dict[Group, list[tuple[float, Proof]]] = {}
    for proof in proofs:
        at = _seconds(proof.at)
        if at <= now:
            tries.setdefault(_group(proof), []).append((at, proof))
    found = []
    for group, point in sorted(newest.items()):
        mine = sorted(tries.get(group, []), key=lambda one: one[0])
        good = [at for at, proof in mine if proof.verdict in PROVES]
        proved_at = good[-1] if good else None
        failed = [at for at, _ in mine if proved_at is None or at > proved_at]
        died = (tried or {}).get(group)
        if died is not None and died > max([*failed, proved_at or 0.0]):
            failed.append(died)
        if due_at(every, proved_at, failed[-1] if failed else None, len(failed)) <= now:
            found.append(Due(point=point, reason=_why(proved_at, failed)))
    return found


def _why(proved_at: float | None, failed: Sequence[float]) -> str:
    since = "never proved" if proved_at is None else f"last proved {_day(proved_at)}"
    return f"{since}, {counted(len(failed), 'attempt')} failed since" if failed else since


def _group(proof: Proof) -> Group:
    return proof.host, proof.plan, f"{proof.source}/{proof.item}" if proof.item else proof.source


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


class Sample(Value):
    """The files of a point that are restored to prove it."""

    files: tuple[Node, ...] = ()
    of: int = 0
    """How many files there are."""
    bytes: int = 0
    """Of the sample."""
    left_out: tuple[str, ...] = ()
    """In words: what would have been taken but for a limit. It is not proved."""

    @property
    def scope(self) -> str:
        return f"{len(self.files):,} of {counted(self.of, 'file')}, {sized(self.bytes)}"


LONGEST = 3500
"""Bytes of a path that is restored: below the folder of a restore it has to stay under PATH_MAX, 4,096."""


def askable(path: str) -> bool:
    """Whether restic can be asked for that file of a listing."""
    return "\ufffd" not in path and "\0" not in path


def _long(path: str) -> bool:
    return len(path.encode("utf-8", "replace")) > LONGEST


def sample(listing: Iterable[Node], n: int, seed: str, max_bytes: int) -> Sample:
    """At most n files with at most max_bytes altogether. The same listing, in any order, and seed give the same.

    Four kinds take turns: bigger or smaller than half of them, newer or older than half of them. A seed of the point's id
    takes others each time. Empty files prove nothing and are taken only where there is nothing else.
    """
    files = [node for node in listing if node.type == "file"]
    # restic prints U+FFFD for what is no UTF-8, and can't be asked for such a name; nor for one with a NUL, which no file system
    # has, but who writes a repository's trees himself may
    nameless = [node for node in files if not askable(node.path)]
    long = [node for node in files if askable(node.path) and _long(node.path)]
    named = [node for node in files if askable(node.path) and not _long(node.path)]
    chosen: list[Node] = []
    refused: list[Node] = []
    total = 0
    for node in [
        *_in_turns([one for one in named if one.size], seed),
        *_mixed([one for one in named if not one.size], seed),
    ]:
        if len(chosen) >= n:
            break
        if total + node.size > max_bytes:
            refused.append(node)
        else:
            chosen.append(node)
            total += node.size
    left_out = []
    if refused:
        left_out.append(f"for max_bytes of {sized(max_bytes)}: {_listed(refused)}")
    if nameless:
        left_out.append(f"since restic can't be asked for a name that has a NUL or is no UTF-8: {_listed(nameless)}")
    if long:
        left_out.append(f"since its path is too long below another folder: {_listed(long)}")
    return Sample(files=tuple(chosen), of=len(files), bytes=total, left_out=tuple(left_out))


def _in_turns(files: Sequence[Node], seed: str) -> list[Node]:
    if not files:
        return []
    size = median_low([node.size for node in files])
    age = median_low([node.modified_at for node in files])
    kinds: dict[tuple[bool, bool], list[Node]] = {(big, new): [] for big, new in _TURNS}
    for node in files:
        kinds[node.size > size, node.modified_at > age].append(node)
    rows = zip_longest(*(_mixed(kind, seed) for kind in kinds.values()))
    return [node for row in rows for node in row if node is not None]


_TURNS = ((True, True), (False, False), (True, False), (False, True))
"""(big, new)"""


def _mixed(files: Iterable[Node], seed: str) -> list[Node]:
    def place(node: Node) -> tuple[bytes, str]:
        return sha256(f"{seed}\0{node.path}".encode("utf-8", "backslashreplace")).digest(), node.path

    return sorted(files, key=place)


def _listed(nodes: Sequence[Node]) -> str:
    said = ", ".join(f"{clean(node.path, 200)} ({sized(node.size)})" for node in nodes[:NAMED])
    return f"{said} and {len(nodes) - NAMED:,} more" if len(nodes) > NAMED else said


def parts_of(every: float, all_within: float) -> int:
    """Into how many parts the data is divided (t of n/t), so that one at each turn reads all of it in time, even when about one
    turn in seven is missed. every: seconds between two turns; all_within: seconds."""
    turns = all_within / every if every > 0 else MOST_PARTS
    return max(1, min(MOST_PARTS, math.floor(turns * (1 - SPARE))))


def next_subset(parts_read: Mapping[int, float], t: int, all_within: float, now: float) -> int:
    """The part (from 1 to t) whose turn it is: one never read, or the one read longest ago.

    parts_read: part of t → when it was last read whole and well, Unix seconds. With another t all begins anew: its parts
    hold other data.
    """
    return subsets_due(parts_read, t, all_within, all_within / t, now)[0]


def subsets_due(
    parts_read: Mapping[int, float], t: int, all_within: float, every: float, now: float, *, since: float | None = None
) -> tuple[int, ...]:
    """The parts that are to be read at this turn, most urgent first: as few as let all data be read in time at one part for
    each turn after it; at least one. More than one where turns were missed.

    since: when reading began for what was never read; None: now.
    """
    if not 1 <= t <= MOST_PARTS:
        raise ValueError(f"data can't be divided into {t} parts: restic takes 1 to {MOST_PARTS}")
    # a time that has not come says nothing
    read = {n: at for n, at in parts_read.items() if 1 <= n <= t and at <= now}
    order = sorted(range(1, t + 1), key=lambda n: (read.get(n, -math.inf), n))
    begun = now if since is None else min(since, now)
    count = 1
    for place, n in enumerate(order):
        left = read.get(n, begun) + all_within - now
        # this turn is number 0; what is not among its `count` parts is read one at each turn after it
        turns = math.floor(left / every + 1e-9) if every > 0 else t
        count = max(count, place + 1 - max(turns, 0))
    return tuple(order[:count])

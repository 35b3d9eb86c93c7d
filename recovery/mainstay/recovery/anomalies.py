"""What is unlike what was: a source that shrank, or of which everything changed at once. Pure.

An anomaly makes a backup degraded and keeps retention away from that host's source until somebody has looked: the good points
before it may be all that is left of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median

from mainstay.inventory.value import Value
from mainstay.recovery.expectations import Expectations
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.words import counted, sized

ENOUGH_FILES = 10
"""Where all of a few files change, it means nothing."""

Group = tuple[str, str, str]
"""(host, plan, unit): the points of one source of one plan on one host belong together, wherever they are kept; of a source with
several items (databases), those of each."""


class Past(Value):
    """An earlier point of the same source, as far as it says what is usual."""

    at: str
    """RFC 3339."""
    files: int
    bytes: int
    changed: int
    """Files that were new or had changed."""
    anomalous: bool = False
    acknowledged: bool = False


def group_of(point: RecoveryPoint) -> Group:
    return point.host, point.plan, point.unit


def acknowledged(points: Iterable[RecoveryPoint], acks: Iterable[Ack]) -> set[tuple[str, str]]:
    """(repository, id) of those anomalous points that somebody has looked at.

    By the point (of a copy: also by its original), or the run that made it, for its host and source. Who has looked at one has
    looked at the anomalies of the same group before it too: one that stays is one each night, and is looked at once. Nobody has
    looked at what came after they said so, whatever the clock of the host said that the point was of.
    """
    by_item: dict[str, list[Ack]] = {}
    for ack in acks:
        by_item.setdefault(ack.item, []).append(ack)
    odd: dict[Group, list[tuple[datetime, RecoveryPoint]]] = {}
    for point in points:
        if point.anomalies:
            odd.setdefault(group_of(point), []).append((datetime.fromisoformat(point.at), point))
    found: set[tuple[str, str]] = set()
    for mine in odd.values():
        named = {(point.repository, point.id): min(at, said) for at, point in mine if (said := _said(point, by_item))}
        newest = max(named.values(), default=None)
        before = {(point.repository, point.id) for at, point in mine if newest is not None and at <= newest}
        found |= before | named.keys()
    return found


def _said(point: RecoveryPoint, by_item: Mapping[str, Sequence[Ack]]) -> datetime | None:
    """When somebody last said so of this point; None: nobody has."""
    items = [point.id, point.run, *([point.copy_of] if point.copy_of else [])]
    moments = [
        datetime.fromisoformat(ack.at)
        for item in items
        for ack in by_item.get(item, ())
        if ack.host in ("", point.host) and ack.source in ("", point.source, point.unit)
    ]
    return max(moments, default=None)


def past_of(points: Iterable[RecoveryPoint], acks: Iterable[Ack]) -> list[Past]:
    """The history of one group, from its points. Also of those that retention took away: they were there. Copies say nothing
    that their originals don't."""
    made = [point for point in points if point.copy_of is None]
    seen = acknowledged(made, acks)
    return [
        Past(
            at=point.at,
            files=point.files,
            bytes=point.bytes,
            changed=point.changed,
            anomalous=bool(point.anomalies),
            acknowledged=(point.repository, point.id) in seen,
        )
        for point in made
    ]


def blocked_by(points: Iterable[RecoveryPoint], acks: Iterable[Ack]) -> dict[Group, str]:
    """The groups that retention has to leave alone → why: the newest anomaly that nobody has acknowledged."""
    there = [point for point in points if point.removed_at is None]
    seen = acknowledged(there, acks)
    found: dict[Group, str] = {}
    for point in sorted(there, key=lambda point: datetime.fromisoformat(point.at)):
        if point.anomalies and (point.repository, point.id) not in seen:
            look = f"nobody has acknowledged it: mainstay records ack {point.run}"
            found[group_of(point)] = f"{point.anomalies[0]} (run {point.run}); {look}"
    return found


def usual(history: Iterable[Past], now: datetime, most: int) -> list[Past]:
    """The newest `most` good points, newest first.

    An anomaly says nothing of what is usual, until somebody has acknowledged it: from then on it is the first of what is, and
    what was before it counts no more. A point from the future says nothing.
    """
    good: list[Past] = []
    moments = [(datetime.fromisoformat(past.at), past) for past in history]
    for at, past in sorted(moments, key=lambda one: one[0], reverse=True):
        if at > now or (past.anomalous and not past.acknowledged):
            continue
        good.append(past)
        if past.anomalous or len(good) == most:
            break
    return good


def find_anomalies(
    files: int | None, size: int | None, changed: int | None, before: Sequence[Past], expect: Expectations
) -> Iterator[str]:
    """In words. size: bytes; changed: files that are new or have changed; None: not known. before: as of `usual`."""
    yield from _dropped(size, [past.bytes for past in before], expect, sized)
    yield from _dropped(files, [past.files for past in before], expect, lambda count: counted(round(count), "file"))
    yield from _all_changed(files, changed, before, expect)


def _dropped(
    found: int | None, before: Sequence[int], expect: Expectations, spelled: Callable[[float], str]
) -> Iterator[str]:
    if found is None or expect.drop is None or not before:
        return
    middle = median(before)
    if middle > 0 and 100 * found <= middle * (100 - expect.drop):
        less = 100 * (1 - found / middle)
        yield (
            f"{spelled(found)}, {less:.3g} % less than the {spelled(middle)} that are usual "
            f"({_of(len(before))}): {expect.drop:g} % are an anomaly"
        )


def _all_changed(files: int | None, changed: int | None, before: Sequence[Past], expect: Expectations) -> Iterator[str]:
    if expect.changed is None or files is None or changed is None or files < ENOUGH_FILES:
        return
    shares = [100 * past.changed / past.files for past in before if past.files]
    if shares and shares[-1] >= 100:
        shares.pop()  # to the first point of all, every file is new
    if not shares or median(shares) >= expect.usually:
        return
    share = 100 * changed / files
    if share > expect.changed:
        yield (
            f"{share:.3g} % of {counted(files, 'file')} are new or have changed at once, "
            f"usually {median(shares):.3g} % ({_of(len(shares))}): they may have been encrypted"
        )


def _of(count: int) -> str:
    return "the point before" if count == 1 else f"median of {count} points"

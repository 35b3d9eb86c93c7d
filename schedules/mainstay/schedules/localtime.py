"""Local wall time to instants, by one rule: a local time means the first instant at which the clock on the wall has reached it.

So a time that does not exist (the clocks went over it) is the moment of their change, and of one that comes twice the first
counts. A later local time never means an earlier instant. docs/decisions/0021-local-time.md says why it is not RFC 5545's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_STEP = timedelta(hours=12)
"""No zone changes its clocks twice within that."""


@dataclass(frozen=True, slots=True)
class Instant:
    """at: aware, UTC. how: whether the local time `exists` once, is `skipped` by the clocks, or comes `twice`."""

    at: datetime
    how: Literal["exists", "skipped", "twice"] = "exists"


def resolve(local: datetime, zone: ZoneInfo) -> Instant:
    """local: naive, to the second."""
    # PEP 495: fold=0 has the offset before a change of the clocks, fold=1 the one after it; elsewhere they agree.
    before = _offset(local.replace(tzinfo=zone, fold=0))
    after = _offset(local.replace(tzinfo=zone, fold=1))
    at = (local - before).replace(tzinfo=UTC)
    if before == after:
        return Instant(at)
    if before > after:
        return Instant(at, "twice")
    return Instant(_change((local - after).replace(tzinfo=UTC), at, zone), "skipped")


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clock on the wall shows: naive."""
    return moment.astimezone(zone).replace(tzinfo=None)


def offset_at(moment: datetime, zone: ZoneInfo) -> timedelta:
    """From UTC, at that instant."""
    return _offset(moment.astimezone(zone))


def changes(zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[datetime]:
    """The instants after `first`, up to `last` or half a day later, at which the clocks change."""
    low = first.astimezone(UTC)
    while low < last:
        high = low + _STEP
        if offset_at(low, zone) != offset_at(high, zone):
            yield _change(low, high, zone)
        low = high


def _offset(aware: datetime) -> timedelta:
    offset = aware.utcoffset()
    assert offset is not None, "a zone of the IANA database always has an offset"
    return offset


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first instant after `low`, at most `high`, that has not the offset of `low`: one change lies between them."""
    old = offset_at(low, zone)
    while high - low > _SECOND:
        middle = low + ((high - low) // 2 // _SECOND or 1) * _SECOND
        if offset_at(middle, zone) == old:
            low = middle
        else:
            high = middle
    return high

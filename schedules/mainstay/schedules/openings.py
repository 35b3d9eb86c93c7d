"""When a window is open: its rule in local time, turned into instants by the one rule of `localtime`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mainstay.inventory.host import Host
from mainstay.schedules.localtime import Instant, resolve, wall
from mainstay.schedules.remarks import remark, spoken
from mainstay.schedules.windows import HOST, Window

_LONGER = timedelta(days=2)
"""No change of clocks makes a window longer by more: the largest are those of zones that changed sides of the date line."""
_NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True)
class Opening:
    """Aware, UTC; starts_at inclusive, ends_at exclusive and always later. cutoff_at: from then on nothing new starts; it is
    starts_at where a change of the clocks has left no time before it."""

    window: str
    starts_at: datetime
    ends_at: datetime
    cutoff_at: datetime
    zone: str
    remark: str = ""
    """What a change of the clocks does to it, for people; empty in most nights."""

    def contains(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.ends_at

    def may_start(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.cutoff_at

    def remaining(self, moment: datetime) -> float:
        """Seconds until it ends; 0 outside of it."""
        return (self.ends_at - moment).total_seconds() if self.contains(moment) else 0.0


def openings(window: Window, zone: str, after: datetime, *, until: datetime | None = None) -> Iterator[Opening]:
    """Those with after < starts_at <= until, in order, each once; lazily. zone: as `zone_of` gives it. after, until: aware.

    Where the clocks have skipped several local starts at once, so that they would open at the same instant, they are
    one opening: the last of them.
    """
    place = ZoneInfo(zone)
    after = after.astimezone(UTC)
    skipped: tuple[datetime, Instant] | None = None
    # What the clock has reached by then has started: later local times alone are asked for.
    for local in window.starts.after(wall(after, place)):
        start = resolve(local, place)
        if start.at <= after:
            continue  # in the hour that comes twice
        if skipped and skipped[1].at != start.at:
            yield _opening(window, place, *skipped)
        skipped = None
        if until is not None and start.at > until:
            return
        if start.how == "skipped":
            skipped = local, start
        else:
            yield _opening(window, place, local, start)
    if skipped:
        yield _opening(window, place, *skipped)


def next_opening(window: Window, zone: str, moment: datetime) -> Opening | None:
    """The first with starts_at > moment; None where it never opens (again)."""
    return next(openings(window, zone, moment), None)


def opening_at(window: Window, zone: str, moment: datetime) -> Opening | None:
    """The one that is open at that moment; of several that overlap the one that opened last."""
    longest = timedelta(seconds=window.length) + (_LONGER if window.end is not None else _NO_TIME)
    found = None
    for opening in openings(window, zone, moment - longest, until=moment):
        if opening.contains(moment):
            found = opening
    return found


def zone_of(window: Window, site_timezone: str, host: Host | None = None) -> str:
    """The name of the zone in which the window's times are meant: its own, the host's where it says `timezone: host`, else
    the site's."""
    if window.timezone == HOST:
        return (host.timezone if host else None) or site_timezone
    return window.timezone or site_timezone


def _opening(window: Window, zone: ZoneInfo, local: datetime, start: Instant) -> Opening:
    length = timedelta(seconds=window.length)
    ends_at, until = start.at + length, None
    if window.end is not None:
        # where the clocks have skipped the whole window it is open for its usual length from then on
        until = local + length
        at_end = resolve(until, zone).at
        ends_at = at_end if at_end > start.at else ends_at
    cutoff_at = max(start.at, ends_at - timedelta(seconds=window.cutoff))
    said = remark(zone, local, start, ends_at, until)
    if cutoff_at == start.at:
        said += f", no longer than its cutoff of {spoken(timedelta(seconds=window.cutoff))}: nothing can start"
    return Opening(window.name, start.at, ends_at, cutoff_at, zone.key, said)

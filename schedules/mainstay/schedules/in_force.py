"""Which opening a run is in, or comes to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from mainstay.inventory.host import Host
from mainstay.schedules.openings import Opening, next_opening, opening_at, openings, zone_of
from mainstay.schedules.timing import Timing
from mainstay.schedules.windows import HOST, Window

_SINCE = timedelta(days=1)
"""For so long after its end an opening counts as the last one: for hosts in hand, and for words."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class InForce:
    """Of one run. hosts: of the run. timezone: the site's. soaks: its waves may span openings. asked_at: when it was asked
    for; what had ended before is none of its openings."""

    def __init__(
        self, timing: Timing, hosts: Sequence[Host], timezone: str, *, soaks: bool, asked_at: datetime
    ) -> None:
        self._timing = timing
        self._asked_at = asked_at
        self._hosts = hosts
        self._timezone = timezone
        self._soaks = soaks

    @property
    def bound(self) -> bool:
        """Whether it may run in some window alone."""
        return bool(self._timing.windows or self._timing.occurrence)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(window.name for window in self._timing.windows)

    def at(self, now: datetime, host: Host | None = None) -> Opening | None:
        """The opening that it is judged by: its own occurrence's, also before and after it; for a run by hand, one that comes
        late, and the later waves of one that soaks, that which is open now, else the last that was. host: by this
        host's clock, where the window opens by the hosts' own; without one by any of them."""
        own = self._own
        if own is not None and (not self._soaks or now < own.ends_at):
            return own
        found = self._open(now, host) or self._last(now, host)
        return own if found is None or (own is not None and found.starts_at < own.starts_at) else found

    def next(self, now: datetime, host: Host | None = None) -> Opening | None:
        """The first that opens after now, and is open long enough that something may start in it."""
        found = [self._first(window, zone, now) for window, zone in self._zoned(host)]
        return min((one for one in found if one is not None), key=lambda one: one.starts_at, default=None)

    def _first(self, window: Window, zone: str, now: datetime) -> Opening | None:
        found = next_opening(window, zone, now)
        while found is not None and found.cutoff_at <= found.starts_at:
            found = next_opening(window, zone, found.starts_at)
        return found

    @cached_property
    def _own(self) -> Opening | None:
        one = self._timing.occurrence
        if one is None or one.late:
            return None
        starts_at, ends_at, cutoff_at = map(datetime.fromisoformat, (one.at, one.ends_at, one.cutoff_at))
        return Opening(one.window, starts_at, ends_at, cutoff_at, one.zone)

    def _open(self, now: datetime, host: Host | None) -> Opening | None:
        """Of several the one in which something may start for longest."""
        found = [opening_at(window, zone, now) for window, zone in self._zoned(host)]
        return max((one for one in found if one is not None), key=lambda one: one.cutoff_at, default=None)

    def _last(self, now: datetime, host: Host | None) -> Opening | None:
        found: list[Opening] = []
        for window, zone in self._zoned(host):
            found += openings(window, zone, now - timedelta(seconds=window.length) - _SINCE, until=now)
        return max((one for one in found if one.ends_at > self._asked_at), key=lambda one: one.ends_at, default=None)

    def _zoned(self, host: Host | None) -> Iterable[tuple[Window, str]]:
        for window in self._timing.windows:
            by = [host] if host is not None else self._hosts if window.timezone == HOST else [None]
            for zone in sorted({zone_of(window, self._timezone, one) for one in by}):
                yield window, zone


def moment(at: datetime, zone: str) -> str:
    """`Fri 2026-12-11 02:00 CET`, the same in every language of the machine."""
    local = at.astimezone(ZoneInfo(zone))
    return f"{_DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M %Z}"

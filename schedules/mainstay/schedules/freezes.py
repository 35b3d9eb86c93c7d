"""Freezes: when nothing may start, asked by whoever starts something. The spec is in `freeze_entries`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.selectors import SelectorError, parse
from mainstay.inventory.site import Site
from mainstay.schedules.calendars.contract import CalendarSource
from mainstay.schedules.calendars.keeping import EVERY, Calendars
from mainstay.schedules.freeze_entries import FreezeSpec, FreezeSpecs, days
from mainstay.schedules.localtime import resolve, wall
from mainstay.schedules.openings import openings

_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_STRETCH = timedelta(days=64)
_START = datetime(2000, 1, 1, tzinfo=UTC)
_MOST_STRETCHES = 2000


@dataclass(frozen=True, slots=True)
class Freeze:
    """Aware UTC, half open. source: where it is declared (`schedules/web.yml:3`). name: cleaned, one line."""

    name: str
    source: str
    starts_at: datetime
    ends_at: datetime


class Calendared(Protocol):
    """What is asked of a plan: the names of its calendars."""

    @property
    def calendar(self) -> tuple[str, ...]: ...


class Planned(Calendared, Protocol):
    @property
    def targets(self) -> str: ...


class Freezes:
    """Of one loaded site, with its calendars. Safe to use from several threads; cheap to ask for each host."""

    def __init__(self, specs: FreezeSpecs, site: Site, plans: Mapping[str, Planned], calendars: Calendars) -> None:
        self._specs = specs
        self._site = site
        self._plans = plans
        self._calendars = calendars
        self._zone = ZoneInfo(site.timezone)
        self._lock = threading.Lock()
        self._stretches: OrderedDict[tuple[int, int], tuple[Freeze, ...]] = OrderedDict()
        self._needed: dict[str, tuple[CalendarSource, ...]] = {}

    def over(self, plan: str, host: Host | None, start: datetime, end: datetime) -> list[Freeze]:
        """Those that hold for the plan on the host somewhere in [start, end), by when they begin. host None: those that
        hold for every host. Aware."""
        found = {
            freeze
            for number, spec in enumerate(self._specs.freezes)
            if _concerns(spec, plan, host)
            for freeze in self._of(number, spec, start, end)
        }
        return sorted(found, key=lambda freeze: (freeze.starts_at, freeze.ends_at, freeze.name, freeze.source))

    def at(self, plan: str, host: Host | None, moment: datetime) -> Freeze | None:
        """The one that holds at that moment; of several the one that lasts longest."""
        return max(self.over(plan, host, moment, moment + _INSTANT), key=lambda freeze: freeze.ends_at, default=None)

    def trouble(self, now: datetime) -> list[str]:
        """Calendars that can't be had: their last content is used as long as their limit lets it be. Fetches nothing."""
        return [told for source in self._specs.sources if (told := self._calendars.trouble(source, now))]

    def usable(self, plan: str, now: datetime) -> str:
        """Empty, or why nothing of this plan may start: a calendar that it depends on was never had, or is too old."""
        return next(filter(None, (self._calendars.refused(source, now) for source in self._sources(plan))), "")

    def allows(self, plan: Calendared, moment: datetime) -> str:
        """Empty where each calendar of the plan has an event at that moment, or why not."""
        for name in plan.calendar:
            source = self._specs.calendars.get(name)
            if source is None:
                return f"there is no calendar {shown(name)} any more"
            if why := self._calendars.missing(source):
                return why
            spans = self._calendars.spans(source, moment, moment + _INSTANT)
            if unknown := next((span.summary for span in spans if span.unknown), ""):
                return unknown
            if not spans:
                local = moment.astimezone(self._zone)
                return f"no event of calendar {name} at {local:%a %Y-%m-%d %H:%M %Z}"
        return ""

    def refresh(self, *, older: float = EVERY) -> None:
        """Look at every calendar's URL that is due after so many seconds. It takes as long as the network does."""
        self._calendars.refresh(self._specs.sources, older=older)

    def _sources(self, plan: str) -> tuple[CalendarSource, ...]:
        if plan not in self._needed:
            self._needed[plan] = tuple(dict.fromkeys(self._find_sources(plan)))
        return self._needed[plan]

    def _find_sources(self, plan: str) -> Iterator[CalendarSource]:
        hosts = self._hosts(plan)
        for spec in self._specs.freezes:
            if spec.calendar is not None and (
                _concerns(spec, plan, None) or any(_concerns(spec, plan, host) for host in hosts)
            ):
                yield spec.calendar
        for name in self._plans[plan].calendar if plan in self._plans else ():
            if name in self._specs.calendars:
                yield self._specs.calendars[name]

    def _hosts(self, plan: str) -> Iterable[Host]:
        if plan not in self._plans:
            return self._site.hosts
        try:
            targets = parse(self._plans[plan].targets)
        except SelectorError:
            return self._site.hosts
        return [host for host in self._site.hosts if targets.matches(host)]

    # One freeze

    def _of(self, number: int, spec: FreezeSpec, start: datetime, end: datetime) -> Iterator[Freeze]:
        if spec.calendar is not None:
            for span in self._calendars.spans(spec.calendar, start, end):  # what is unknown freezes
                yield Freeze(_named(spec, span.summary), spec.source, span.starts_at, span.ends_at)
            return
        first, last = ((moment - _START) // _STRETCH for moment in (start, end))
        for stretch in range(first, last + 1):
            for freeze in self._stretch(number, spec, stretch):
                if freeze.starts_at < end and start < freeze.ends_at:
                    yield freeze

    def _stretch(self, number: int, spec: FreezeSpec, stretch: int) -> tuple[Freeze, ...]:
        with self._lock:
            key = (number, stretch)
            if key not in self._stretches:
                start = _START + stretch * _STRETCH
                self._stretches[key] = tuple(self._worked_out(spec, start, start + _STRETCH))
                while len(self._stretches) > _MOST_STRETCHES:
                    self._stretches.popitem(last=False)
            return self._stretches[key]

    def _worked_out(self, spec: FreezeSpec, start: datetime, end: datetime) -> Iterator[Freeze]:
        zone = ZoneInfo(spec.entry.timezone) if spec.entry.timezone else self._zone
        if spec.entry.dates is not None:
            first, last = (datetime.combine(day, time()) for day in days(spec.entry.dates))
            begins, ends = resolve(first, zone).at, resolve(last + _DAY, zone).at
            if begins < end and start < ends:
                yield Freeze(spec.name, spec.source, begins, ends)
            return
        window = spec.entry.window()
        without = [days(text) for text in spec.entry.except_]
        early = timedelta(seconds=window.length) + 3 * _DAY
        for opening in openings(window, zone.key, start - early, until=end):
            day = wall(opening.starts_at, zone).date()
            ends_at = opening.ends_at
            if spec.entry.whole_days:
                ends_at = resolve(datetime.combine(day, time()) + _DAY, zone).at
            if opening.starts_at < end and start < ends_at and not any(a <= day <= b for a, b in without):
                yield Freeze(spec.name, spec.source, opening.starts_at, ends_at)


def _concerns(spec: FreezeSpec, plan: str, host: Host | None) -> bool:
    if spec.plans is not None and plan not in spec.plans:
        return False
    return spec.targets is None or (host is not None and spec.targets.matches(host))


def _named(spec: FreezeSpec, summary: str) -> str:
    if spec.entry.name:
        return f"{spec.entry.name}: {summary}" if summary else spec.entry.name
    return summary or spec.name

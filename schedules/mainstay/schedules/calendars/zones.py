"""The zone that a calendar means by a TZID: an IANA name where there is one for it, else what its own VTIMEZONE says.

RFC 5545 sections 3.2.19 and 3.6.5; Windows' names: Unicode CLDR, as icalendar carries them."""

from __future__ import annotations

import hashlib
import re
import zoneinfo
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from functools import cache
from io import StringIO

from dateutil.rrule import rrulestr

from mainstay.inventory.names import shown
from mainstay.schedules.calendars.contract import CalendarFault
from mainstay.schedules.calendars.repeats import Budget, Walk, check_repeat
from mainstay.schedules.calendars.scan import Component

MOST_CHANGES = 200
"""STANDARD and DAYLIGHT parts of one VTIMEZONE, and lines in each."""

_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d([0-5]\d)?", re.ASCII)
_START = re.compile(r"(19|20|16)\d{6}T\d{6}", re.ASCII)
"""1601 is where Windows' rules begin."""
_YEARLY = re.compile(
    r"FREQ=YEARLY(;(UNTIL=\d{8}(T\d{6}Z?)?|WKST=..|INTERVAL=1|BYMONTH=\d+|BYDAY=[+-]?\d?(MO|TU|WE|TH|FR|SA|SU)"
    r"|BYMONTHDAY=-?\d+(,-?\d+){0,6}))*",
    re.ASCII,
)
"""The rules of clock changes that exist: once a year, in one month."""


class Zones:
    """Of one calendar. A VTIMEZONE that has no other name gets one made of its content, so that two calendars that call
    different zones by the same name can't take each other's."""

    def __init__(self, zones: Sequence[Component]) -> None:
        self._own: dict[str, Component] = {}
        for zone in zones:
            name = zone.get("TZID")
            if name is not None:
                self._own[name.value] = zone
        self._resolved: dict[str, str] = {}
        self._budget = Budget()
        self._definitions: dict[str, list[str]] = {}
        self._made: dict[str, tzinfo] = {}

    def name(self, tzid: str, line: int) -> str:
        """An IANA name, or one that `lines` define. Raises CalendarFault."""
        if tzid not in self._resolved:
            self._resolved[tzid] = self._find(tzid, line)
        return self._resolved[tzid]

    def lines(self) -> Iterator[str]:
        """The definitions, to be put before the events."""
        for definition in self._definitions.values():
            yield from definition

    def tzinfo(self, name: str) -> tzinfo:
        """Of a name that `name` gave."""
        if name not in self._definitions:
            return zoneinfo.ZoneInfo(name)
        if name not in self._made:
            from dateutil.tz import tzical

            found: tzinfo | None = tzical(StringIO("\r\n".join(self._definitions[name]))).get(name)
            assert found is not None
            self._made[name] = found  # it remembers the changes that it has gone through
        return self._made[name]

    def _find(self, tzid: str, line: int) -> str:
        own = self._own.get(tzid)
        location = own.get("X-LIC-LOCATION") if own else None
        for name in (*_guesses(tzid), *(_guesses(location.value) if location else ())):
            if name in _known():
                return str(name)
        if own is None:
            hint = "A calendar has to bring a VTIMEZONE for each zone that is not one of the IANA database."
            raise CalendarFault(f"the zone {shown(tzid)} is unknown", line=line, hint=hint)
        lines = list(_definition(own, self._budget))
        key = "mainstay-" + hashlib.sha256("\n".join(lines).encode()).hexdigest()
        self._definitions[key] = ["BEGIN:VTIMEZONE", f"TZID:{key}", *lines, "END:VTIMEZONE"]
        return key


@cache
def _known() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _guesses(tzid: str) -> Iterator[str]:
    """`Europe/Berlin`, `W. Europe Standard Time`, `/vendor.example/20050126_1/Europe/Berlin`."""
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

    name = tzid.strip().strip("/")
    yield name
    if name in WINDOWS_TO_OLSON:
        yield str(WINDOWS_TO_OLSON[name])
    if tzid.startswith("/"):
        parts = name.split("/")
        for start in range(1, len(parts) - 1):  # not the last word alone: /vendor/GMT+1 and the like mean many things
            yield "/".join(parts[start:])


def _definition(zone: Component, budget: Budget) -> Iterator[str]:
    if not zone.inner or len(zone.inner) > MOST_CHANGES:
        raise CalendarFault("a VTIMEZONE needs STANDARD or DAYLIGHT, and not hundreds", line=zone.line)
    for part in zone.inner:
        yield f"BEGIN:{part.name}"
        for needed, form in (("DTSTART", _START), ("TZOFFSETFROM", _OFFSET), ("TZOFFSETTO", _OFFSET)):
            found = part.get(needed)
            if found is None or not form.fullmatch(found.value):
                said = shown(found.value) if found else "missing"
                raise CalendarFault(f"a VTIMEZONE's {needed} is {said}", line=found.line if found else part.line)
            yield f"{needed}:{_begun(part, found.value) if needed == 'DTSTART' else found.value}"
        yield from _rules(part, budget)
        yield f"END:{part.name}"


def _begun(part: Component, start: str) -> str:
    """The start of a yearly rule without an end, not before 1972 (a leap year: every day is in it). dateutil goes through all
    changes since then for each moment that it is asked about, and Windows' rules begin in 1601."""
    rules = part.all("RRULE")
    endless = bool(rules) and not any("UNTIL" in rule.value.upper() for rule in rules)
    return f"1972{start[4:]}" if endless and start < "1972" else start


def _comes_about(rule: str, budget: Budget) -> bool:
    """dateutil would look for it until the year 9999, for each event again."""
    budget.hold(500)  # the changes since 1601 that it remembers of each rule
    without = ";".join(word for word in rule.split(";") if not word.startswith("UNTIL="))
    begins = datetime(2000, 1, 1)
    return bool(Walk(rrulestr(without, dtstart=begins), budget, None).between(begins, datetime(2005, 1, 1), inc=True))


def _rules(part: Component, budget: Budget) -> Iterator[str]:
    for found in part.all("RRULE")[:MOST_CHANGES]:
        try:
            rule = check_repeat(found.value)
        except ValueError as error:
            raise CalendarFault(f"RRULE: {error}", line=found.line) from None
        if not _YEARLY.fullmatch(rule):
            raise CalendarFault(f"RRULE: {shown(rule)} is no rule of a clock change", line=found.line)
        if not _comes_about(rule, budget):
            raise CalendarFault(f"RRULE: {shown(rule)} never comes about", line=found.line)
        yield f"RRULE:{rule}"
    for found in part.all("RDATE")[:MOST_CHANGES]:
        dates = found.value.split(",")
        if len(dates) > MOST_CHANGES or not all(_START.fullmatch(date) for date in dates):
            raise CalendarFault("a VTIMEZONE's RDATE is no list of local times", line=found.line)
        yield f"RDATE:{found.value}"

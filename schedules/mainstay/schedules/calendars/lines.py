"""An event as it was scanned → the lines that the parser gets: every value looked at, in one spelling."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from mainstay.inventory.names import clean, shown
from mainstay.schedules.calendars.contract import CalendarFault
from mainstay.schedules.calendars.repeats import check_makes_sense, check_repeat
from mainstay.schedules.calendars.scan import Component, Property
from mainstay.schedules.calendars.zones import Zones

LONGEST_SUMMARY = 120
LONGEST = timedelta(days=3 * 366)
"""Of one event."""
MOST_DATES = 5000
"""In the RDATE and EXDATE lines of one event."""
MOST_DATES_OF_ALL = 20_000
"""In those of all events: what is read of each takes 0.1 ms and more."""

_DAY = r"(?:19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_DATE = re.compile(_DAY, re.ASCII)
_MOMENT = re.compile(_DAY + r"T(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(Z?)", re.ASCII)
_DURATION = re.compile(
    r"\+?P(?=.)(?:(\d{1,4})W|(?:(\d{1,5})D)?(?:T(?=.)(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of an event. summary: cleaned, one line."""

    summary: str
    cancelled: bool
    line: int


@dataclass(frozen=True, slots=True)
class _When:
    """A checked date or moment. zone None: floating, or UTC where `text` ends with Z."""

    text: str
    zone: str | None
    line: int

    @property
    def is_date(self) -> bool:
        return len(self.text) == 8

    def naive(self) -> datetime:
        return datetime.strptime(self.text.removesuffix("Z"), "%Y%m%d" if self.is_date else "%Y%m%dT%H%M%S")

    def instant(self, zones: Zones, floating: tzinfo) -> datetime:
        zone = UTC if self.text.endswith("Z") else zones.tzinfo(self.zone) if self.zone else floating
        return self.naive().replace(tzinfo=zone).astimezone(UTC)

    def written(self, name: str, extra: str = "") -> str:
        kind = ";VALUE=DATE" if self.is_date else f";TZID={self.zone}" if self.zone else ""
        return f"{name}{kind}{extra}:{self.text}"


class EventLines:
    """Of one calendar. zone: the site's."""

    def __init__(self, zones: Zones, zone: tzinfo) -> None:
        self._zones = zones
        self._zone = zone
        self._cores: Counter[tuple[str, str]] = Counter()
        self._dates = 0
        self.told: list[Told] = []
        """By the number that stands in an event's X-NUMBER."""
        self.remarks: list[tuple[int, str]] = []
        """(line, what `check` should tell)"""

    def of(self, event: Component) -> list[str]:
        """Raises CalendarFault with the line."""
        status = event.get("STATUS")
        told = Told(_summary(event), status is not None and status.value.upper() == "CANCELLED", event.line)
        if told.cancelled and event.get("RECURRENCE-ID") is None:
            return []
        if excluding := event.get("EXRULE"):
            message = "EXRULE is not part of RFC 5545 any more, and is never ignored"
            raise CalendarFault(message, line=excluding.line, hint="Say the exceptions as EXDATE.")
        number = len(self.told)
        self.told.append(told)
        start = self._one(event, "DTSTART")
        if start is None:
            raise CalendarFault("an event without DTSTART", line=event.line)
        lines = ["BEGIN:VEVENT", f"X-NUMBER:{number}", f"UID:{self._uid(event, number)}", start.written("DTSTART")]
        sequence = event.get("SEQUENCE")
        if sequence is not None and re.fullmatch(r"\d{1,9}", sequence.value, re.ASCII):
            lines.append(f"SEQUENCE:{sequence.value}")
        lines += self._end(event, start, told)
        lines += self._again(event, start)
        return [*lines, "END:VEVENT"]

    def _uid(self, event: Component, number: int) -> str:
        """One that two events have by mistake (same revision, none a part of the other) is made two: none may be lost."""
        found = event.get("UID")
        if found is None or not found.value:
            return f"none-{number}"
        uid = hashlib.sha256(found.value.encode()).hexdigest()[:32]
        if event.get("RECURRENCE-ID") is not None:
            return uid
        sequence = event.get("SEQUENCE")
        key = (uid, sequence.value if sequence else "")
        self._cores[key] += 1
        return uid if self._cores[key] == 1 else f"{uid}-{self._cores[key]}"

    def _end(self, event: Component, start: _When, told: Told) -> Iterator[str]:
        end, duration = self._one(event, "DTEND"), event.get("DURATION")
        if end is not None:
            if end.is_date != start.is_date:
                raise CalendarFault("DTSTART and DTEND have to be two dates or two moments", line=end.line)
            length = end.instant(self._zones, self._zone) - start.instant(self._zones, self._zone)
            if length < timedelta(0):
                raise CalendarFault(f"the event {shown(told.summary)} ends before it begins", line=end.line)
            yield end.written("DTEND")
        elif duration is not None:
            length = _length(duration)
            if start.is_date and length % timedelta(days=1):
                raise CalendarFault("an event of whole days has a DURATION of whole days", line=duration.line)
            yield f"DURATION:{duration.value}"
        else:
            length = timedelta(days=1 if start.is_date else 0)
        if length > LONGEST:
            raise CalendarFault(f"the event {shown(told.summary)} lasts more than {LONGEST.days} days", line=event.line)
        if not length:
            self.remarks.append((event.line, f"the event {shown(told.summary)} lasts no time: it has no effect."))

    def _again(self, event: Component, start: _When) -> Iterator[str]:
        identity = event.get("RECURRENCE-ID")
        if identity is not None:
            following = (
                ";RANGE=THISANDFUTURE" if identity.parameters.get("RANGE", "").upper() == "THISANDFUTURE" else ""
            )
            yield self._when(identity.value, identity).written("RECURRENCE-ID", following)
        for found in event.all("RRULE"):
            try:
                rule = check_repeat(found.value)
                check_makes_sense(rule, start.naive())
                yield f"RRULE:{self._rule(rule, start)}"
            except ValueError as error:
                raise CalendarFault(f"RRULE: {error}", line=found.line) from None
        dates = 0
        for found in (*event.all("RDATE"), *event.all("EXDATE")):
            for value in found.value.split(","):
                dates += 1
                if dates > MOST_DATES:
                    raise CalendarFault(f"an event with more than {MOST_DATES} dates", line=found.line)
                self._dates += 1
                if self._dates > MOST_DATES_OF_ALL:
                    raise CalendarFault(f"has more than {MOST_DATES_OF_ALL} dates in RDATE and EXDATE", line=found.line)
                yield self._date(value, found, start)

    def _date(self, value: str, found: Property, start: _When) -> str:
        begins, slash, ends = value.partition("/")
        when = self._when(begins, found)
        if not slash:
            if found.name == "RDATE" and when.is_date != start.is_date:
                raise CalendarFault("RDATE has to be of the sort of DTSTART: dates, or moments", line=found.line)
            return when.written(found.name)
        if found.name != "RDATE" or when.is_date or start.is_date:
            raise CalendarFault(f"{shown(value)} is no date here", line=found.line)
        if ends.startswith(("P", "+P")):
            length = _length(Property("RDATE", {}, ends, found.line))
        else:
            until = self._when(ends, found)
            length = until.instant(self._zones, self._zone) - when.instant(self._zones, self._zone)
        if not timedelta(0) < length <= LONGEST:
            raise CalendarFault(f"{shown(value)} is no span of time", line=found.line)
        zone = f";TZID={when.zone}" if when.zone else ""
        return f"RDATE;VALUE=PERIOD{zone}:{when.text}/PT{int(length.total_seconds())}S"

    def _rule(self, rule: str, start: _When) -> str:
        """UNTIL in the form that goes with DTSTART (3.3.10); a day as UNTIL of an event with a time counts to its end."""
        found = re.search(r"UNTIL=([0-9TZ]+)", rule)
        if not found:
            return rule
        until = found[1]
        if not (_DATE.fullmatch(until) or _MOMENT.fullmatch(until)):
            raise ValueError(f"UNTIL={until} is neither a date nor a moment")
        if start.is_date:
            text = until[:8]
        else:
            when = _When(f"{until}T235959" if len(until) == 8 else until, start.zone, start.line)
            utc = start.text.endswith("Z") or start.zone is not None
            if start.text.endswith("Z") and not when.text.endswith("Z"):
                text = when.text + "Z"
            elif utc:
                text = when.instant(self._zones, self._zone).strftime("%Y%m%dT%H%M%SZ")
            elif when.text.endswith("Z"):
                text = when.instant(self._zones, self._zone).astimezone(self._zone).strftime("%Y%m%dT%H%M%S")
            else:
                text = when.text
        return rule.replace(found[0], f"UNTIL={text}")

    def _one(self, event: Component, name: str) -> _When | None:
        found = event.all(name)
        if len(found) > 1:
            raise CalendarFault(f"{name} is given twice", line=found[1].line)
        return self._when(found[0].value, found[0]) if found else None

    def _when(self, value: str, found: Property) -> _When:
        value = value.strip().upper()
        moment = _MOMENT.fullmatch(value)
        if not moment and not _DATE.fullmatch(value):
            raise CalendarFault(f"{found.name}: {shown(value)} is neither a date nor a moment", line=found.line)
        tzid = found.parameters.get("TZID")
        zone = self._zones.name(tzid, found.line) if moment and not moment[1] and tzid else None
        when = _When(value, zone, found.line)
        try:
            when.naive()
        except ValueError:
            raise CalendarFault(f"{found.name}: there is no {shown(value)}", line=found.line) from None
        return when


def _length(duration: Property) -> timedelta:
    found = _DURATION.fullmatch(duration.value.upper())
    if not found or not any(found.groups()):
        raise CalendarFault(f"{shown(duration.value)} is no duration (P1D, PT4H)", line=duration.line)
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


_ESCAPED = re.compile(r"\\(.)")


def _summary(event: Component) -> str:
    found = event.get("SUMMARY")
    raw = found.value[: 4 * LONGEST_SUMMARY] if found else ""
    plain = _ESCAPED.sub(lambda match: " " if match[1] in "nN" else match[1], raw)
    return clean(" ".join(plain.split()), LONGEST_SUMMARY)

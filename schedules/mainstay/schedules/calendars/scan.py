"""The text of a calendar (RFC 5545 section 3.1) as components with the lines they stand on, within limits, before any
parser sees it. Only what says when an event is gets further: no alarms, no attachments, no names of people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mainstay.inventory.names import shown
from mainstay.schedules.calendars.contract import LARGEST, CalendarFault

MOST_EVENTS = 10_000
DEEPEST = 6
"""VCALENDAR, VEVENT, VALARM is 3."""

_LINE = re.compile(
    r'([A-Za-z0-9-]{1,64})((?:;[A-Za-z0-9-]{1,64}=(?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*)*):(.*)', re.S
)
_PARAMETER = re.compile(r';([A-Za-z0-9-]+)=((?:"[^"]*"|[^";:]*)+)')
_EVENT = frozenset(
    {
        "DTSTART",
        "DTEND",
        "DURATION",
        "RRULE",
        "RDATE",
        "EXDATE",
        "EXRULE",
        "RECURRENCE-ID",
        "UID",
        "SEQUENCE",
        "STATUS",
        "SUMMARY",
    }
)
_ZONE = frozenset({"TZID", "X-LIC-LOCATION", "DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "RRULE", "RDATE", "TZNAME"})
_KEPT = {"VEVENT": _EVENT, "VTIMEZONE": _ZONE, "STANDARD": _ZONE, "DAYLIGHT": _ZONE}


@dataclass(frozen=True, slots=True)
class Property:
    """One content line, unfolded. name and the parameters' names: in capitals."""

    name: str
    parameters: dict[str, str]
    value: str
    line: int


@dataclass(slots=True)
class Component:
    """line: of its BEGIN."""

    name: str
    line: int
    properties: list[Property] = field(default_factory=list)
    inner: list[Component] = field(default_factory=list)

    def all(self, name: str) -> list[Property]:
        return [found for found in self.properties if found.name == name]

    def get(self, name: str) -> Property | None:
        return next((found for found in self.properties if found.name == name), None)


@dataclass(frozen=True, slots=True)
class Scanned:
    events: list[Component]
    zones: list[Component]


def scan(content: bytes) -> Scanned:
    """Raises CalendarFault with the line."""
    if len(content) > LARGEST:
        raise CalendarFault(f"is larger than {LARGEST // 2**20} MB")
    events: list[Component] = []
    zones: list[Component] = []
    open_ones: list[Component] = []
    calendars = 0
    for number, line in _unfolded(_text(content)):
        word = line[:6].upper()
        if word.startswith("BEGIN:"):
            name = line[6:].strip().upper()
            if not open_ones and name != "VCALENDAR":
                raise CalendarFault(
                    f"is no calendar: {shown(line[:100])} stands outside of BEGIN:VCALENDAR", line=number
                )
            if len(open_ones) >= DEEPEST:
                raise CalendarFault(f"is nested more than {DEEPEST} deep", line=number)
            calendars += name == "VCALENDAR"
            _open(Component(name, number), open_ones, events, zones)
        elif word.startswith("END:"):
            name = line[4:].strip().upper()
            if not open_ones or open_ones[-1].name != name:
                opened = (
                    f"BEGIN:{shown(open_ones[-1].name)[1:-1]} of line {open_ones[-1].line}" if open_ones else "nothing"
                )
                raise CalendarFault(f"{shown(line[:100])} ends what was not begun: {opened} is open", line=number)
            open_ones.pop()
        else:
            _take(line, number, open_ones)
    if open_ones:
        last = open_ones[-1]
        raise CalendarFault(f"breaks off: END:{shown(last.name)[1:-1]} is missing", line=last.line)
    if not calendars:
        raise CalendarFault(
            "is no calendar: there is no BEGIN:VCALENDAR", hint="It has to be iCalendar (RFC 5545), an .ics file."
        )
    return Scanned(events, zones)


def _open(new: Component, open_ones: list[Component], events: list[Component], zones: list[Component]) -> None:
    above = open_ones[-1] if open_ones else None
    if new.name == "VEVENT" and above and above.name == "VCALENDAR":
        events.append(new)
        if len(events) > MOST_EVENTS:
            raise CalendarFault(f"holds more than {MOST_EVENTS} events", line=new.line)
    if new.name == "VTIMEZONE" and above and above.name == "VCALENDAR":
        zones.append(new)
    if new.name in ("STANDARD", "DAYLIGHT") and above and above.name == "VTIMEZONE":
        above.inner.append(new)
    open_ones.append(new)


def _take(line: str, number: int, open_ones: list[Component]) -> None:
    if not open_ones:
        raise CalendarFault(f"is no calendar: {shown(line[:100])} stands outside of BEGIN:VCALENDAR", line=number)
    here = open_ones[-1]
    name = re.match(r"[A-Za-z0-9-]*", line)
    if name is None or name[0].upper() not in _KEPT.get(here.name, ()):
        return
    found = _LINE.fullmatch(line)
    if not found:
        raise CalendarFault(f"{shown(line[:100])} is no line of a calendar (NAME:value)", line=number)
    parameters = {key.upper(): value.replace('"', "") for key, value in _PARAMETER.findall(found[2])}
    here.properties.append(Property(found[1].upper(), parameters, found[3].strip(), number))
    if len(here.properties) > 2000:
        raise CalendarFault(f"{here.name} has more than 2000 lines", line=number)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CalendarFault("is not UTF-8 text", line=line, hint="Export it as UTF-8.") from None
    if "\0" in text:
        raise CalendarFault("holds a NUL", line=text.count("\n", 0, text.index("\0")) + 1)
    return text


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, line), what is folded put together; empty ones left out."""
    parts: list[str] = []
    first = 0
    for number, line in enumerate(re.split("\r\n|\n|\r", text), 1):
        if line[:1] in (" ", "\t") and parts:
            parts.append(line[1:])
            continue
        if parts:
            yield first, "".join(parts)
        parts, first = ([line], number) if line.strip() else ([], 0)
    if parts:
        yield first, "".join(parts)

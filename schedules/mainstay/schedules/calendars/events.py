"""A calendar's text → when its events are. RFC 5545; what is decided where it leaves a choice:

- A time without a zone, and a day without a time, are those of the site's zone.
- An event on a day without an end lasts that day. One at a time without an end or duration lasts no time (3.6.1), so it
  freezes nothing and allows nothing; `remarks` tell it.
- STATUS:CANCELLED is left out. TRANSP:TRANSPARENT ("does not block my time") is an event like any other.
- A repeated event keeps its local times: 22:00 to 04:00 is that in every night. A local time that the clocks leave out,
  or that comes twice, means what it means for windows (`localtime`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from mainstay.inventory.names import clean
from mainstay.schedules.calendars.contract import CalendarFault, Span
from mainstay.schedules.calendars.lines import EventLines, Told
from mainstay.schedules.calendars.repeats import Budget, Walk
from mainstay.schedules.calendars.scan import scan
from mainstay.schedules.calendars.zones import Zones
from mainstay.schedules.localtime import resolve

MOST_SPANS = 20_000
"""Events that may lie within one stretch of time that is asked for."""
AHEAD = timedelta(days=400)
"""So far from now rules are walked when a calendar is read."""

_LIBRARIES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What icalendar, recurring_ical_events and dateutil raise on what they did not foresee."""
_DAY = timedelta(days=1)


class Timetable:
    """The events of one calendar. Not for several threads at once."""

    def __init__(
        self, query: Any, budget: Budget, told: Sequence[Told], zone: ZoneInfo, remarks: Sequence[tuple[int, str]]
    ) -> None:
        self._query = query
        self._budget = budget
        self._told = told
        self._zone = zone
        self.remarks = tuple(remarks)
        """(line, what `check` should tell): events that last no time."""

    def between(self, start: datetime, end: datetime) -> list[Span]:
        """Those that overlap [start, end), sorted. Raises CalendarFault where they are too many."""
        # In the site's zone, which floating times and dates are compared in as they are written, and a day wider.
        low, high = (moment.astimezone(self._zone) for moment in (start - _DAY, end + _DAY))
        spans: set[Span] = set()
        self._budget.renew()
        try:
            for begins, ends, number in self._query.between(low, high):
                told = self._told[number]
                span = Span(self._instant(begins), self._instant(ends), told.summary)
                if told.cancelled or not (span.starts_at < end and start < span.ends_at):
                    continue
                if span.starts_at < span.ends_at:
                    spans.add(span)
                if len(spans) > MOST_SPANS:
                    raise CalendarFault(f"has more than {MOST_SPANS} events in {(end - start).days} days")
        except _LIBRARIES as error:
            raise CalendarFault(f"its events can't be worked out: {clean(error)}") from None
        return sorted(spans)

    def _instant(self, moment: date | datetime) -> datetime:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        if moment.tzinfo is None or isinstance(moment.tzinfo, ZoneInfo):
            return resolve(moment.replace(tzinfo=None), moment.tzinfo or self._zone).at
        return moment.astimezone(UTC)


def timetable(content: bytes, zone: ZoneInfo, now: datetime) -> Timetable:
    """zone: the site's. Its rules are walked until some years from now, so that one that is too much for us is found here.
    Raises CalendarFault with the line where it is known."""
    scanned = scan(content)
    zones = Zones(scanned.zones)
    events = EventLines(zones, zone)
    lines = [line for event in scanned.events for line in events.of(event)]
    whole = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:mainstay", *zones.lines(), *lines, "END:VCALENDAR", ""]
    budget = Budget()
    try:
        query = _query("\r\n".join(whole), budget)
    except _LIBRARIES as error:
        raise CalendarFault(f"can't be read: {clean(error)}") from None
    table = Timetable(query, budget, events.told, zone, events.remarks)
    for moment in (now, now + AHEAD):
        table.between(moment, moment + _DAY)
    return table


def _query(text: str, budget: Budget) -> Any:
    """recurring_ical_events with rules that are walked within a budget, giving (start, end, X-NUMBER)."""
    from icalendar import Calendar
    from recurring_ical_events import CalendarQuery
    from recurring_ical_events.adapters.event import EventAdapter
    from recurring_ical_events.occurrence import Occurrence
    from recurring_ical_events.selection.name import ComponentsWithName
    from recurring_ical_events.series import Series

    class Walked(Series):  # type: ignore[misc]  # it has no types
        class RecurrenceRules(Series.RecurrenceRules):  # type: ignore[misc]  # it has no types
            def rrulestr(self, rule_string: str) -> Any:
                rule = super().rrulestr(rule_string)
                return Walk(rule, budget, rule.until)

    class Numbered(EventAdapter):  # type: ignore[misc]  # it has no types
        def __init__(self, component: Any) -> None:
            super().__init__(component)
            self.number = int(component["X-NUMBER"])

    class Numbers(Occurrence):  # type: ignore[misc]  # it has no types
        def __init__(self, adapter: Any, start: Any = None, end: Any = None, sequence: int = -1) -> None:
            super().__init__(adapter, start, end, sequence)
            self.number = adapter.number

        def as_component(self, keep_recurrence_attributes: bool) -> Any:
            return self.start, self.end, self.number

    chosen = ComponentsWithName("VEVENT", Numbered, Walked, Numbers)
    return CalendarQuery(Calendar.from_ical(text), components=[chosen])

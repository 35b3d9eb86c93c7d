"""Rules of events: what is refused, and that a walk within bounds gives what dateutil gives without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.schedules.calendars.contract import CalendarFault
from mainstay.schedules.calendars.events import timetable
from mainstay.schedules.calendars.repeats import MARGIN, Budget, Walk, check_makes_sense, check_repeat
from mainstay.schedules.calendars.scan import scan
from mainstay.schedules.calendars.zones import Zones

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules of every sort that come about again and again: the oracle must not look until the year 9999."""
    frequency = draw(st.sampled_from(["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY"]))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 3 if frequency == 'YEARLY' else 5))}"]
    if frequency in ("DAILY", "WEEKLY", "YEARLY") and draw(st.booleans()):
        months = draw(st.sets(st.integers(1, 12), min_size=1, max_size=4))
        parts.append("BYMONTH=" + ",".join(map(str, sorted(months))))
    choice = draw(st.sampled_from(["", "days", "nth", "month days", "year days", "weeks"]))
    if choice == "days" and frequency != "HOURLY":
        parts.append("BYDAY=" + ",".join(sorted(draw(st.sets(st.sampled_from(DAYS), min_size=1)))))
    elif choice == "nth" and frequency in ("MONTHLY", "YEARLY"):
        parts.append(f"BYDAY={draw(st.sampled_from([1, 2, 4, -1]))}{draw(st.sampled_from(DAYS))}")
    elif choice == "month days" and frequency in ("DAILY", "MONTHLY", "YEARLY") and parts[1] == "INTERVAL=1":
        parts.append(f"BYMONTHDAY={draw(st.sampled_from(['1', '15', '28', '-1', '1,15', '10,-5']))}")
    elif choice == "year days" and frequency == "YEARLY" and len(parts) == 2:
        parts.append("BYYEARDAY=1,100,-1")
    elif choice == "weeks" and frequency == "YEARLY" and len(parts) == 2:
        parts.append("BYWEEKNO=1,20,-1")
    if frequency == "MONTHLY" and choice == "days" and draw(st.booleans()):
        parts.append(f"BYSETPOS={draw(st.sampled_from(['1', '-1', '1,3']))}")
    parts.append(draw(st.sampled_from(["", "", "COUNT=1", "COUNT=40", "UNTIL=20100501T000000"])))
    parts.append(draw(st.sampled_from(["", "WKST=SU"])))
    return ";".join(filter(None, parts))


@settings(max_examples=80, deadline=None)
@given(
    rule=rules(),
    start=st.datetimes(datetime(1998, 1, 1), datetime(2012, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    asked=st.lists(st.tuples(st.floats(-0.1, 1), st.floats(0, 0.1)), min_size=1, max_size=3),
)
def test_a_walk_gives_what_the_rule_gives(rule: str, start: datetime, asked: list[tuple[float, float]]) -> None:
    plain = check_repeat(rule)
    check_makes_sense(plain, start)
    walk = Walk(rrulestr(plain, dtstart=start, cache=True), Budget(), None)
    whole = timedelta(days=300 if "HOURLY" in rule else 4000)
    end = start + 2 * whole
    every = list(takewhile(lambda at: at <= end, rrulestr(plain, dtstart=start)))
    for after, length in asked:
        low = start + after * whole
        high = low + length * whole
        assert walk.between(low, high, inc=True) == [at for at in every if low <= at <= high]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("FREQ=SECONDLY", "too often"),
        ("FREQ=MINUTELY", "too often"),
        ("FREQ=FORTNIGHTLY", "none of"),
        ("BYDAY=MO", "needs FREQ"),
        ("FREQ=DAILY;FREQ=DAILY", "twice"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "by COUNT or by UNTIL"),
        ("FREQ=DAILY;COUNT=0", "between 1"),
        ("FREQ=DAILY;COUNT=99999999", "between 1"),
        ("FREQ=DAILY;INTERVAL=0", "between 1"),
        ("FREQ=DAILY;INTERVAL=1,2", "one number"),
        ("FREQ=DAILY;INTERVAL=-1", "between 1"),
        ("FREQ=DAILY;BYEASTER=0", "no part"),
        ("FREQ=DAILY;BYMONTH=13", "between 1"),
        ("FREQ=DAILY;BYMONTHDAY=0", "between -31"),
        ("FREQ=DAILY;BYDAY=XX", "no day"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=2TU", "second Tuesday"),
        ("FREQ=DAILY;UNTIL=tomorrow", "neither"),
        ("FREQ=DAILY;WKST=XX", "no day of the week"),
        ("FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5", "25 times a day"),
        ("FREQ=HOURLY;INTERVAL=2;BYHOUR=1", "contradicts itself"),
        ("FREQ=DAILY;" + "BYMONTH=" + ",".join(["1"] * 500), "400"),
        ("FREQ", "no part"),
    ],
)
def test_a_rule_that_is_refused(rule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_makes_sense(check_repeat(rule), datetime(2026, 1, 1))


class Counting(Budget):
    def __init__(self) -> None:
        super().__init__()
        self.looked = 0

    def look(self) -> None:
        self.looked += 1
        super().look()


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYWEEKNO=20;BYMONTH=1",
        "FREQ=YEARLY;BYYEARDAY=200;BYDAY=53MO",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=300",
        "FREQ=DAILY;BYSETPOS=300",
    ],
)
def test_a_rule_that_never_comes_about_is_not_looked_for_until_the_end_of_time(rule: str) -> None:
    budget = Counting()
    walk = Walk(rrulestr(check_repeat(rule), dtstart=datetime(2026, 1, 1)), budget, None)
    low, high = datetime(2026, 11, 1), datetime(2027, 1, 1)
    assert walk.between(low, high, inc=True) == []
    assert 0 < budget.looked < ((high - low) + 2 * MARGIN).days + 1200


def test_an_old_rule_is_not_walked_from_its_beginning() -> None:
    budget = Counting()
    walk = Walk(rrulestr("FREQ=WEEKLY;INTERVAL=2", dtstart=datetime(1900, 1, 1)), budget, None)
    (start,) = walk.between(datetime(2026, 11, 1), datetime(2026, 11, 14), inc=True)
    assert start == datetime(2026, 11, 2)
    assert (start - datetime(1900, 1, 1)).days % 14 == 0
    assert budget.looked < 1200


def events(*lines: str, times: int = 1) -> bytes:
    event = "\r\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT"])
    return "\r\n".join(["BEGIN:VCALENDAR", *[event] * times, "END:VCALENDAR", ""]).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (events("DTSTART:20260101T000000Z", "DURATION:PT1H", times=10_001), "more than 10000 events"),
        (b"BEGIN:VCALENDAR\r\n" + b"X-PAD:" + b"x" * (5 * 2**20), "larger than 5 MB"),
        (events("DTSTART:20260101T000000Z", *["EXDATE:20260102T000000Z"] * 2001), "more than 2000 lines"),
        (events("DTSTART:20260101T000000Z", "EXDATE:" + ",".join(["20260102T000000Z"] * 5001)), "more than 5000 dates"),
    ],
    ids=["events", "bytes", "lines", "dates"],
)
def test_a_calendar_that_is_too_much(content: bytes, why: str) -> None:
    with pytest.raises(CalendarFault, match=why):
        timetable(content, BERLIN, NOW)


def test_the_dates_of_all_events_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.schedules.calendars.lines.MOST_DATES_OF_ALL", 40)
    dated = ("DTSTART:20260101T000000Z", "DURATION:PT1H", "RDATE:20260102T000000Z", "EXDATE:20260103T000000Z")
    timetable(events(*dated, times=20), BERLIN, NOW)
    with pytest.raises(CalendarFault, match="more than 40 dates"):
        timetable(events(*dated, times=21), BERLIN, NOW)


@pytest.mark.parametrize(
    ("limit", "fault"), [("repeats.MOST_STARTS", "give more than"), ("events.MOST_SPANS", "in 1 days")]
)
def test_events_that_repeat_too_much(monkeypatch: pytest.MonkeyPatch, limit: str, fault: str) -> None:
    long = ("DTSTART;VALUE=DATE:20250101", "DTEND;VALUE=DATE:20280101", "RRULE:FREQ=DAILY", "SUMMARY:x")
    timetable(events(*long), BERLIN, NOW)
    monkeypatch.setattr(f"mainstay.schedules.calendars.{limit}", 500)
    with pytest.raises(CalendarFault, match=fault):
        timetable(events(*long), BERLIN, NOW)


def test_what_looking_takes_is_limited_over_all_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.schedules.calendars.repeats.MOST_DAYS", 20_000)
    spins = ("DTSTART:20260101T000000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30")
    timetable(events(*spins, times=5), BERLIN, NOW)
    with pytest.raises(CalendarFault, match="too many rules"):
        timetable(events(*spins, times=50), BERLIN, NOW)


def test_a_table_goes_on_answering_beyond_what_it_worked_out_first() -> None:
    daily = events("UID:1", "DTSTART:20200101T100000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY", "SUMMARY:x")
    table = timetable(daily, BERLIN, NOW)
    for year in (2020, 2023, 2027, 2031, 2044):
        start = datetime(year, 6, 1, tzinfo=UTC)
        spans = table.between(start, start + timedelta(days=3))
        assert [span.starts_at.day for span in spans] == [1, 2, 3]
    assert table.between(datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 2, 1, tzinfo=UTC)) == []


def test_zones_are_limited_over_all_of_a_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.schedules.calendars.repeats.MOST_STARTS", 20_000)
    part = (
        "BEGIN:STANDARD\r\nDTSTART:16010101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n"
        "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\nEND:STANDARD\r\n"
    )
    zones = [f"BEGIN:VTIMEZONE\r\nTZID:Z{n}\r\n{part * 10}END:VTIMEZONE" for n in range(8)]
    uses = [f"BEGIN:VEVENT\r\nDTSTART;TZID=Z{n}:20261201T100000\r\nEND:VEVENT" for n in range(8)]
    with pytest.raises(CalendarFault, match="give more than"):
        timetable("\r\n".join(["BEGIN:VCALENDAR", *zones, *uses, "END:VCALENDAR", ""]).encode(), BERLIN, NOW)


OUTLOOK = (
    "BEGIN:VTIMEZONE\r\nTZID:Customized Time Zone\r\n"
    "BEGIN:STANDARD\r\nDTSTART:16011028T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\n"
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\nEND:STANDARD\r\n"
    "BEGIN:DAYLIGHT\r\nDTSTART:16010325T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n"
    "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\n"
)


def test_a_zone_of_outlook_is_that_of_the_place_and_not_gone_through_since_1601() -> None:
    lines = ("DURATION:PT1H", "RRULE:FREQ=WEEKLY", "SUMMARY:x")
    own = events("DTSTART;TZID=Customized Time Zone:20200101T100000", *lines)
    own = own.replace(b"BEGIN:VEVENT", OUTLOOK.encode() + b"BEGIN:VEVENT")
    table = timetable(own, ZoneInfo("Asia/Tokyo"), NOW)
    place = timetable(events("DTSTART;TZID=Europe/Berlin:20200101T100000", *lines), BERLIN, NOW)
    for year in (2020, 2026, 2032):
        start = datetime(year, 1, 1, tzinfo=UTC)
        spans = table.between(start, start + timedelta(days=366))
        assert len(spans) >= 52
        assert spans == place.between(start, start + timedelta(days=366))
    zones = Zones(scan(own).zones)
    name = zones.name("Customized Time Zone", 1)
    assert [line for line in zones.lines() if "DTSTART" in line] == [
        "DTSTART:19721028T030000",
        "DTSTART:19720325T020000",
    ]
    assert zones.tzinfo(name) is zones.tzinfo(name)

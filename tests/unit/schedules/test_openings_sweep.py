"""Zones against an oracle: dateutil on local times without a zone, and a look through the zone's offsets, hour by hour."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise, takewhile

import pytest
from dateutil.rrule import rrulestr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.schedules.oracle import NASTY, Offsets, offsets
from tests.unit.schedules.strategies import rrules

from mainstay.schedules.openings import openings
from mainstay.schedules.rules.rrule import recurrence
from mainstay.schedules.windows import Window

pytestmark = [pytest.mark.thorough]

DAY = timedelta(days=1)
RULES = {
    "daily": ("daily", "FREQ=DAILY", 0),
    "sundays": ("sunday", "FREQ=WEEKLY;BYDAY=SU", 0),
    "weekdays": ("weekdays", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 0),
    "1st-and-last": ("1st and last day", "FREQ=MONTHLY;BYMONTHDAY=1,-1", 0),
    "30th": ("30th", "FREQ=MONTHLY;BYMONTHDAY=30", 0),
    "patch-tuesday": ("second tuesday +3 days", "FREQ=MONTHLY;BYDAY=2TU", 3),
    "last-sunday": ("last sunday", "FREQ=MONTHLY;BYDAY=-1SU", 0),
    "second-sunday": ("second sunday", "FREQ=MONTHLY;BYDAY=2SU", 0),
}
ENDS = {"00:00": "03:00", "02:30": "03:30", "23:30": "00:30"}


@cache
def local_times(rule: str, start: str, first: int, last: int) -> tuple[datetime, ...]:
    """All of these years and a few days around them."""
    _, text, offset = RULES[rule]
    hour, minute = map(int, start.split(":"))
    found = rrulestr(text, dtstart=datetime(first - 1, 12, 1, hour, minute)).between(
        datetime(first - 1, 12, 1), datetime(last, 2, 1), inc=True
    )
    return tuple(local + offset * DAY for local in found)


def compare(zone: str, table: Offsets, rule: str, start: str, first: int, last: int) -> int:
    """How many openings there were. Each local time once, in order, and none else; each ends where the oracle says."""
    window = Window(on=RULES[rule][0], start=start, end=ENDS[start], name="w")
    length = timedelta(seconds=window.length)
    since, until = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
    expected: dict[datetime, datetime] = {}
    for local in local_times(rule, start, first, last):
        begins, ends = table.first_at_or_past(local), table.first_at_or_past(local + length)
        if since < begins <= until:
            expected[begins] = ends if ends > begins else begins + length
    found = [(opening.starts_at, opening.ends_at) for opening in openings(window, zone, since, until=until)]
    assert found == sorted(expected.items()), (zone, rule, start)
    assert all(one[0] < other[0] for one, other in pairwise(found))
    return len(found)


@pytest.mark.parametrize("zone", NASTY)
def test_each_occurrence_of_a_nasty_zone_is_there_once(zone: str) -> None:
    # the day that Apia skipped, and the last year of summer time in São Paulo, are in the first span
    for first, last in ((2011, 2012), (2018, 2019), (2026, 2028)):
        table = offsets(zone, first - 1, last + 1)
        assert all(compare(zone, table, rule, start, first, last) for rule in RULES for start in ENDS)


def test_a_day_that_was_skipped_is_made_up_for_at_once_and_never_twice() -> None:
    monthly = Window(on="30th", start="02:00", end="05:00")
    since, until = datetime(2011, 12, 1, tzinfo=UTC), datetime(2012, 1, 15, tzinfo=UTC)
    (only,) = openings(monthly, "Pacific/Apia", since, until=until)
    assert (only.starts_at, only.ends_at) == (
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2011, 12, 30, 13, tzinfo=UTC),
    )
    assert only.remark == "clocks go forward: 2011-12-30 does not exist in Pacific/Apia, open for its usual 3 h"
    daily = Window(on="daily", start="00:00", duration="3h")
    starts = [opening.starts_at.isoformat() for opening in openings(daily, "Pacific/Apia", since, until=until)]
    assert starts.count("2011-12-30T10:00:00+00:00") == 1
    assert len(starts) == len(set(starts)) == 31 - 1 + 15


def test_a_day_of_kwajalein_that_never_was() -> None:
    window = Window(on="21st", start="12:00", duration="1h")
    since, until = datetime(1993, 8, 1, tzinfo=UTC), datetime(1993, 9, 1, tzinfo=UTC)
    (only,) = openings(window, "Pacific/Kwajalein", since, until=until)
    assert only.remark.startswith("clocks go forward: 1993-08-21 does not exist in Pacific/Kwajalein")


@given(
    rule=rrules(),
    zone=st.sampled_from(sorted(zoneinfo.available_timezones())),
    start=st.times(),
    offset=st.integers(-40, 40),
    year=st.sampled_from((2011, 2018, 2027)),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_rule_in_any_zone(rule: str, zone: str, start: time, offset: int, year: int) -> None:
    at = f"{start:%H:%M}"
    try:
        window = Window(rrule=rule, start=at, duration="1h", offset_days=offset)
    except ValueError as error:
        assert "never fires" in str(error)
        return
    since, until = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    days = takewhile(lambda day: day.year < year + 2, recurrence(rule).days(date(year - 1, 6, 1)))
    hour_minute = time.fromisoformat(at)
    table = offsets(zone, year - 1, year + 2)
    expected = {table.first_at_or_past(datetime.combine(day + offset * DAY, hour_minute)) for day in days}
    found = [opening.starts_at for opening in openings(window, zone, since, until=until)]
    assert found == sorted(moment for moment in expected if since < moment <= until)


PARTS = 16


def alike(first: int, last: int) -> list[str]:
    """Every zone, those with the same offsets side by side."""
    months = [datetime(year, month, 15, tzinfo=UTC) for year in range(first, last) for month in range(1, 13)]

    def key(name: str) -> tuple[list[str], str]:
        return [f"{month.astimezone(zoneinfo.ZoneInfo(name)):%z}" for month in months], name

    return sorted(zoneinfo.available_timezones(), key=key)


@pytest.mark.long
@pytest.mark.parametrize("span", [(2007, 2017), (2026, 2036)], ids=["past", "coming"])
@pytest.mark.parametrize("part", range(PARTS))
def test_each_occurrence_of_every_zone_is_there_once(part: int, span: tuple[int, int]) -> None:
    first, last = span
    zones = alike(first, last)
    zones = zones[len(zones) * part // PARTS : len(zones) * (part + 1) // PARTS]
    assert len(zones) > 30
    known = None
    for zone in zones:
        table = Offsets(zone, first - 1, last + 1)
        # one more name for the same offsets is asked for two rules alone
        rules = RULES if table.spans != known else ("last-sunday", "30th")
        known = table.spans
        for rule in rules:
            for start in ENDS:
                assert compare(zone, table, rule, start, first, last) >= 100

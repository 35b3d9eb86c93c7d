"""Rules against those who know them: RRULEs against dateutil, cron lines against cronsim, both on local times alone."""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim
from dateutil.rrule import rrulestr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.effort import counted
from tests.unit.schedules.strategies import rrules

from mainstay.schedules.rules.cron import check_cron, cron_starts
from mainstay.schedules.rules.days import EPOCH, last_day
from mainstay.schedules.rules.rrule import WEEKDAYS, check_rrule, recurrence, week_of

SOME = 8
DATES = st.dates(date(2001, 6, 1), date(2040, 1, 1))


@given(rule=rrules(), first=DATES)
@example(rule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", first=date(2025, 1, 1))
@example(rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,MO;WKST=SU", first=date(2030, 1, 1))
@example(rule="FREQ=WEEKLY;INTERVAL=1;WKST=TU;BYDAY=MO,TU;BYSETPOS=1", first=date(2008, 1, 1))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_rule_means_what_it_means_to_dateutil(rule: str, first: date) -> None:
    try:
        checked = check_rrule(rule)
    except ValueError as error:
        assert "never fires" in str(error)
        assert not any(possible(rule, EPOCH + timedelta(number)) for number in range(28 * 366))
        return
    origin = date(first.year - 1, 1, 1)
    if "INTERVAL" in rule:
        # They go through all the years from where it is counted. Not the first: of a week that had begun before, dateutil takes
        # what is left for the whole, so that BYSETPOS picks another day.
        origin, first = EPOCH, first.replace(year=2002 + first.year % 8, day=min(first.day, 28))
    found = list(islice(recurrence(checked).days(first), SOME))
    theirs = rrulestr(rule, dtstart=datetime(origin.year, origin.month, origin.day))
    since = datetime(first.year, first.month, first.day)
    # no more than that many are asked for: it would go on to the year 9999 for one that never comes
    assert [at.date() for at in islice(theirs.xafter(since, inc=True), len(found))] == found


def possible(rule: str, day: date) -> bool:
    """Whether nothing in a rule speaks against that day; INTERVAL and BYSETPOS are not looked at, and so may."""
    parts = dict(part.split("=") for part in rule.split(";"))
    if "INTERVAL" in parts or "BYSETPOS" in parts or "BYWEEKNO" in parts:
        return False
    of_month = calendar.monthrange(day.year, day.month)[1]
    of_year = 365 + calendar.isleap(day.year)
    year_day = day.timetuple().tm_yday

    def either(key: str, number: int, total: int) -> bool:
        wanted = [int(word) for word in parts[key].split(",")] if key in parts else [number]
        return number in wanted or number - total - 1 in wanted

    words = parts["BYDAY"].split(",") if "BYDAY" in parts else [WEEKDAYS[day.weekday()]]
    weekday = any(word.endswith(WEEKDAYS[day.weekday()]) and nth(word, day, parts) for word in words)
    return (
        weekday
        and either("BYMONTH", day.month, 12)
        and either("BYMONTHDAY", day.day, of_month)
        and either("BYYEARDAY", year_day, of_year)
    )


def nth(word: str, day: date, parts: dict[str, str]) -> bool:
    if len(word) == 2:
        return True
    monthly = parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts
    same = [
        other
        for number in range(-366, 367)
        if (other := day + timedelta(number)).weekday() == day.weekday()
        and other.year == day.year
        and (other.month == day.month or not monthly)
    ]
    number = int(word[:-2])
    return abs(number) <= len(same) and same[number - 1 if number > 0 else number] == day


def test_weeks_are_those_of_the_iso_calendar() -> None:
    day = date(2001, 1, 1)
    while day.year < 2060:
        year, week, _ = day.isocalendar()
        last = date(year, 12, 28).isocalendar().week
        assert week_of(day, 0) == (week, last), day
        day += timedelta(1)
    firsts = recurrence(check_rrule("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO")).days(date(2024, 12, 1))
    assert [str(day) for day in islice(firsts, 3)] == ["2024-12-30", "2025-12-29", "2027-01-04"]


FIELD = (
    (0, 59),
    (0, 23),
    (1, 31),
    (1, 12),
    (0, 7),
)


@st.composite
def crons(draw: st.DrawFn) -> str:
    fields = []
    for low, high in FIELD:
        items = []
        for _ in range(draw(st.integers(1, 3))):
            span = draw(st.sampled_from(("*", "one", "one", "span")))
            one = draw(st.integers(low, high - 1))  # cronsim takes 5-5/2 for 5/2, and Debian's cron does not
            text = {"*": "*", "one": str(one), "span": f"{one}-{draw(st.integers(one + 1, high))}"}[span]
            if draw(st.integers(0, 3)) == 0:
                text += f"/{draw(st.integers(1, high))}"
            items.append(text)
        fields.append(draw(st.sampled_from(("*", ",".join(items)))))
    return " ".join(fields)


@given(line=crons(), first=DATES)
@example(line="0 0 29 2 1", first=date(2025, 1, 1))
@example(line="0 0 29 2 */3", first=date(2025, 1, 1))
@example(line="*/20 5-6 */10 * mon-fri", first=date(2025, 1, 1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_cron_line_means_what_it_means_to_cronsim(line: str, first: date) -> None:
    before = datetime(first.year, first.month, first.day) - timedelta(seconds=1)
    try:
        theirs = list(islice(CronSim(line, before), SOME))
    except Exception as error:  # it has a class of its own for it, and StopIteration out of a generator
        theirs = []
        assert "Bad" in str(error), error
    try:
        found = list(islice(cron_starts(check_cron(line)).since(first), SOME))
    except ValueError as error:
        assert "never fires" in str(error)
        found = []
    assert found == [at for at in theirs if at.date() <= last_day(first)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 2 13 * fri", ["2027-01-01", "2027-01-08", "2027-01-13", "2027-01-15"]),
        ("0 2 */13 * fri", ["2027-01-01", "2027-05-14", "2027-08-27", "2027-10-01"]),
    ],
)
def test_day_and_weekday_are_either_unless_one_begins_with_a_star(line: str, expected: list[str]) -> None:
    assert [str(at.date()) for at in islice(cron_starts(line).since(date(2027, 1, 1)), 4)] == expected


NEVER = (
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYMONTH=2,4;BYMONTHDAY=31",
    "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
    "FREQ=YEARLY;BYWEEKNO=20;BYMONTH=1;BYDAY=MO",
    "FREQ=MONTHLY;BYDAY=1MO;BYMONTHDAY=8,-1;BYMONTH=3",
    "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=11",
)


@pytest.mark.parametrize("rule", NEVER)
def test_a_rule_that_never_fires_is_told_after_a_bounded_search(rule: str) -> None:
    def refused() -> str:
        with pytest.raises(ValueError, match="never fires") as caught:
            check_rrule(rule)
        return str(caught.value)

    calls, words = counted(refused)
    assert "before the year 2102" in words
    assert calls < 1_000_000  # some tenths of a second where the machine is slow


RARE = {
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO": "2044-02-29",
    "FREQ=YEARLY;INTERVAL=97;BYMONTHDAY=1;BYMONTH=3": "2098-03-01",
    "FREQ=DAILY;INTERVAL=1000": "2028-05-19",
    "FREQ=WEEKLY;INTERVAL=1000;BYDAY=SU": "2039-05-08",
}


@pytest.mark.parametrize("rule", RARE)
def test_the_next_of_a_rare_rule_is_found_without_walking_through_its_past(rule: str) -> None:
    checked = check_rrule(rule)
    calls, found = counted(lambda: next(recurrence(checked).days(date(2027, 1, 1))))
    assert str(found) == RARE[rule]
    assert calls < 30_000


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=WEEKLY;INTERVAL=3;BYDAY=TU", "FREQ=MONTHLY;BYDAY=2TU"])
def test_it_costs_the_same_a_thousand_years_later(rule: str) -> None:
    def cost(year: int) -> int:
        return counted(lambda: list(islice(recurrence(rule).days(date(year, 5, 1)), 5)))[0]

    assert cost(3027) <= cost(2027) * 2
    assert cost(2027) < 2_000

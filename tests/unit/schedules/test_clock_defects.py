"""What APScheduler's own triggers and stores get wrong, and what we do instead: why it is our clock's heartbeat and no more.

Each test shows the defect first, so that we hear of it when a later version has it no more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from mainstay.schedules.openings import next_opening, openings
from mainstay.schedules.windows import Window


def theirs(trigger: Any, since: datetime, until: datetime) -> list[datetime]:
    """UTC instants, each asked as the scheduler asks: with the last one, and a moment after it."""
    found: list[datetime] = []
    before, now = None, since
    while (at := trigger.get_next_fire_time(before, now)) and at <= until:
        found.append(at.astimezone(UTC))
        before, now = at, (at.astimezone(UTC) + timedelta(seconds=1)).astimezone(at.tzinfo)
    return found


def ours(window: Window, zone: str, since: datetime, until: datetime) -> list[datetime]:
    return [opening.starts_at for opening in openings(window, zone, since, until=until)]


def days(moments: list[datetime], zone: str) -> list[str]:
    return [f"{moment.astimezone(ZoneInfo(zone)):%m-%d %H:%M}" for moment in moments]


@pytest.mark.parametrize(
    ("zone", "on", "cron", "span", "expected", "lost"),
    [
        ("Europe/Berlin", "daily", {"hour": 0}, ("2027-03-27", "2027-03-30"), ["03-27", "03-28", "03-29", "03-30"], "03-29"),
        ("US/Pacific", "daily", {"hour": 0}, ("2027-03-13", "2027-03-16"), ["03-13", "03-14", "03-15", "03-16"], "03-15"),
        ("Europe/London", "1st", {"hour": 0, "day": 1}, ("2027-02-15", "2027-05-02"), ["03-01", "04-01", "05-01"], "04-01"),
        ("Europe/Berlin", "monday", {"hour": 0, "day_of_week": "mon"}, ("2027-03-21", "2027-04-05"), ["03-22", "03-29", "04-05"],
         "03-29"),
    ],
)  # fmt: skip
def test_no_day_is_lost_after_the_clocks_go_forward(
    zone: str, on: str, cron: dict[str, Any], span: tuple[str, str], expected: list[str], lost: str
) -> None:
    place = ZoneInfo(zone)
    since, until = (datetime.fromisoformat(day).replace(tzinfo=place) for day in span)
    since -= timedelta(seconds=1)
    wanted = [f"{day} 00:00" for day in expected]
    assert days(theirs(CronTrigger(**cron, timezone=place), since, until), zone) == [
        day for day in wanted if not day.startswith(lost)
    ]
    assert days(ours(Window(on=on, start="00:00", duration="1h"), zone, since, until), zone) == wanted


def test_a_time_that_comes_twice_is_one_occurrence() -> None:
    since, until = datetime(2027, 10, 30, tzinfo=UTC), datetime(2027, 11, 1, 12, tzinfo=UTC)
    twice = theirs(CronTrigger(hour=2, minute=30, timezone=ZoneInfo("Europe/Berlin")), since, until)
    assert len(twice) == 4
    assert days(twice, "Europe/Berlin").count("10-31 02:30") == 2
    for window in (Window(on="daily", start="02:30", duration="1h"), Window(cron="30 2 * * *", duration="1h")):
        assert ours(window, "Europe/Berlin", since, until) == [twice[0], twice[1], twice[3]]


class Counting:
    """A trigger that gives up when it has been asked too often."""

    def __init__(self, trigger: Any) -> None:
        self.trigger, self.asked = trigger, 0

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        self.asked += 1
        if self.asked > 2000:
            raise RecursionError("still no answer")
        return self.trigger.get_next_fire_time(previous, now)  # type: ignore[no-any-return]


def starting(hour: int, minute: int = 0) -> Any:
    return IntervalTrigger(hours=2, start_date=datetime(2027, 1, 1, hour, minute, tzinfo=UTC))


PAIRS = {
    "intervals": [starting(0), starting(1)],
    "interval-and-cron": [starting(0, 1), CronTrigger(hour=3, minute=0, timezone=UTC)],
    "monday-at-three": [CronTrigger(day_of_week="mon", timezone=UTC), CronTrigger(hour=3, timezone=UTC)],
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_rules_that_are_joined_have_an_answer(pair: list[Any]) -> None:
    with pytest.raises(RecursionError, match="still no answer"):
        AndTrigger([Counting(trigger) for trigger in pair]).get_next_fire_time(
            None, datetime(2027, 1, 1, 0, 1, tzinfo=UTC)
        )
    opening = next_opening(Window(on="monday", start="03:00", duration="1h"), "UTC", datetime(2027, 1, 1, tzinfo=UTC))
    assert opening
    assert opening.starts_at == datetime(2027, 1, 4, 3, tzinfo=UTC)


def test_a_rule_that_never_fires_is_refused_where_theirs_says_nothing() -> None:
    assert (
        CronTrigger(month=2, day=30, hour=0, timezone=UTC).get_next_fire_time(None, datetime(2027, 1, 1, tzinfo=UTC))
        is None
    )
    with pytest.raises(ValueError, match="never fires"):
        Window(cron="0 0 30 2 *", duration="1h")


@pytest.mark.parametrize(("minute", "step"), [("30", "hours"), ("*/7", "minutes")])
def test_the_hour_that_comes_twice_is_left_again(minute: str, step: str) -> None:
    """Fixed in APScheduler 3.11.2: before that its cron trigger gave the same instant for ever on such a night."""
    zone = "Europe/Helsinki"
    since, until = datetime(2027, 10, 30, 22, tzinfo=UTC), datetime(2027, 10, 31, 5, tzinfo=UTC)
    for found in (
        theirs(CronTrigger(minute=minute, timezone=ZoneInfo(zone)), since, until),
        ours(Window(cron=f"{minute} * * * *", duration="1m"), zone, since, until),
    ):
        assert found == sorted(set(found))
        assert found[-1] > until - timedelta(**{step: 10 if step == "minutes" else 1})

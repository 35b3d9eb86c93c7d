"""One rule from local time to instants: where it is stated, where it is nasty, and that it is nowhere broken."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.effort import counted
from tests.unit.schedules.oracle import NASTY, offsets

from mainstay.inventory.host import Host
from mainstay.schedules.localtime import resolve, wall
from mainstay.schedules.openings import Opening, next_opening, opening_at, openings, zone_of
from mainstay.schedules.windows import Window

BERLIN = "Europe/Berlin"
FORWARD = datetime(2027, 3, 28, 1, tzinfo=UTC)
BACK = datetime(2027, 10, 31, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def on_the_night_of(change: datetime, start: str, zone: str = BERLIN, **ends: str) -> Opening:
    """The opening of a daily window that the change of clocks is near to or in."""
    window = Window(name="w", on="daily", start=start, **ends)
    first = change - 6 * HOUR
    (found, *_) = openings(window, zone, first, until=first + 18 * HOUR)
    return found


@pytest.mark.parametrize(
    ("start", "ends", "begins_at", "minutes", "remark"),
    [
        ("02:30", {"end": "03:30"}, 0, 30, "02:30 does not exist tonight, 30 min instead of 1 h"),
        ("02:30", {"duration": "1h"}, 0, 60, "02:30 does not exist tonight, ends at 04:00 instead of 03:30"),
        ("02:00", {"duration": "1h"}, 0, 60, "02:00 does not exist tonight, ends at 04:00 instead of 03:00"),
        ("03:00", {"duration": "1h"}, 0, 60, ""),
        ("01:00", {"end": "04:00"}, -60, 120, "2 h instead of 3 h"),
        ("01:00", {"duration": "3h"}, -60, 180, "ends at 05:00 instead of 04:00"),
        ("01:00", {"end": "02:30"}, -60, 60, "1 h instead of 1 h 30 min, 02:30 does not exist tonight"),
        ("01:00", {"end": "02:00"}, -60, 60, "02:00 does not exist tonight"),
        ("01:45", {"duration": "15m"}, -15, 15, ""),
        ("02:15", {"end": "02:45"}, 0, 30, "02:15 to 02:45 does not exist tonight, open for its usual 30 min"),
        ("02:00", {"end": "03:00"}, 0, 60, "02:00 to 03:00 does not exist tonight, open for its usual 1 h"),
        ("23:00", {"end": "06:00"}, -180, 360, "6 h instead of 7 h"),
        ("04:00", {"end": "05:00"}, 60, 60, ""),
    ],
)
def test_when_the_clocks_go_forward(
    start: str, ends: dict[str, str], begins_at: int, minutes: int, remark: str
) -> None:
    found = on_the_night_of(FORWARD, start, **ends)
    assert (found.starts_at, found.ends_at - found.starts_at) == (FORWARD + begins_at * MINUTE, minutes * MINUTE)
    assert found.remark == (f"clocks go forward: {remark}" if remark else "")


@pytest.mark.parametrize(
    ("start", "ends", "begins_at", "minutes", "remark"),
    [
        ("01:00", {"end": "04:00"}, -120, 240, "4 h instead of 3 h"),
        ("01:00", {"duration": "3h"}, -120, 180, "ends at 03:00 instead of 04:00"),
        ("02:30", {"end": "03:30"}, -30, 120, "02:30 comes twice tonight, the first counts, 2 h instead of 1 h"),
        ("02:15", {"end": "02:45"}, -45, 30, "02:15 comes twice tonight, the first counts, ends at the first 02:45"),
        ("01:30", {"end": "02:30"}, -90, 60, "ends at the first 02:30"),
        ("03:00", {"end": "04:00"}, 60, 60, ""),
        ("01:00", {"duration": "1h"}, -120, 60, ""),
    ],
)
def test_when_the_clocks_go_back(start: str, ends: dict[str, str], begins_at: int, minutes: int, remark: str) -> None:
    found = on_the_night_of(BACK, start, **ends)
    assert (found.starts_at, found.ends_at - found.starts_at) == (BACK + begins_at * MINUTE, minutes * MINUTE)
    assert found.remark == (f"clocks go back: {remark}" if remark else "")


def test_a_window_that_the_clocks_leave_no_time_in_says_so() -> None:
    found = on_the_night_of(FORWARD, "02:30", end="03:30", cutoff="45m")
    assert found.starts_at == found.cutoff_at < found.ends_at
    assert found.remark.endswith("30 min instead of 1 h, no longer than its cutoff of 45 min: nothing can start")
    assert not found.may_start(found.starts_at)


def test_half_an_hour_and_two_hours_and_midnight() -> None:
    lord_howe = on_the_night_of(datetime(2027, 10, 2, 15, 30, tzinfo=UTC), "02:15", "Australia/Lord_Howe", end="03:00")
    assert lord_howe.remark == "clocks go forward: 02:15 does not exist tonight, 30 min instead of 45 min"
    troll = on_the_night_of(datetime(2027, 3, 28, 1, tzinfo=UTC), "01:30", "Antarctica/Troll", end="04:00")
    assert troll.remark == "clocks go forward: 01:30 does not exist tonight, 1 h instead of 2 h 30 min"
    cairo = on_the_night_of(datetime(2027, 4, 29, 22, tzinfo=UTC), "00:00", "Africa/Cairo", end="02:00")
    assert cairo.starts_at == datetime(2027, 4, 29, 22, tzinfo=UTC)
    assert cairo.remark == "clocks go forward: 00:00 does not exist tonight, 1 h instead of 2 h"


def test_local_times_that_fall_on_one_instant_are_one_opening() -> None:
    window = Window(name="w", cron="*/15 * * * *", duration="15m")
    found = list(openings(window, BERLIN, FORWARD - HOUR, until=FORWARD + HOUR))
    assert [opening.starts_at for opening in found] == [FORWARD + number * 15 * MINUTE for number in range(-3, 5)]
    window = Window(name="w", cron="*/15 * * * *", duration="15m")
    found = list(openings(window, BERLIN, BACK - 2 * HOUR, until=BACK + HOUR))
    # the second 02:00 to 02:45 is the hour that has been
    minutes = [int((opening.starts_at - BACK) / MINUTE) for opening in found]
    assert minutes == [-105, -90, -75, -60, -45, -30, -15, 60]


ZONES = sorted(zoneinfo.available_timezones())


@st.composite
def near_changes(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A zone and a local time, mostly of a night on which its clocks change."""
    if draw(st.integers(0, 3)) == 0:
        some = draw(st.datetimes(datetime(1905, 1, 1), datetime(2090, 1, 1)))
        return ZoneInfo(draw(st.sampled_from(ZONES))), some.replace(microsecond=0)
    name = draw(st.sampled_from(NASTY))
    zone = ZoneInfo(name)
    changes = offsets(name, 2010, 2012).changes or [datetime(2011, 1, 1, tzinfo=UTC)]
    seconds = draw(st.integers(-100_000, 100_000) | st.integers(-7200, 7200))
    return zone, wall(draw(st.sampled_from(changes)), zone) + seconds * SECOND


@given(near=near_changes(), later=st.integers(1, 100_000))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_local_time_is_the_first_instant_at_which_the_clock_has_reached_it(
    near: tuple[ZoneInfo, datetime], later: int
) -> None:
    zone, local = near
    found = resolve(local, zone)
    shown, before = wall(found.at, zone), wall(found.at - SECOND, zone)
    assert shown >= local > before
    assert (shown == local) == (found.how != "skipped")
    # never a later local time at an earlier instant
    assert resolve(local + later * SECOND, zone).at >= found.at


WINDOWS = st.sampled_from(
    (
        Window(on="daily", start="02:30", end="03:30", cutoff="15m"),
        Window(on="daily", start="00:00", duration="24h"),
        Window(on="weekends", start="23:30", end="02:15"),
        Window(on="saturday", start="12:00", duration="7d"),
        Window(on="second sunday", start="00:00", end="23:59"),
        Window(cron="15 */2 * * *", duration="90m"),
        Window(rrule="FREQ=DAILY;INTERVAL=3", offset_days=-2, start="02:00", duration="48h"),
    )
)


@given(window=WINDOWS, zone=st.sampled_from(NASTY), near=st.sampled_from(range(-90, 90)), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_open_is_what_has_opened_and_not_ended(
    window: Window, zone: str, near: int, data: st.DataObject
) -> None:
    changes = offsets(zone, 2010, 2012).changes or [datetime(2011, 1, 1, tzinfo=UTC)]
    moment = data.draw(st.sampled_from(changes)) + near * 20 * MINUTE
    around = list(openings(window, zone, moment - timedelta(20), until=moment + timedelta(20)))
    assert all(one.starts_at < other.starts_at for one, other in pairwise(around))
    for opening in around:
        assert opening.starts_at <= opening.cutoff_at <= opening.ends_at
        assert opening.starts_at < opening.ends_at
        assert timedelta(0) < opening.ends_at - opening.starts_at <= timedelta(seconds=window.length, hours=24)
    now_open = [opening for opening in around if opening.starts_at <= moment < opening.ends_at]
    assert opening_at(window, zone, moment) == (now_open[-1] if now_open else None)
    coming = [opening for opening in around if opening.starts_at > moment]
    following = next_opening(window, zone, moment)
    assert following
    assert following == coming[0] if coming else following.starts_at > moment + timedelta(20)


def test_a_start_is_after_the_moment_and_the_end_of_a_span_is_in_it() -> None:
    window = Window(on="daily", start="02:00", duration="1h")
    at = datetime(2027, 6, 1, 2, tzinfo=UTC)
    found = list(openings(window, "UTC", at, until=at + timedelta(2)))
    assert [opening.starts_at for opening in found] == [at + timedelta(1), at + timedelta(2)]
    assert next_opening(window, "UTC", at - MINUTE) == opening_at(window, "UTC", at)
    here = at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert next_opening(window, "UTC", here - MINUTE) == opening_at(window, "UTC", here)
    assert opening_at(window, "UTC", at + HOUR) is None


def test_a_rule_of_which_nothing_is_left_has_no_next() -> None:
    # every 997 years, counted from 2001
    window = Window(rrule="FREQ=YEARLY;INTERVAL=997;BYMONTHDAY=1;BYMONTH=3", start="00:00", duration="1h")
    assert next_opening(window, BERLIN, datetime(2002, 1, 1, tzinfo=UTC)) is None
    rare = Window(on="29th of february", start="00:00", duration="1h", offset_days=-366)
    found = [opening.starts_at.year for opening in islice(openings(rare, "UTC", datetime(2027, 1, 1, tzinfo=UTC)), 3)]
    assert found == [2027, 2031, 2035]


def test_the_end_of_the_calendar_is_no_fault() -> None:
    window = Window(on="daily", start="23:00", end="01:00")
    assert len(list(openings(window, "UTC", datetime(9900, 12, 20, tzinfo=UTC)))) == 12
    assert next_opening(window, "UTC", datetime(9990, 1, 1, tzinfo=UTC)) is None


def test_each_opening_costs_little_and_asks_no_further_than_it_has_to() -> None:
    moment = datetime(2027, 3, 1, tzinfo=UTC)
    for window in (
        Window(on="second tuesday +3 days", start="02:00", duration="3h"),
        Window(on="daily", start="02:30", end="03:30"),
        Window(cron="0 2 * * *", duration="1h"),
        Window(rrule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", start="02:00", duration="1h"),
    ):
        window.starts  # noqa: B018 - read once and kept
        calls, found = counted(lambda window=window: next_opening(window, BERLIN, moment))  # type: ignore[misc]
        assert found
        assert calls < 500, window


def test_the_zone_is_the_windows_the_hosts_or_the_sites() -> None:
    def window(timezone: str | None) -> Window:
        return Window(on="daily", start="02:00", duration="1h", timezone=timezone)

    away, here = Host(name="a", address="a", timezone="Asia/Tokyo"), Host(name="b", address="b")
    assert zone_of(window(None), "UTC", away) == "UTC"
    assert zone_of(window(BERLIN), "UTC", away) == BERLIN
    assert zone_of(window("host"), "UTC", away) == "Asia/Tokyo"
    assert zone_of(window("host"), "UTC", here) == "UTC"
    assert zone_of(window("host"), "UTC") == "UTC"

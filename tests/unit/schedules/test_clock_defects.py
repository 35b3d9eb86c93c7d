"""What APScheduler's own triggers and stores get wrong, and what we do instead: why it is our clock's heartbeat and no more.

Each test shows the defect first, so that we hear of it when a later version has it no more.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.events import EVENT_JOB_MISSED
from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from tests.unit.schedules.clock_world import ClockWorld

from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.schedules.clock.adapters.apscheduler import DEFAULTS, Clockwork
from mainstay.schedules.openings import next_opening, openings
from mainstay.schedules.store.adapters.sql import SqlSchedules
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


# Stores and defaults. A scheduler of theirs is driven by hand (`_process_jobs`, as its own thread does it), with a clock
# that is told what time it is: nothing here waits.


class Now:
    """Stands in for `datetime` where the scheduler and its executors ask what time it is."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self, zone: Any = None) -> datetime:
        return self.at

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    one = Now(datetime(2026, 11, 22, 1, 59, 30, tzinfo=UTC))
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", one)
    monkeypatch.setattr("apscheduler.executors.base.datetime", one)
    return one


RAN: list[str] = []
"""What their jobs have done: a job in a store is the name of a function."""


def job(name: str) -> None:
    RAN.append(name)


class Scheduler(BlockingScheduler):  # type: ignore[misc]  # the library has no types
    """Theirs, without its thread: jobs run in the thread of the test when it is told to look."""

    def __init__(self, *stores: Any, **settings: Any) -> None:
        super().__init__(timezone=UTC, executors={"default": DebugExecutor()}, **settings)
        if stores:
            self.add_jobstore(stores[0])
        self.heard: list[int] = []
        self.add_listener(lambda event: self.heard.append(event.code))
        self.state = 1
        for alias, executor in self._executors.items():
            executor.start(self, alias)
        self._jobstores.setdefault("default", MemoryJobStore())
        for alias, store in self._jobstores.items():
            store.start(self, alias)

    def wakeup(self) -> None:
        return

    def look(self) -> None:
        self._process_jobs()


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def hourly(root: Path, at: str = "2026-11-22T01:59:30Z", **plan: str) -> ClockWorld:
    windows = {"hourly": "{cron: '0 * * * *', duration: 30m}"}
    return ClockWorld(root, at, windows, {"patch": "{targets: all, window: hourly, missed: skip}"})


def test_a_job_that_is_late_by_seconds_is_dropped_by_their_defaults_and_runs_by_ours(now: Now, tmp_path: Path) -> None:
    """Their misfire_grace_time is a second: a busy pool, and the job is gone."""
    due = datetime(2026, 11, 22, 2, tzinfo=UTC)
    theirs = Scheduler()
    for name in ("first", "second", "third"):
        theirs.add_job(job, "date", run_date=due, args=(name,), id=name)
    now.at = due + timedelta(seconds=2.5)
    theirs.look()
    assert RAN == []
    assert theirs.heard.count(EVENT_JOB_MISSED) == 3
    assert theirs.get_jobs() == [], "nothing will ever run them"

    same_with_our_settings = Scheduler(job_defaults=DEFAULTS)
    now.at = due - timedelta(seconds=1)
    same_with_our_settings.add_job(job, "date", run_date=due, args=("first",))
    now.at = due + timedelta(seconds=2.5)
    same_with_our_settings.look()
    assert RAN == ["first"]

    world = hourly(tmp_path)
    world.daemon().round()
    world.wall.pass_(seconds=32.5)
    world.daemon().round()
    assert world.lines() == ["11-22 02:00 runs"]


@pytest.mark.parametrize(
    ("settings", "runs"),
    [({}, 0), ({"misfire_grace_time": None, "coalesce": False}, 6)],
    ids=["as it comes", "every one"],
)
def test_after_a_downtime_their_store_drops_all_or_runs_all_and_ours_puts_each_on_record(
    now: Now, tmp_path: Path, settings: dict[str, Any], runs: int
) -> None:
    """Six occurrences while nobody was there: one runs, if its window is open, and each of the others says why it did not."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    before = Scheduler(SQLAlchemyJobStore(url=url))
    before.add_job(job, "cron", minute=0, args=("hourly",), id="hourly", **settings)
    now.at = datetime(2026, 11, 22, 7, 10, tzinfo=UTC)
    Scheduler(SQLAlchemyJobStore(url=url)).look()
    assert len(RAN) == runs

    world = hourly(tmp_path)
    world.daemon().round()
    world.wall.pass_(hours=5, minutes=10, seconds=30)
    world.daemon().round()
    assert world.lines() == [*(f"11-22 0{hour}:00 missed" for hour in range(2, 7)), "11-22 07:00 runs"]


def test_two_of_theirs_on_one_store_run_everything_twice_and_two_of_ours_once(now: Now, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    pair = [Scheduler(SQLAlchemyJobStore(url=url)) for _ in range(2)]
    pair[0].add_job(job, "cron", minute=0, args=("hourly",), id="hourly", misfire_grace_time=None, coalesce=True)
    now.at = datetime(2026, 11, 22, 2, 0, 1, tzinfo=UTC)
    second, real = pair[1], pair[0]._lookup_executor

    def meanwhile(alias: str) -> Any:
        # The first has read what is due and not written back yet: the second looks now.
        pair[0]._lookup_executor = real
        second.look()
        return real(alias)

    pair[0]._lookup_executor = meanwhile
    pair[0].look()
    assert RAN == ["hourly", "hourly"]

    world = hourly(tmp_path)
    daemons = [world.daemon(), world.daemon()]
    world.wall.pass_(seconds=31)
    hand_over = daemons[0].runs.hand_over

    def in_between(run: str) -> Any:
        daemons[0].runs.hand_over = hand_over  # type: ignore[method-assign]
        daemons[1].round()
        return hand_over(run)

    daemons[0].runs.hand_over = in_between  # type: ignore[method-assign]
    daemons[0].round()
    assert world.lines() == ["11-22 02:00 runs"]
    assert len(world.world.store.workflows) == 1


def test_a_row_in_their_store_is_code_and_nothing_that_we_keep_is(tmp_path: Path) -> None:
    """Whoever can write a row runs a command as whoever loads it. What we keep is JSON and times."""
    proof = tmp_path / "ran"
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    theirs = Scheduler(SQLAlchemyJobStore(url=url))
    theirs.add_job(job, "date", run_date=datetime(2026, 11, 23, tzinfo=UTC), args=("x",), id="x")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        code = f"cos\nsystem\n(S'touch {proof}'\ntR."
        database.execute("UPDATE apscheduler_jobs SET job_state = ?", (code.encode(),))
        database.commit()
    with suppress(Exception):  # what comes out of it is no job
        Scheduler(SQLAlchemyJobStore(url=url)).get_jobs()
    assert proof.exists()

    own = SqliteDatabase(tmp_path / "mainstay.db")
    state = SqlState(own)
    SqlSchedules(own).begin("patch/night", "2026-11-22T02:00:00.000Z")
    state.close()
    with closing(sqlite3.connect(tmp_path / "mainstay.db")) as rows:
        names = ("watermark", "carried", "approval", "vote", "notice", "mark", "lease")
        kinds = {row[2] for name in names for row in rows.execute(f"PRAGMA table_info({name})")}
    assert kinds == {"TEXT"}
    ours = Clockwork(Any, Any)  # type: ignore[arg-type]  # what it drives is not asked
    assert [type(store) for store in ours.scheduler._jobstores.values()] == [MemoryJobStore]


def test_their_job_is_not_told_what_it_is_due_for_and_our_run_is(now: Now, tmp_path: Path) -> None:
    """So that what a job stands for can't be taken from the clock when it runs: half an hour late, it is another hour."""
    told: list[datetime] = []
    theirs = Scheduler(job_defaults=DEFAULTS)
    theirs.add_job(lambda: told.append(now.at.replace(minute=0, second=0)), "cron", minute=0)
    now.at = datetime(2026, 11, 22, 3, 5, tzinfo=UTC)
    theirs.look()
    assert told == [datetime(2026, 11, 22, 3, tzinfo=UTC)], "two o'clock's is gone: there is nothing to tell it by"

    world = hourly(tmp_path)
    world.daemon().round()
    world.wall.pass_(hours=1, minutes=5, seconds=30)
    world.daemon().round()
    assert [one.at[11:16] for one in world.occurrences()] == ["02:00", "03:00"]

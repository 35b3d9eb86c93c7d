"""APScheduler as the clock, and as nothing more: jobs in memory, made anew at every start, by a trigger of our own.

It only says when to look. What is due is decided by the watermarks, so that a timer which fires late, twice or never does
no harm: every round looks at all schedules. Its job store, its cron trigger and its defaults (a job that is a second late
is dropped) are used by nothing here; tests/unit/schedules/test_clock_defects.py shows what they do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from logging import ERROR, WARNING, getLogger
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from mainstay.runner.engine.contract import EngineUnusable, Unkept
from mainstay.runner.log.events import tell
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.clock.contract import Duty
from mainstay.schedules.clock.pulse import BEAT, Pulse
from mainstay.schedules.clock.sweeping import Sweeper

HORIZON = timedelta(days=1)
"""How far ahead a timer is set at most; it looks again then."""
WORKERS = 8
"""Schedules that are looked at together."""
STEP = 1.0
"""Seconds by which the wall clock may leave the machine's own before every timer is set anew."""
DEFAULTS = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
"""A timer that fires late fires, once for however often it should have, and never beside itself."""


class Openings(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """When the schedule's window opens next."""

    __slots__ = ("_id", "_sweeper")

    def __init__(self, sweeper: Sweeper, id: str) -> None:
        self._sweeper = sweeper
        self._id = id

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        try:
            found = self._sweeper.ahead(self._id, now, HORIZON)
        except Exception as error:  # the thread that sets all timers would end of it
            tell(WARNING, "no timer could be set", schedule=self._id, fault=error, reason="every round looks at it")
            found = None
        return found or now + HORIZON


class Every(BaseTrigger):  # type: ignore[misc]  # the library has no types
    """Every so many seconds; the first time at once."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: float) -> None:
        self._seconds = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now + self._seconds if previous_fire_time else now


class Clockwork:
    """every: seconds between two rounds. told: hears of each round whether it went well ("" where it did)."""

    def __init__(
        self,
        sweeper: Sweeper,
        pulse: Pulse,
        chores: Sequence[Duty] = (),
        *,
        every: float = BEAT,
        told: Callable[[str], None] = lambda fault: None,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweeper = sweeper
        self._pulse = pulse
        self._chores = tuple(chores)
        self._every = every
        self._told = told
        self._wall, self._steady = wall, steady
        self._stopped = threading.Event()
        self._changing = threading.Lock()
        # Its own words about jobs that it drops or starts are ours to say.
        getLogger("apscheduler").setLevel(ERROR)
        pools = {
            "default": ThreadPoolExecutor(WORKERS),
            "round": ThreadPoolExecutor(1),
            "chores": ThreadPoolExecutor(max(1, len(self._chores))),
        }
        self.scheduler = BackgroundScheduler(
            timezone=UTC, jobstores={"default": MemoryJobStore()}, executors=pools, job_defaults=DEFAULTS
        )

    def start(self, loaded: LoadedSite) -> None:
        """What is due is put down before this returns. Raises what keeps the clock from being kept; that one schedule
        can't be looked at does not, at its start as later."""
        self.sweeper.adopt(loaded)
        try:
            self._round()
        except (Unkept, EngineUnusable):
            raise
        except Exception as error:
            self._failed(error)
        self._add("round", Every(self._every), self._watched_round, executor="round", first=self._every)
        for chore in self._chores:
            self._add(f"chore:{chore.name}", Every(chore.every), _guarded(chore), executor="chores")
        self._set_timers()
        self.scheduler.start()
        threading.Thread(target=self._watch, name="clock-watch", daemon=True).start()

    def adopt(self, loaded: LoadedSite) -> None:
        """Another site takes the place of the one that the clock is kept for. Raises, and then keeps the old one."""
        with self._changing:
            self.sweeper.adopt(loaded)
            self._set_timers()

    def stop(self) -> None:
        """No timer fires after it; what is being put down goes on to its end by itself."""
        self._stopped.set()
        if self.scheduler.running:
            self.scheduler.shutdown(wait=False)

    def _round(self) -> None:
        self._pulse.look()
        self.sweeper.sweep_all()
        self._pulse.beat()

    def _watched_round(self) -> None:
        try:
            self._round()
        except Exception as error:  # the next round looks again
            self._failed(error)
        else:
            self._told("")

    def _failed(self, error: Exception) -> None:
        tell(ERROR, "round of the clock failed", fault=error)
        self._told(str(error) or type(error).__name__)

    def _set_timers(self) -> None:
        wanted = {f"schedule:{id}": id for id in self.sweeper.schedules}
        for job in self.scheduler.get_jobs():
            if job.id.startswith("schedule:") and job.id not in wanted:
                self._forget(job.id)
        for name, id in wanted.items():
            self._add(name, Openings(self.sweeper, id), _guarded_sweep(self.sweeper, id))

    def _forget(self, name: str) -> None:
        try:
            self.scheduler.remove_job(name)
        except JobLookupError:
            return

    def _add(
        self, name: str, trigger: BaseTrigger, work: Callable[[], None], *, executor: str = "default", first: float = 0
    ) -> None:
        later: dict[str, Any] = {"next_run_time": datetime.now(UTC) + timedelta(seconds=first)} if first else {}
        self.scheduler.add_job(work, trigger, id=name, name=name, executor=executor, replace_existing=True, **later)

    def _watch(self) -> None:
        """A step of the wall clock, or a sleep of the machine: timers that were set before it are set anew."""
        apart = self._wall() - self._steady()
        while not self._stopped.wait(STEP):
            now_apart = self._wall() - self._steady()
            if abs(now_apart - apart) > STEP:
                self.set_anew(now_apart - apart)
            apart = now_apart

    def set_anew(self, by: float) -> None:
        """The wall clock has moved by so many seconds against the machine's own."""
        tell(WARNING, "the wall clock was moved, or the machine slept", by=round(by, 1), reason="timers are set anew")
        now = datetime.now(UTC)
        with self._changing:
            for job in self.scheduler.get_jobs():
                at = now if not isinstance(job.trigger, Openings) else job.trigger.get_next_fire_time(None, now)
                try:
                    self.scheduler.modify_job(job.id, next_run_time=at)
                except JobLookupError:
                    continue


def _guarded(chore: Duty) -> Callable[[], None]:
    def work() -> None:
        try:
            chore.work()
        except Exception as error:  # one chore that fails ends neither the clock nor itself
            tell(ERROR, "chore failed", chore=chore.name, fault=error, next_try_in=chore.every)

    return work


def _guarded_sweep(sweeper: Sweeper, id: str) -> Callable[[], None]:
    def work() -> None:
        try:
            sweeper.sweep(id)
        except Exception as error:  # the next round looks again
            tell(ERROR, "schedule could not be looked at", schedule=id, fault=error)

    return work

"""The scheduler only says when to look: it looks at once, again and again, and goes on whatever one look runs into."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.schedules.clock_world import NIGHT, ClockWorld

from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.schedules.clock.adapters.apscheduler import HORIZON, Clockwork

PLAN = "{targets: all, window: night}"
LONG = 60.0


@pytest.fixture
def world(tmp_path: Path) -> ClockWorld:
    return ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"patch": PLAN})


class Said(logging.Handler):
    """What was told, until it is what somebody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.came = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self.came:
            self.events.append(record.getMessage())
            self.came.notify_all()

    def wait(self, event: str, times: int = 1) -> bool:
        with self.came:
            return self.came.wait_for(lambda: self.events.count(event) >= times, LONG)


@pytest.fixture
def said() -> Iterator[Said]:
    handler, logger = Said(), logging.getLogger("mainstay.run")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@dataclass
class Chore:
    name: str
    every: float
    work: Any


def clockwork(world: ClockWorld, *chores: Chore, **other: Any) -> Clockwork:
    daemon = world.daemon()
    return Clockwork(daemon.sweeper, daemon.pulse, chores, **other)


def test_what_is_due_is_put_down_before_it_has_started(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=1)
    clock = clockwork(world)
    try:
        clock.start(world.loaded)
        assert world.lines() == ["11-22 02:00 runs"]
        assert sorted(job.id for job in clock.scheduler.get_jobs()) == ["round", "schedule:patch/night"]
    finally:
        clock.stop()


def test_it_looks_again_and_again(world: ClockWorld) -> None:
    rounds = threading.Semaphore(0)
    clock = clockwork(world, every=0.05, told=lambda fault: rounds.release())
    try:
        clock.start(world.loaded)
        world.wall.pass_(hours=1)
        while not world.lines():
            assert rounds.acquire(timeout=LONG)
        assert world.lines() == ["11-22 02:00 runs"]
    finally:
        clock.stop()


def test_a_timer_is_set_for_the_next_opening_or_for_a_look_a_day_later(world: ClockWorld) -> None:
    world.edit(
        {"night": NIGHT, "far": '{on: 1st, start: "02:00", duration: 1h}'},
        {"a": PLAN, "b": "{targets: all, window: far}"},
    )
    clock = clockwork(world)
    try:
        clock.start(world.loaded)
        triggers = {job.id: job.trigger for job in clock.scheduler.get_jobs()}
        now = datetime(2026, 11, 22, 3, tzinfo=UTC)
        assert triggers["schedule:a/night"].get_next_fire_time(None, now) == datetime(2026, 11, 23, 2, tzinfo=UTC)
        assert triggers["schedule:b/far"].get_next_fire_time(now, now) == now + HORIZON
        clock.adopt(world.edit({"night": NIGHT}, {"a": PLAN}))
        assert sorted(job.id for job in clock.scheduler.get_jobs()) == ["round", "schedule:a/night"]
        assert triggers["schedule:b/far"].get_next_fire_time(now, now) == now + HORIZON, "gone, and asked once more"
    finally:
        clock.stop()


def test_a_timer_fires_and_the_schedule_is_looked_at(world: ClockWorld) -> None:
    """By the machine's own clock: that of the site stands where the opening is."""
    looked, asked = threading.Event(), list[datetime]()
    clock = clockwork(world, every=3600.0)
    real = clock.sweeper.ahead

    def ahead(id: str, now: datetime, within: timedelta) -> datetime | None:
        asked.append(now)
        if len(asked) > 1:
            return real(id, now, within)
        world.wall.pass_(hours=1)  # what is due by now is found by the timer, not by the round at the start
        return now + timedelta(seconds=0.05)

    clock.sweeper.ahead = ahead  # type: ignore[method-assign]
    sweep = clock.sweeper.sweep
    clock.sweeper.sweep = lambda id: (sweep(id), looked.set())[0]  # type: ignore[method-assign, func-returns-value]
    try:
        clock.start(world.loaded)
        assert looked.wait(LONG)
        assert world.lines() == ["11-22 02:00 runs"]
    finally:
        clock.stop()


def test_chores_are_done_at_once_and_again_and_one_that_fails_ends_nothing(world: ClockWorld, said: Said) -> None:
    done = threading.Semaphore(0)

    def fail() -> None:
        raise OSError("no route")

    clock = clockwork(world, Chore("fails", 0.05, fail), Chore("works", 0.05, done.release))
    try:
        clock.start(world.loaded)
        for _ in range(3):
            assert done.acquire(timeout=LONG)
        assert said.wait("chore failed", 3)
    finally:
        clock.stop()


def test_a_chore_that_hangs_keeps_no_other_and_no_round(world: ClockWorld) -> None:
    go, done, rounds = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)
    chores = (Chore("hangs", 0.05, go.wait), Chore("works", 0.05, done.release))
    clock = clockwork(world, *chores, every=0.05, told=lambda fault: rounds.release())
    try:
        clock.start(world.loaded)
        for _ in range(3):
            assert done.acquire(timeout=LONG)
            assert rounds.acquire(timeout=LONG)
    finally:
        go.set()
        clock.stop()


def test_a_round_that_fails_is_told_and_the_next_one_comes(world: ClockWorld, said: Said) -> None:
    told: list[str] = []
    again = threading.Event()

    def hear(fault: str) -> None:
        told.append(fault)
        if not fault and "database is locked" in told:
            again.set()

    clock = clockwork(world, every=0.05, told=hear)
    real, failed = world.store.mark, threading.Event()

    def mark(name: str) -> str | None:
        if failed.is_set():
            return real(name)
        failed.set()
        raise OSError("database is locked")

    try:
        clock.start(world.loaded)
        world.store.mark = mark  # type: ignore[method-assign]
        assert again.wait(LONG)
        assert "database is locked" in told
        assert said.wait("round of the clock failed")
    finally:
        clock.stop()


def test_what_keeps_the_clock_from_being_kept_is_raised_at_its_start(world: ClockWorld) -> None:
    clock = clockwork(world)
    world.store.watermarks = lambda: (_ for _ in ()).throw(OSError("away"))  # type: ignore[method-assign]
    with pytest.raises(OSError, match="away"):
        clock.start(world.loaded)
    clock.stop()


@pytest.mark.parametrize("fault", [OSError("of one schedule"), StateUnusable("away")])
def test_a_schedule_that_fails_keeps_no_clock_from_starting_a_state_that_is_away_does(
    world: ClockWorld, fault: Exception
) -> None:
    world.daemon().round()
    world.wall.pass_(hours=1)
    told: list[str] = []
    clock = clockwork(world, told=told.append)
    world.store.begin = lambda schedule, at: (_ for _ in ()).throw(fault)  # type: ignore[method-assign]
    try:
        if isinstance(fault, StateUnusable):
            with pytest.raises(StateUnusable):
                clock.start(world.loaded)
        else:
            clock.start(world.loaded)
            assert told[0] == "of one schedule" and clock.scheduler.get_job("round")
    finally:
        clock.stop()


def test_when_the_wall_clock_is_moved_every_timer_is_set_anew(world: ClockWorld) -> None:
    clock = clockwork(world, Chore("c", 3600.0, lambda: None))
    try:
        clock.start(world.loaded)
        late = datetime.now(UTC) + timedelta(hours=5)
        for job in clock.scheduler.get_jobs():
            clock.scheduler.modify_job(job.id, next_run_time=late)
        clock.set_anew(-18000.0)
        assert all(
            job.next_run_time < late - timedelta(hours=3) or job.id.startswith("s")
            for job in clock.scheduler.get_jobs()
        )
    finally:
        clock.stop()


@pytest.mark.thorough
def test_a_step_of_the_wall_clock_is_noticed(world: ClockWorld, said: Said) -> None:
    wall = [1000.0]
    clock = clockwork(world, wall=lambda: wall[0], steady=lambda: 1000.0)
    try:
        clock.start(world.loaded)
        wall[0] -= 3600.0
        assert said.wait("the wall clock was moved, or the machine slept")
    finally:
        clock.stop()

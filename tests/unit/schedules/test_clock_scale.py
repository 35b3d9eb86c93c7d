"""Many schedules: each has its own timer, is looked at when it is due and not otherwise, and has its run once.

What that takes in seconds and megabytes is measured by bench/clock.py; here it is counted.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.schedules.clock_world import NIGHT, ClockWorld, write

from mainstay.runner.request import RunRequest
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.clock.adapters.apscheduler import Clockwork
from mainstay.schedules.clock.pulse import Pulse
from mainstay.schedules.clock.sweeping import Sweeper
from mainstay.schedules.openings import next_opening
from mainstay.schedules.store.memory import MemorySchedules
from mainstay.schedules.timing import timing_of

pytestmark = [pytest.mark.thorough]

MANY = 500


class Counted(MemorySchedules):
    """Counts what is asked of it and written to it, per schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: Counter[str] = Counter()
        self.advanced: Counter[str] = Counter()

    def begin(self, schedule: str, at: str) -> str:
        self.begun[schedule] += 1
        return super().begin(schedule, at)

    def advance(self, schedule: str, to: str) -> None:
        self.advanced[schedule] += 1
        super().advance(schedule, to)


class PutDown:
    """In the place of the runs: keeps what is put down."""

    def __init__(self, world: ClockWorld) -> None:
        self.tools: Any = SimpleNamespace(state=world.world.state, ledger=world.world.ledger)
        self.down: Counter[tuple[str, str]] = Counter()

    def submit(self, request: RunRequest) -> str:
        occurrence = timing_of(request).occurrence
        assert occurrence is not None
        self.down[occurrence.schedule, occurrence.at] += 1
        return request.id

    def offer(self, run: str) -> bool:
        return True


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> LoadedSite:
    windows = {f"w{minute}": f'{{cron: "{minute} * * * *", duration: 10m}}' for minute in range(60)}
    plans = {f"p{number}": f"{{targets: all, window: w{number % 60}}}" for number in range(MANY)}
    return write(tmp_path_factory.mktemp("many"), windows, plans)


@pytest.fixture
def world(tmp_path: Path, many: LoadedSite) -> ClockWorld:
    made = ClockWorld(tmp_path, "2026-11-22T01:00:30Z", {"night": NIGHT}, {"patch": "{targets: all, window: night}"})
    made.loaded, made.store = many, Counted()
    return made


def keeping(world: ClockWorld) -> tuple[Sweeper, PutDown, Counted]:
    runs: Any = PutDown(world)
    store = world.store
    assert isinstance(store, Counted)
    return Sweeper(store, runs, world.wall, world.asking), runs, store


def test_each_is_looked_at_when_it_is_due_and_has_its_run_once(world: ClockWorld) -> None:
    sweeper, runs, store = keeping(world)
    sweeper.adopt(world.loaded)
    store.begun.clear()
    due = Counter(number % 60 for number in range(MANY))
    for _ in range(60):
        before = store.begun.total()
        world.wall.pass_(minutes=1)
        assert sweeper.sweep_all() == due[world.wall.at.minute]
        assert store.begun.total() - before == due[world.wall.at.minute], "what is not due costs nothing"
        assert sweeper.sweep_all() == 0
    assert len(runs.down) == runs.down.total() == MANY
    assert set(store.advanced.values()) == {1}
    assert len(store.advanced) == MANY


def test_an_hour_of_downtime_is_made_up_in_one_look_without_a_double(world: ClockWorld) -> None:
    sweeper, runs, _ = keeping(world)
    sweeper.adopt(world.loaded)
    world.wall.pass_(hours=1)
    assert sweeper.sweep_all() == MANY
    world.wall.step(hours=-1)
    assert sweeper.sweep_all() == 0
    assert runs.down.total() == MANY


def test_another_start_reads_the_watermarks_and_writes_none(world: ClockWorld) -> None:
    sweeper, _, store = keeping(world)
    sweeper.adopt(world.loaded)
    assert store.begun.total() == MANY
    store.begun.clear()
    again, _, _ = keeping(world)
    again.adopt(world.loaded)
    assert not store.begun
    assert not store.advanced


def test_the_scheduler_has_a_timer_for_each_at_its_next_opening(world: ClockWorld) -> None:
    world.wall.at = datetime.now(UTC)  # the scheduler goes by the real clock, and nothing of it is waited for here
    sweeper, runs, store = keeping(world)
    pulse = Pulse(store, runs.tools, world.wall, world.asking, due=sweeper.due_within)
    clockwork = Clockwork(sweeper, pulse, every=3600)
    before = datetime.now(UTC)
    clockwork.start(world.loaded)
    try:
        jobs = {job.id: job.next_run_time for job in clockwork.scheduler.get_jobs() if job.id.startswith("schedule:")}
    finally:
        clockwork.stop()
    after = datetime.now(UTC)
    assert set(jobs) == {f"schedule:{id}" for id in sweeper.schedules}
    assert len(jobs) == MANY
    for id, schedule in sweeper.schedules.items():
        # One that fell due while this was going on has the opening after it.
        found = {next_opening(schedule.window, schedule.zone, at) for at in (before, after, after + timedelta(hours=1))}
        assert jobs[f"schedule:{id}"] in {opening.starts_at for opening in found if opening}

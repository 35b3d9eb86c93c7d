"""Where nobody kept the clock for a while, that is a record, once; and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.schedules.clock_world import NIGHT, ClockWorld, Daemon

from mainstay.runner.ledger.anchored import unmatched
from mainstay.runner.record import Summary
from mainstay.runner.verdict import Verdict
from mainstay.schedules.clock.pulse import DOWNTIME
from mainstay.schedules.clock.sweeping import HEARTBEAT


@pytest.fixture
def world(tmp_path: Path) -> ClockWorld:
    plan = "{targets: all, window: night}"
    return ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"a": plan, "b": plan})


def downtimes(world: ClockWorld) -> list[Summary]:
    found = [Summary.from_json(entry.body) for entry in world.world.ledger.entries()]
    return [summary for summary in found if summary.kind == DOWNTIME]


def rounds(world: ClockWorld, daemon: Daemon, count: int, **apart: float) -> None:
    for _ in range(count):
        world.wall.pass_(**apart)
        daemon.round()


def test_a_daemon_that_is_there_leaves_no_record(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    rounds(world, daemon, 20, seconds=30)
    assert downtimes(world) == []
    assert world.store.mark(HEARTBEAT) == "2026-11-22T01:10:00.000Z"


def test_the_first_start_of_all_is_no_downtime(world: ClockWorld) -> None:
    world.wall.pass_(days=9)
    world.daemon().round()
    assert downtimes(world) == []


def test_downtime_in_which_windows_opened_is_missed(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=6)
    world.daemon().round()
    (found,) = downtimes(world)
    assert found.verdict is Verdict.MISSED
    assert found.reason == (
        "the controller was down from 2026-11-22 01:00 UTC to 2026-11-22 07:00 UTC; windows of 2 schedules opened meanwhile"
    )
    assert (found.started_at, found.finished_at) == ("2026-11-22T01:00:00.000Z", "2026-11-22T07:00:00.000Z")
    assert found.measures == {"wall_seconds": 21600.0, "schedules": ["a/night", "b/night"]}
    assert (found.counts, found.trigger, found.requested_by) == ({}, "clock", "clock")


def test_downtime_in_which_no_window_opened_is_degraded(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(minutes=5)
    world.daemon().round()
    (found,) = downtimes(world)
    assert found.verdict is Verdict.DEGRADED
    assert found.reason.endswith("; no window opened meanwhile")


def test_two_minutes_are_no_downtime(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(minutes=2)
    world.daemon().round()
    assert downtimes(world) == []


def test_daemons_that_start_together_make_one_record(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=6)
    first, second = world.daemon(), world.daemon()
    first.pulse.look()
    second.pulse.look()
    world.wall.pass_(seconds=1)
    second.pulse.beat()
    first.pulse.beat()
    assert len(downtimes(world)) == 1
    rows = [row for row in world.world.state.runs() if row.kind == DOWNTIME]
    assert [row.state for row in rows] == ["ended"]


@pytest.mark.parametrize("dies", ["state.add_run", "ledger.seal"])
def test_a_crash_while_it_is_written_leaves_one_record_whole(world: ClockWorld, dies: str) -> None:
    world.daemon().round()
    world.wall.pass_(hours=6)
    daemon = world.daemon()
    port, name = dies.split(".")
    part = getattr(daemon.runs.tools, port)
    real = getattr(part, name)
    daemon.pulse.look()
    setattr(part, name, lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        daemon.pulse.beat()
    setattr(part, name, real)
    world.wall.pass_(hours=1)
    world.daemon().round()
    assert len(downtimes(world)) == 1
    sealed = {entry.id: entry.seq for entry in world.world.ledger.entries()}
    rows = {row.id: row.state for row in world.world.state.runs() if row.kind == DOWNTIME}
    assert set(rows.values()) == {"ended"}
    assert not unmatched(rows, {id: seq for id, seq in sealed.items() if id in rows}, rows)


def test_a_machine_that_slept_was_down(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    rounds(world, daemon, 2, seconds=30)
    world.wall.pass_(hours=8)
    daemon.round()
    rounds(world, daemon, 2, seconds=30)
    (found,) = downtimes(world)
    assert found.started_at == "2026-11-22T01:01:00.000Z"
    missed = [one.missed for one in world.occurrences()]
    assert missed == ["the controller was down from 2026-11-22 01:01 UTC to 2026-11-22 09:01 UTC"] * 2


def test_a_wall_clock_that_is_moved_forward_is_no_downtime(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    rounds(world, daemon, 2, seconds=30)
    world.wall.step(hours=8)
    rounds(world, daemon, 3, seconds=30)
    assert downtimes(world) == []
    assert world.store.mark(HEARTBEAT) == "2026-11-22T09:02:30.000Z"


def test_rounds_that_fail_are_no_step_of_the_wall_clock(world: ClockWorld, caplog: pytest.LogCaptureFixture) -> None:
    daemon = world.daemon()
    daemon.round()
    for _ in range(6):
        world.wall.pass_(seconds=30)
        daemon.pulse.look()  # what comes after it fails
    assert "moved forward" not in caplog.text
    world.wall.step(hours=8)
    rounds(world, daemon, 1, seconds=30)
    assert caplog.text.count("the wall clock was moved forward") == 1
    assert downtimes(world) == []


def test_a_heartbeat_that_lies_in_the_future_is_brought_back(world: ClockWorld) -> None:
    daemon = world.daemon()
    world.wall.step(days=400)
    daemon.round()
    world.wall.step(days=-400)
    rounds(world, daemon, 2, seconds=30)
    assert world.store.mark(HEARTBEAT) == "2026-11-22T01:01:00.000Z"
    world.wall.pass_(hours=3)
    world.daemon().round()
    assert [one.finished_at for one in downtimes(world)] == ["2026-11-22T04:01:00.000Z"]


def test_another_daemon_that_was_there_meanwhile_means_that_nothing_was_down(world: ClockWorld) -> None:
    first, second = world.daemon(), world.daemon()
    first.round()
    for _ in range(10):
        world.wall.pass_(seconds=30)
        second.round()
    first.round()
    assert downtimes(world) == []

"""For each opening of a plan that stages there is one run ahead of it, whoever keeps the clock, and however often it died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.schedules.clock_world import NIGHT, ClockWorld, PutDown
from tests.unit.schedules.gates import Around, utc

from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.ports import Gate, Permission
from mainstay.runner.record import STAGE
from mainstay.runner.request import RunRequest
from mainstay.runner.verdict import Verdict
from mainstay.schedules.clock.adapters.apscheduler import HORIZON
from mainstay.schedules.occurrences import run_id
from mainstay.schedules.staging import StagingGate, stage_id

PLAN = "{targets: all, window: night, stage: 4h before}"
OPENS = datetime(2026, 11, 23, 2, tzinfo=UTC)


def staging_world(tmp_path: Path, plan: str = PLAN, at: str = "2026-11-22T17:00:00Z", night: str = NIGHT) -> ClockWorld:
    return ClockWorld(tmp_path, at, {"night": night}, {"patch": plan})


@pytest.fixture
def world(tmp_path: Path) -> ClockWorld:
    """An evening, five hours before anything is to be downloaded."""
    return staging_world(tmp_path)


def stagings(world: ClockWorld) -> list[RunRequest]:
    return [RunRequest.from_json(row.request) for row in world.world.state.runs() if row.kind == STAGE]


def openings(world: ClockWorld) -> list[str]:
    """`11-23 02:00`, of each opening that was staged for."""
    return [f"{one.occurrence['at'][5:10]} {one.occurrence['at'][11:16]}" for one in stagings(world)]


def test_each_opening_is_staged_for_once_so_long_before_it(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    world.wall.pass_(hours=4, minutes=59)
    daemon.round()
    assert openings(world) == [], "it is not four hours before yet"
    world.wall.pass_(minutes=1)
    daemon.round()
    daemon.round()
    (staging,) = stagings(world)
    assert staging.id == stage_id("patch/night", OPENS) in world.world.store.workflows, "it was handed over"
    assert (staging.trigger, staging.plan, [host.name for host in staging.hosts]) == (
        "clock",
        "patch",
        ["web1", "web2"],
    )
    run = run_id("patch/night", OPENS)
    assert staging.occurrence == {"schedule": "patch/night", "at": "2026-11-23T02:00:00.000Z", "run": run}
    assert staging.id < run and world.lines() == [], "the occurrence has its own time"
    world.wall.pass_(hours=4)
    daemon.round()
    assert world.lines() == ["11-23 02:00 runs"] and world.requests()[0].id == run
    world.wall.pass_(hours=20)
    daemon.round()
    assert openings(world) == ["11-23 02:00", "11-24 02:00"]


def test_nothing_is_disturbed_and_no_host_stops_another(tmp_path: Path) -> None:
    more = "waves: [1, 50%, 100%], soak: 1h, before: x, after: y, health: {service: z}, reboot: always, on_failure: rollback-all"
    world = staging_world(tmp_path, f"{PLAN[:-1]}, approval: required, other_updaters: fence, parallel: 3, {more}}}")
    daemon = world.daemon()
    world.wall.pass_(hours=6)
    daemon.round()
    (staging,) = stagings(world)
    careful = staging.careful
    assert [wave.size.percent if wave.size else None for wave in careful.waves] == [100]
    assert (careful.budget.of(2), careful.unreachable.of(2), careful.prove_first, careful.soak) == (2, 2, False, 0)
    assert (careful.before, careful.after, careful.health, careful.restart, careful.reboot) == (
        (),
        (),
        (),
        "none",
        "never",
    )
    assert (careful.other_updaters, staging.on_failure, careful.parallel) == ("report", "halt", 3)


def test_a_daemon_that_was_down_at_that_moment_stages_late(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=8, minutes=59)
    world.daemon().round()
    assert openings(world) == ["11-23 02:00"]


def test_a_daemon_that_was_down_until_it_opened_stages_for_the_next(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=9)
    daemon = world.daemon()
    daemon.round()
    assert openings(world) == [] and world.lines() == ["11-23 02:00 runs"], "it downloads itself"
    world.wall.pass_(hours=20)
    daemon.round()
    assert openings(world) == ["11-24 02:00"]


def test_of_openings_that_are_closer_than_that_only_the_next_is_staged_for(tmp_path: Path) -> None:
    hourly = "{cron: '0 * * * *', duration: 30m}"
    world = staging_world(tmp_path, at="2026-11-22T17:10:00Z", night=hourly)
    daemon = world.daemon()
    daemon.round()
    assert openings(world) == ["11-22 18:00"]
    world.wall.pass_(minutes=49)
    daemon.round()
    assert openings(world) == ["11-22 18:00"]
    world.wall.pass_(minutes=1)
    daemon.round()
    assert openings(world) == ["11-22 18:00", "11-22 19:00"]


def test_two_daemons_and_one_that_died_put_it_down_once(world: ClockWorld) -> None:
    one, two = world.daemon(), world.daemon()
    world.wall.pass_(hours=5)

    def die(run: str) -> bool:
        raise KeyboardInterrupt

    one.runs.offer = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.round()
    assert len(stagings(world)) == 1 and world.world.store.workflows == {}
    world.wall.pass_(seconds=30)  # what the other asks for is asked for at another moment
    two.round()
    world.daemon().round()
    assert (
        [staging.id for staging in stagings(world)]
        == list(world.world.store.workflows)
        == [stage_id("patch/night", OPENS)]
    )


def test_a_clock_that_is_moved_back_stages_nothing_twice(world: ClockWorld) -> None:
    daemon = world.daemon()
    world.wall.pass_(hours=6)
    daemon.round()
    world.wall.step(hours=-2)
    daemon.round()
    world.daemon().round()
    world.wall.pass_(hours=2)
    daemon.round()
    assert openings(world) == ["11-23 02:00"]


def test_a_plan_that_is_edited_to_stage_does(world: ClockWorld) -> None:
    world.edit({"night": NIGHT}, {"patch": "{targets: all, window: night}"})
    daemon = world.daemon()
    world.wall.pass_(hours=6)
    daemon.round()
    assert stagings(world) == []
    daemon.sweeper.adopt(world.edit({"night": NIGHT}, {"patch": PLAN}))
    daemon.round()
    daemon.sweeper.adopt(world.edit({"night": NIGHT}, {"patch": PLAN.replace("4h", "2h")}))
    world.wall.pass_(hours=2)
    daemon.round()
    assert openings(world) == ["11-23 02:00"], "once, although its moment has come again"


def test_a_plan_that_can_not_run_yet_is_not_staged_for(tmp_path: Path) -> None:
    world = staging_world(tmp_path, f"{PLAN[:-1]}, before: {{playbook: drain.yml}}}}")
    daemon = world.daemon()
    world.wall.pass_(hours=6)
    daemon.round()
    assert stagings(world) == []


def test_a_timer_is_set_for_it(world: ClockWorld) -> None:
    daemon = world.daemon()

    def next_timer(hours: float) -> datetime | None:
        return daemon.sweeper.ahead("patch/night", world.wall.now() + timedelta(hours=hours), HORIZON)

    assert next_timer(0) == OPENS - timedelta(hours=4)
    assert next_timer(5) == OPENS, "its moment is over"
    assert next_timer(9) == OPENS + timedelta(hours=20)


def test_a_fault_of_staging_keeps_no_occurrence(world: ClockWorld) -> None:
    daemon = world.daemon()
    submit = daemon.runs.submit

    def fail(request: RunRequest) -> str:
        if request.kind == STAGE:
            raise ValueError("nobody thought of this")
        return submit(request)

    daemon.runs.submit = fail  # type: ignore[method-assign]
    world.wall.pass_(hours=5)
    with pytest.raises(ValueError, match="nobody"):
        daemon.round()
    world.wall.pass_(hours=4)
    daemon.round()
    assert world.lines() == ["11-23 02:00 runs"]


# The gate


class Asked:
    """The gate of the night's staging, with everything around it that a test sets."""

    def __init__(self, world: ClockWorld, plan: str = PLAN) -> None:
        daemon = world.daemon(world.edit({"night": NIGHT}, {"patch": plan}))
        world.wall.pass_(hours=6)
        daemon.round()
        (self.request,) = stagings(world)
        self.around = Around(FakeClock(utc("01 00:00")))

    def at(self, moment: datetime, host: str | None = None) -> Permission:
        clock = FakeClock(moment)
        gate: Gate = StagingGate(self.request, clock=clock, freezes=lambda: self.around)
        return gate.permit(self.request.id, host, "host" if host else "run", None)


BEFORE = OPENS - timedelta(hours=4)


def test_it_starts_outside_of_every_window_and_asks_for_no_approval(world: ClockWorld) -> None:
    gate = Asked(world, f"{PLAN[:-1]}, approval: required}}")
    assert gate.at(BEFORE).answer == gate.at(BEFORE, "web1").answer == "start"
    assert gate.around.asked == []


def test_once_its_opening_has_begun_nothing_more_is_staged(world: ClockWorld) -> None:
    gate = Asked(world)
    assert gate.at(OPENS - timedelta(seconds=1), "web1").answer == "start"
    late = gate.at(OPENS, "web1")
    assert (late.answer, late.gate, late.verdict) == ("refuse", "window", "refused")
    assert late.reason == "its window opened Mon 2026-11-23 02:00 UTC; what is not there yet is downloaded in it"


@pytest.mark.parametrize(
    ("freeze", "reason"),
    [
        ((BEFORE, BEFORE + timedelta(hours=1)), "frozen: close (until Sun 2026-11-22 23:00 UTC)"),
        (
            (OPENS, OPENS + timedelta(days=1)),
            "nothing will be installed: frozen: close (until Tue 2026-11-24 02:00 UTC)",
        ),
        ((OPENS, OPENS + timedelta(hours=1)), ""),
    ],
    ids=["now", "all of its opening", "the first hour of its opening"],
)
def test_a_freeze_holds_it(world: ClockWorld, freeze: tuple[datetime, datetime], reason: str) -> None:
    gate = Asked(world)
    gate.around.freezes = [("close", None, *freeze)]
    assert (gate.at(BEFORE).reason, gate.at(BEFORE, "web1").reason) == (reason, reason)
    gate.around.freezes = [("close", "web1", *freeze)]
    answers = [gate.at(BEFORE).answer, gate.at(BEFORE, "web1").answer, gate.at(BEFORE, "web2").answer]
    assert answers == ["start", "refuse" if reason else "start", "start"]


def test_what_is_not_in_its_calendar_or_can_not_be_trusted_is_not_staged_for(world: ClockWorld) -> None:
    gate = Asked(world)
    gate.around.business = False
    gate.request = gate.request.model_copy(update={"timing": _with_calendar(gate.request)})
    assert gate.at(BEFORE).gate == "calendar"
    gate.around.stale = "calendar x is too old"
    assert gate.at(BEFORE).reason == "calendar x is too old"


def _with_calendar(request: RunRequest) -> dict[str, Any]:
    return {**request.timing, "rules": {**request.timing["rules"], "calendar": ["trade"]}}


def test_what_a_freeze_holds_is_on_record(world: ClockWorld) -> None:
    daemon = world.daemon()
    around = Around(FakeClock(BEFORE))
    around.freezes = [("close", None, BEFORE - timedelta(hours=1), OPENS - timedelta(hours=1))]

    def gate(request: RunRequest) -> Gate:
        if request.kind != STAGE:
            return PutDown(request)
        return StagingGate(request, clock=world.wall, freezes=lambda: around)

    daemon.runs.tools.gate = gate
    world.wall.pass_(hours=5)
    daemon.round()
    record = world.work(daemon)[stage_id("patch/night", OPENS)]
    assert (record.kind, record.verdict) == (STAGE, Verdict.REFUSED)
    assert record.reason.startswith("frozen: close")
    assert record.measures["occurrence"]["at"] == "2026-11-23T02:00:00.000Z"

"""A run that stages: each host as far as its downloads, and given back as it was."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest
from tests.unit.runner.machines import ScriptedOperation
from tests.unit.runner.test_rollout import part
from tests.unit.runner.test_rollout_crash import go_on
from tests.unit.runner.timely import Timely
from tests.unit.runner.world import World, steps, verdicts
from tests.unit.schedules.gates import NIGHT, Around, utc

from mainstay.inventory.errors import Refused
from mainstay.runner.engine.memory import Crash
from mainstay.runner.record import STAGE, HostPart, MaintenanceRecord
from mainstay.runner.sealing import seal
from mainstay.runner.shell.contract import ContactLost
from mainstay.runner.state.contract import RunRow
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.staging import GENTLE
from mainstay.schedules.store.contract import Carried
from mainstay.schedules.turns import Turns

PLAN = {
    "waves": [1, "50%", "100%"],
    "before": "drain",
    "after": "undrain",
    "health": {"service": "web"},
    "reboot": "always",
    "other_updaters": "fence",
    "on_failure": "rollback-all",
}


def stage(world: World, **more: Any) -> MaintenanceRecord:
    return world.run(**ahead(world), **more)


def ahead(world: World) -> dict[str, Any]:
    careful = world.request().careful.model_copy(update=GENTLE)
    return {"kind": STAGE, "careful": careful, "on_failure": "halt"}


def free(world: World, host: str) -> bool:
    return not world[host].there.lock.run


def test_every_host_goes_as_far_as_its_downloads_and_is_given_back_as_it_was() -> None:
    world = World("w1 w2 w3", **PLAN)
    world["w3"].offers = {}
    record = stage(world)
    assert record.summary.kind == STAGE and record.summary.verdict is Verdict.SUCCEEDED
    assert steps(record, "w1") == ["admit", "lock", "probe", "preflight", "resolve", "stage", "release"]
    assert part(record, "w1").reason == "2 downloaded, nothing changed"
    assert part(record, "w3").reason == "nothing to do"
    for name in ("w1", "w2"):
        assert world[name].log == ["stage"], "no hook, no change, no restart, no health check"
        assert world[name].installed == {"openssl": "1", "perl": "1"}
        assert world[name].boots == 1 and not world[name].fenced and free(world, name)
        assert part(record, name).measures["staged"] == 2
        assert part(record, name).before == part(record, name).after == {}
    assert world.state.undos() == [] and list(world.artifacts.hashes("package")) == []
    assert record.summary.measures["packages_changed"] == 0
    assert [line for line in world.told if line.startswith("wave")] == ["wave 1: w1 w2"], "all at once"


def test_no_hosts_failure_stops_another() -> None:
    world = World("w1 w2 w3 w4", parallel=1)
    world["w1"].wrong.add("prepare")
    world["w2"].there.unreachable = "timed out"
    record = stage(world)
    assert verdicts(record) == {"w1": "refused", "w2": "refused", "w3": "succeeded", "w4": "succeeded"}
    assert record.summary.verdict is Verdict.DEGRADED and record.summary.reason == ""
    assert part(record, "w1").reason == "dpkg's lock is held by apt (pid 7)" and free(world, "w1")


def test_a_host_that_can_not_download_is_refused_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("w1 w2")
    failing(world, monkeypatch, "w1", Refused("could not be downloaded: 404"))
    record = stage(world)
    assert verdicts(record) == {"w1": "refused", "w2": "succeeded"}
    assert part(record, "w1").reason == "could not be downloaded: 404" and free(world, "w1")


def failing(world: World, monkeypatch: pytest.MonkeyPatch, host: str, error: Exception) -> None:
    whole = ScriptedOperation.stage

    def stage(self: Any, work: Any, change: Any, *, keep: bool) -> Any:
        if work.host.name == host:
            if isinstance(error, ContactLost):
                world[host].there.unreachable = "timed out"
            raise error
        return whole(self, work, change, keep=keep)

    monkeypatch.setattr(ScriptedOperation, "stage", stage)


def test_a_host_that_is_lost_is_not_unknown_and_the_run_of_the_night_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("w1 w2")
    failing(world, monkeypatch, "w1", ContactLost("w1", "the connection broke"))
    record = stage(world)
    assert verdicts(record) == {"w1": "refused", "w2": "succeeded"}
    assert part(record, "w1").reason.startswith("stage: no contact for ")
    assert part(record, "w1").reason.endswith("; nothing had been changed")
    assert world["w1"].there.lock.run == record.summary.id, "nobody could give it back"
    monkeypatch.undo()
    world["w1"].there.unreachable = ""
    assert verdicts(world.run()) == {"w1": "succeeded", "w2": "succeeded"}


def test_the_lock_of_a_staging_that_is_still_in_flight_elsewhere_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lost one host and is busy with others as the window opens."""
    world = World("w1 w2")
    failing(world, monkeypatch, "w1", ContactLost("w1", "the connection broke"))
    record = stage(world)
    row = world.state.run(record.summary.id)
    assert row is not None
    monkeypatch.undo()
    world["w1"].there.unreachable = ""
    world.state._runs[row.id] = row.model_copy(update={"state": "running", "ended_at": None})
    assert verdicts(world.run()) == {"w1": "succeeded", "w2": "succeeded"}


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["before", "after"])
def test_whichever_checkpoint_it_dies_at_nothing_is_changed_and_no_host_is_kept(
    when: Literal["before", "after"],
) -> None:
    whole = World("w1 w2")
    stage(whole)
    assert whole.store.checkpoints > 15, "the sweep is over a real rollout"
    for number in range(1, whole.store.checkpoints + 1):
        world = World("w1 w2")
        request = world.request(**ahead(world))
        runs = world.runs(crash=(number, when))
        runs.submit(request)
        with pytest.raises(Crash):
            runs.start(request.id)
        record = go_on(world, runs, request.id)
        where = f"crash {when} checkpoint {number}"
        assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}, where
        assert all(free(world, name) and set(world[name].log) == {"stage"} for name in world.machines), where
        assert verdicts(world.run()) == {"w1": "succeeded", "w2": "succeeded"}, where


def test_a_staging_that_can_not_end_in_a_record_leaves_no_host_unknown() -> None:
    world = World("w1")
    request = world.request(**ahead(world))
    runs = world.runs(crash=(8, "after"))
    runs.submit(request)
    with pytest.raises(Crash):
        runs.start(request.id)
    assert world["w1"].there.lock.run == request.id, "it died while it held the host"
    seal(runs.tools, request, "internal error: the disk is full", {})
    assert world.state.parts(request.id)[0].verdict is Verdict.FAILED
    assert verdicts(world.run()) == {"w1": "succeeded"}


def test_the_run_of_the_window_waits_for_a_host_that_is_still_being_staged() -> None:
    """Of two runs that want one host, the second waits; that the first only downloads is nothing else."""
    world = Timely("w1", "11 01:30", NIGHT)
    held = world.request(**ahead(world))
    world.state.add_run(_row(world, held.id))
    assert world.state.take_slots(held.id, "w1", {"host:w1": 1})
    request = world.asked()
    waited: list[str] = []

    def look() -> None:
        waited.append(world.state.notes(request.id).get("w1", {}).get("detail", ""))
        if len(waited) == 3:
            world.state.free_slots(held.id)

    world.each_nap.append(look)
    assert verdicts(world.go(request)) == {"w1": "succeeded"}
    assert waited[-1] == f"waiting for run {held.id}, which works on it"


def _row(world: World, run: str) -> RunRow:
    request = world.request(id=run, **ahead(world))
    now = rfc3339(world.clock.now())
    return RunRow(id=run, kind=STAGE, plan=request.plan, state="running", request=request.to_json(), started_at=now)


# What others take for the past


def test_it_is_nobodys_past() -> None:
    world = World("w1")
    ran = world.run()
    world["w1"].offers["openssl"] = "3"
    stage(world)
    newest = world.state.last_part("w1")
    assert newest is not None and newest[0] == ran.summary.id
    assert [one.reason for one in world.state.recent_parts("patch-web", "w1", 9)] == [part(ran, "w1").reason]


def test_it_is_no_turn() -> None:
    world = World("w1")
    around = Around(world.clock)
    carried = Carried(plan="patch-web", host="w1", run="r", at="2026-01-01T00:00:00.000Z", reason="no time left")
    around.store.carry(carried)
    turns = Turns(around.store, world.state)
    turns.run_finished(stage(world))
    assert around.store.carried("patch-web") == [carried]
    turns.run_finished(world.run())
    assert around.store.carried("patch-web") == []


def test_what_somebody_else_changes_meanwhile_is_not_its_concern() -> None:
    world = World("w1")
    world["w1"].wrong.add("others")
    assert verdicts(stage(world)) == {"w1": "succeeded"}


def test_the_night_after_it_takes_what_it_takes_alone() -> None:
    """Staged in the evening, installed in the night; how long a host takes is told by the night."""
    world = Timely("w1 w2", "10 21:00", NIGHT)
    evening = world.request(**ahead(world), asked_at=rfc3339(world.clock.now()))
    runs = world.runs()
    runs.submit(evening)
    assert set(verdicts(runs.execute(evening.id)).values()) == {"succeeded"}
    world.clock.advance((utc("11 01:10") - world.clock.now()).total_seconds())
    world.spends("w1", 600.0)
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}
    assert world["w1"].log == ["stage", "stage keep", "apply", "health"]
    took: list[HostPart] = world.state.recent_parts("patch-web", None, 9)
    assert {one.reason for one in took} == {"2 changed, checked"}
    assert timedelta(seconds=600) <= world.clock.now() - world.began["w1"]

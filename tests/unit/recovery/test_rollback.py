from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.errors import Refused, UsageError
from mainstay.recovery.rollback import WayBack, later_runs, narrowed, rollback_request, way_back
from mainstay.runner.record import STAGE, MaintenanceRecord
from mainstay.runner.request import Asking

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKING = Asking(
    requested_by="on-call", asked_at="2026-01-02T03:00:00.000Z", site_name="acme", reason="alerts since 02:10"
)


def way(world: World, run: str, *, now: datetime = NOW) -> WayBack:
    return way_back(world.runs().tools, run, now)


def roll_back(world: World, run: str, *names: str, **more: Any) -> MaintenanceRecord:
    runs = world.runs()
    found = way_back(runs.tools, run, NOW)
    request = rollback_request(
        runs.tools, narrowed(found, names) if names else found, list(world.hosts.values()), ASKING, **more
    )
    runs.submit(request)
    return runs.execute(request.id)


def test_the_old_versions_come_back_in_waves_and_the_record_says_what_was_undone() -> None:
    world = World("w1 w2 w3", waves=[1, "100%"])
    first = world.run()
    back = roll_back(world, first.summary.id)
    assert back.summary.verdict == "succeeded" and back.summary.kind == "rollback"
    assert back.summary.links.undoes == first.summary.id
    assert back.summary.maintenance_type == "corrective" and back.summary.requested_by == "on-call"
    assert all(machine.installed == {"openssl": "1", "perl": "1"} for machine in world.machines.values())
    assert [line for line in world.told if line.startswith("wave")][-2:] == ["wave 1: w1", "wave 2: w2 w3"]


def test_what_was_only_staged_can_not_be_taken_back() -> None:
    world = World("w1")
    staged = world.run(kind=STAGE)
    assert staged.summary.verdict == "succeeded" and world["w1"].log == ["stage"]
    with pytest.raises(Refused, match="only downloaded ahead of its window and changed nothing"):
        way(world, staged.summary.id)


def test_a_second_time_there_is_nothing_left_and_it_is_said_who_did_it() -> None:
    world = World("w1")
    first = world.run()
    back = roll_back(world, first.summary.id)
    found = way(world, first.summary.id)
    assert found.hosts == () and found.already == {"w1": back.summary.id}
    with pytest.raises(Refused, match=f"w1 by run {back.summary.id}"):
        roll_back(world, first.summary.id)


@pytest.mark.parametrize("stays", [("perl",), ("openssl", "perl")])
def test_what_stays_is_no_success_and_may_be_taken_back_later(stays: tuple[str, ...]) -> None:
    world = World("w1")
    first = world.run()
    world["w1"].stays = stays
    back = roll_back(world, first.summary.id)
    assert verdicts(back) == {"w1": "degraded"} and "not taken back: " in back.hosts[0].reason
    assert "perl (held on the host)" in back.hosts[0].reason
    world["w1"].stays = ()
    assert verdicts(roll_back(world, first.summary.id)) == {"w1": "succeeded"}
    assert world["w1"].installed == {"openssl": "1", "perl": "1"}


def test_a_host_that_the_run_left_broken_goes_back_all_the_same() -> None:
    """That it is not well is why somebody takes it back; whether it is well afterwards decides."""
    world = World("w1", health={"http": "http://{address}/"})
    world["w1"].wrong = {"health"}
    first = world.run()
    assert verdicts(first) == {"w1": "failed"} and world["w1"].installed["openssl"] == "2"
    world["w1"].wrong = {"health", "baseline"}
    back = roll_back(world, first.summary.id)
    assert verdicts(back) == {"w1": "succeeded"} and world["w1"].installed["openssl"] == "1"
    assert "not well before it went back: http 503" in back.hosts[0].measures["notes"]


def test_some_hosts_now_and_the_others_later() -> None:
    world = World("w1 w2")
    first = world.run()
    assert verdicts(roll_back(world, first.summary.id, "w1")) == {"w1": "succeeded"}
    assert world["w2"].installed["openssl"] == "2"
    assert verdicts(roll_back(world, first.summary.id)) == {"w2": "succeeded"}


def test_a_host_that_the_rollout_put_back_itself_is_not_put_back_again() -> None:
    world = World("w1 w2", waves=[1, 1], on_failure="rollback-host", budget=1)
    world["w2"].wrong = {"health"}
    first = world.run()
    assert verdicts(first) == {"w1": "succeeded", "w2": "rolled-back"}
    assert way(world, first.summary.id).hosts == ("w1",)


def test_a_rollback_can_itself_be_taken_back() -> None:
    world = World("w1")
    first = world.run()
    back = roll_back(world, first.summary.id)
    assert verdicts(roll_back(world, back.summary.id)) == {"w1": "succeeded"}
    assert world["w1"].installed == {"openssl": "2", "perl": "2"}


def test_after_its_time_the_way_back_is_gone_and_says_since_when() -> None:
    world = World("w1", undo_for="7d")
    first = world.run()
    found = way(world, first.summary.id, now=datetime(2026, 2, 1, tzinfo=UTC))
    assert found.hosts == () and "2026-01-08" in found.impossible["w1"]


def test_a_run_in_flight_is_refused() -> None:
    world = World("w1")
    request = world.request()
    world.runs().submit(request)
    with pytest.raises(Refused, match="still in flight"):
        way(world, request.id)


def test_an_unknown_run_a_foreign_host_and_one_that_left_the_inventory() -> None:
    world = World("w1 w2")
    with pytest.raises(UsageError, match="there is no run"):
        way(world, "01NOBODY")
    first = world.run()
    found = way(world, first.summary.id)
    with pytest.raises(UsageError, match="changed none of these hosts"):
        narrowed(found, ["w9"])
    with pytest.raises(UsageError, match=r"no longer in the inventory: w2"):
        rollback_request(world.runs().tools, found, [world.hosts["w1"]], ASKING)


def test_later_runs_on_the_same_hosts_are_found() -> None:
    world = World("w1 w2", waves=["100%"])
    first = world.run()
    world["w2"].offers["openssl"] = "3"
    second = world.run()
    tools = world.runs().tools
    assert later_runs(tools, way(world, first.summary.id)) == {"w2": [second.summary.id]}


def test_the_way_back_from_a_rollback_is_kept_as_long_as_the_plan_says() -> None:
    world = World("w1", undo_for="3d")
    first = world.run()
    back = roll_back(world, first.summary.id)
    (row,) = world.state.undos(run=back.summary.id)
    kept = datetime.fromisoformat(row.keep_until) - datetime.fromisoformat(row.made_at)
    assert kept.days == 3

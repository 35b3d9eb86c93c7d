"""Hosts that contact is lost to: unknown until they answer, then looked at and brought to an end, and told as it was."""

import threading

import pytest
from tests.unit.runner.test_rollout import part, reason
from tests.unit.runner.world import World, steps, verdicts

from mainstay.inventory.errors import Refused
from mainstay.runner.reconciling import reconcile_request
from mainstay.runner.record import HostPart, MaintenanceRecord
from mainstay.runner.request import Asking
from mainstay.runner.runs import record as stored
from mainstay.runner.shell.fake import FakeJob
from mainstay.runner.verdict import Verdict

WEB = {"before": {"command": "drain"}, "after": {"command": "undrain"}, "other_updaters": "fence", "budget": 1}


def notes(record: MaintenanceRecord, host: str) -> str:
    return " | ".join(part(record, host).measures["notes"])


def clean(world: World) -> bool:
    """Nothing of a run is left on any host."""
    return all(not machine.there.lock.run and not machine.fenced for machine in world.machines.values())


def test_a_host_that_comes_back_is_gone_on_with_where_it_was_lost() -> None:
    world = World("w1", **WEB)
    world["w1"].away = 200
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded"} and record.summary.verdict == "succeeded"
    assert record.summary.reason == "", "it was the last wave, and is well now"
    assert steps(record, "w1")[-10:] == [
        "apply.launch", "apply", "reconcile", "apply", "verify", "restart", "reboot.need", "health", "after",
        "release-updaters", "release",
    ][-10:]  # fmt: skip
    assert world["w1"].log.count("apply") == 1 and world["w1"].log.count("drain") == 1
    assert "contact lost for 3 min" in notes(record, "w1") and "had ended by itself" in notes(record, "w1")
    assert clean(world)


def test_what_is_unknown_counts_in_the_budget_until_it_is_reconciled() -> None:
    """w2 is lost for longer than its wave takes: the rollout stops there, and stays stopped."""
    world = World("w1 w2 w3", waves=[1, 1, 1])
    world["w2"].away = 300
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded", "w3": "cancelled"}
    assert record.summary.reason.startswith("stopped in wave 2: 1 failed, 0 tolerated (w2 was unknown then")
    assert "apply" not in world["w3"].log


def test_a_host_that_answers_at_the_gate_counts_by_how_it_is() -> None:
    world = World("w1 w2 w3 w4", waves=[1, 2, 1], parallel=1, budget=1, lost_after="30s")
    world["w2"].away = 34
    world["w3"].takes = 9  # while it works, w2 comes back
    world.while_asleep = lambda: world["w3"].there.time.advance(1)
    record = world.run()
    assert verdicts(record) == dict.fromkeys(["w1", "w2", "w3", "w4"], "succeeded")
    assert record.summary.reason == ""
    assert "reconcile" in steps(record, "w2")
    told = [line for line in world.told if line.startswith(("wave", "w2"))]
    assert told == ["wave 1: w1", "wave 2: w2 w3", "w2 succeeded", "wave 3: w4"]


def test_a_wave_that_was_stopped_within_does_not_go_on_though_its_lost_host_is_well_again() -> None:
    world = World("w1 w2 w3 w4", waves=[1, 2, 1], parallel=1, lost_after="30s")
    world["w2"].away = 34
    request = world.request()
    runs = world.runs()
    runs.submit(request)
    ask = world.state.outcomes

    def outcomes(run: str, *among):  # type: ignore[no-untyped-def]
        found = ask(run, *among)
        if found.get("w2") == "unknown":
            world.pass_time(5)
        return found

    world.state.outcomes = outcomes  # type: ignore[method-assign, assignment]  # time passes between the host's end and the gate
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded", "w3": "cancelled", "w4": "cancelled"}
    assert record.summary.reason == "stopped in wave 2: 1 failed, 0 tolerated"


@pytest.mark.parametrize("on_failure", ["halt", "rollback-host"])
def test_a_power_cut_in_mid_change_is_mended_completed_and_named(on_failure: str) -> None:
    world = World("w1", on_failure=on_failure, **WEB)
    machine = world["w1"]
    machine.away, machine.power_cut, machine.takes = 200, True, 5
    machine.broken = []
    machine.there.launched = _and_breaks(world, machine.there.launched)
    world.while_asleep = lambda: machine.there.time.advance(1)
    record = world.run()
    assert verdicts(record) == {"w1": "degraded"}
    assert "the host rebooted by itself in the middle of the change" in reason(record, "w1")
    assert "dpkg was interrupted (openssl); repaired" in reason(record, "w1")
    assert machine.log.count("apply") == 1, "the first was cut short, the second completed it"
    assert "apply-again" in steps(record, "w1") and machine.installed["openssl"] == "2"
    assert clean(world)


def _and_breaks(world: World, launched):  # type: ignore[no-untyped-def]
    def breaks(job):  # type: ignore[no-untyped-def]
        if not world.back_at:
            world["w1"].broken = ["dpkg was interrupted (openssl); repaired with dpkg --configure -a"]
        launched(job)

    return breaks


def test_a_reboot_between_two_looks_is_named_though_nobody_was_called_lost() -> None:
    world = World("w1")
    machine = world["w1"]
    machine.away, machine.power_cut = 20, True  # the job had ended before
    machine.takes = 0
    record = world.run()
    assert verdicts(record) == {"w1": "degraded"}
    assert "the host rebooted by itself" in reason(record, "w1")


def test_one_that_never_answers_stays_unknown_and_the_record_says_for_how_long_it_was_asked() -> None:
    world = World("w1", reconcile_for="10m", **WEB)
    world["w1"].away = 10_000
    record = world.run()
    assert verdicts(record) == {"w1": "unknown"} and record.summary.verdict == "unknown"
    assert f"mainstay runs reconcile {record.summary.id}" in reason(record, "w1")
    assert "not heard of for 12 min" in reason(record, "w1")
    assert part(record, "w1").measures["drained"] is True
    assert sum(world.slept) < 900, "it is asked for as long as the plan says, and no longer"


def test_a_cancel_ends_the_asking() -> None:
    world = World("w1", reconcile_for="10m")
    world["w1"].away = 10_000
    request = world.request()
    runs = world.runs()
    runs.submit(request)

    def cancelled() -> None:
        if sum(world.slept) > 200:
            world.state.wish(request.id, "cancel", by="anna", reason="enough")

    world.while_asleep = cancelled
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "unknown"} and sum(world.slept) < 300


def test_one_lost_on_its_way_back_is_brought_back_to_the_end() -> None:
    world = World("w1", on_failure="rollback-host", after={"command": "undrain"})
    machine = world["w1"]
    machine.wrong = {"health"}
    launched = machine.there.launched

    def only_back(job):  # type: ignore[no-untyped-def]
        machine.away = 300 if "undo_apply" in job.name else 0
        launched(job)

    machine.there.launched = only_back
    record = world.run()
    assert verdicts(record) == {"w1": "rolled-back"}
    assert machine.installed["openssl"] == "1" and machine.log.count("back") == 1
    assert "in undo.apply" in notes(record, "w1") and clean(world)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_one_lost_in_a_hook(lost: str) -> None:
    """Before the change nothing is changed any more; after it the host is put back into service when it answers."""
    world = World("w1", **WEB)
    machine = world["w1"]
    hook = {"before": "drain", "after": "undrain"}[lost]
    original = world.upkeep.hook

    def vanishes(work, wanted):  # type: ignore[no-untyped-def]
        if wanted.command == (hook,) and machine.name not in world.back_at:
            world.leave(machine, 300)
        return original(work, wanted)

    world.upkeep.hook = vanishes  # type: ignore[method-assign]  # a fault where none is foreseen
    record = world.run()
    assert verdicts(record) == {"w1": "failed" if lost == "before" else "succeeded"}
    assert machine.log.count("undrain") == 1 and clean(world)
    assert machine.log.count("apply") == (0 if lost == "before" else 1)


def test_a_fault_of_ours_in_reconciling_one_host_does_not_leave_the_others_unasked() -> None:
    world = World("w1 w2 w3", waves=[1, "100%"], parallel=1, budget=2)
    world["w2"].away, world["w3"].away = 200, 900
    note = world.state.note_outcome

    def noted(run: str, host: str, verdict: Verdict) -> None:
        if (host, verdict) == ("w2", Verdict.SUCCEEDED):
            raise ZeroDivisionError("a fault of ours, at the very end of a host")
        note(run, host, verdict)

    world.state.note_outcome = noted  # type: ignore[method-assign]  # a fault where none is foreseen
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "unknown", "w3": "succeeded"}
    assert "internal error" in record.summary.reason
    assert world["w2"].log.count("apply") == 1 and world.state.slots() == {}


def test_an_internal_fault_leaves_neither_lock_nor_fence_where_the_host_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("w1", **WEB)
    original, faults = world.upkeep.until_well, [ZeroDivisionError("ours")]

    def broken(*args):  # type: ignore[no-untyped-def]
        if faults:
            raise faults.pop()
        return original(*args)

    world.upkeep.until_well = broken  # type: ignore[method-assign]  # a fault where none is foreseen
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded"}
    assert "internal error in health: ZeroDivisionError" in notes(record, "w1") and clean(world)


@pytest.mark.parametrize(("takes", "verdict"), [(60, "succeeded"), (400, "degraded")])
def test_a_host_that_takes_too_long_after_a_cancel_is_brought_to_its_end_and_named(takes: int, verdict: str) -> None:
    world = World("w1", overrun="5m")
    request = world.request()

    def slow() -> None:
        world.state.wish(request.id, "cancel", by="anna", reason="enough")
        world.pass_time(takes)

    world["w1"].meanwhile = slow
    runs = world.runs()
    runs.submit(request)
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": verdict}
    assert ("after the run was stopped, 5 min are allowed" in reason(record, "w1")) is (verdict == "degraded")


def test_the_overrun_counts_from_the_failure_that_used_up_the_budget() -> None:
    world = World("w1 w2", waves=[2], parallel=2, overrun="5m")
    world["w1"].wrong = {"verify"}
    both, failed, write = threading.Event(), threading.Event(), world.state.write_part

    def written(run: str, part: HostPart) -> None:
        write(run, part)
        failed.set()

    def slow() -> None:
        both.set()
        assert failed.wait(60)
        world.pass_time(400)

    world.state.write_part = written  # type: ignore[method-assign]  # to see when it happens
    world["w1"].meanwhile = lambda: both.wait(60)
    world["w2"].meanwhile = slow
    request = world.request()
    runs = world.runs(threads=True)
    runs.submit(request)
    record = runs.execute(request.id)
    runs.engine.close()
    assert verdicts(record) == {"w1": "failed", "w2": "degraded"}, reason(record, "w2")


def asking() -> Asking:
    return Asking(requested_by="anna", asked_at="2026-01-02T00:00:00.000Z", site_name="acme", reason="it is back")


def left_unknown(world: World) -> str:
    """A run that ended with w1 unknown, which is there again since. Returns its id."""
    world["w1"].away = 100_000
    ended = world.run()
    assert verdicts(ended)["w1"] == "unknown"
    world.pass_time(100_000)
    return ended.summary.id


def reconciled(world: World, run: str) -> MaintenanceRecord:
    runs = world.runs()
    request = reconcile_request(runs.tools, run, tuple(world.hosts.values()), asking())
    runs.submit(request)
    return runs.execute(request.id)


def test_a_later_run_reconciles_what_one_has_left_unknown() -> None:
    world = World("w1 w2", waves=[1, 1], **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    record = reconciled(world, run)
    assert verdicts(record) == {"w1": "succeeded"} and record.summary.verdict == "succeeded"
    assert record.summary.kind == "reconcile" and record.summary.links.reconciles == run
    assert steps(record, "w1") == [
        "reconcile", "apply", "verify", "restart", "reboot.need", "health", "after", "release-updaters", "release",
    ]  # fmt: skip
    assert part(record, "w1").before["packages"] == {"openssl": "1", "perl": "1"}
    assert part(record, "w1").after["packages"] == {"openssl": "2", "perl": "2"}
    assert world["w1"].log.count("apply") == 1 and clean(world)
    newest = world.state.last_part("w1")
    assert newest is not None and newest[1].verdict == "succeeded"
    with pytest.raises(Refused, match="nothing to reconcile"):
        reconciled(world, run)


def test_what_is_still_unknown_after_that_can_be_reconciled_again() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    world.leave(world["w1"], 50_000)
    second = reconciled(world, run)
    assert verdicts(second) == {"w1": "unknown"}
    world.pass_time(50_000)
    third = reconciled(world, second.summary.id)
    assert verdicts(third) == {"w1": "succeeded"} and world["w1"].log.count("apply") == 1


def test_what_was_reconciled_by_way_of_another_run_is_not_gone_over_again() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    world.leave(world["w1"], 50_000)
    between = reconciled(world, run)
    world.pass_time(50_000)
    assert verdicts(reconciled(world, between.summary.id)) == {"w1": "succeeded"}
    with pytest.raises(Refused, match="nothing to reconcile"):
        reconciled(world, run)


def test_one_that_refuses_to_be_looked_at_can_be_gone_on_with_later() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    lock = world["w1"].there.lock
    ours, lock.state = lock.state, "of somebody else"
    between = reconciled(world, run)
    assert verdicts(between) == {"w1": "unknown"}
    lock.state = ours
    assert verdicts(reconciled(world, between.summary.id)) == {"w1": "succeeded"}
    assert world["w1"].log.count("undrain") == 1 and clean(world)


def test_one_that_was_reconciled_while_this_was_waiting_is_left_alone() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    runs = world.runs()
    waiting = reconcile_request(runs.tools, run, tuple(world.hosts.values()), asking())
    runs.submit(waiting)
    reconciled(world, run)
    world["w1"].offers["openssl"] = "3"
    assert verdicts(world.run()) == {"w1": "succeeded"}
    late = runs.execute(waiting.id)
    assert verdicts(late) == {"w1": "refused"} and reason(late, "w1") == "it was reconciled meanwhile"
    assert world["w1"].installed["openssl"] == "3" and "back" not in world["w1"].log


def test_a_change_that_proves_wrong_when_it_is_reconciled_is_taken_back_and_not_tried_again() -> None:
    world = World("w1", on_failure="rollback-host", **{**WEB, "reconcile_for": "1m"})
    world["w1"].wrong = {"health"}
    run = left_unknown(world)
    assert verdicts(reconciled(world, run)) == {"w1": "rolled-back"}
    assert world["w1"].installed["openssl"] == "1"
    (undo,) = [row for row in world.state.undos(run=run) if row.undone_by]
    assert undo.undone_by == run
    again = world.run()
    assert verdicts(again) == {"w1": "refused"} and "rolled back with this" in reason(again, "w1")


def test_the_next_run_does_not_build_upon_what_nobody_has_looked_at() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    world["w1"].offers["perl"] = "3"
    refused = world.run()
    assert verdicts(refused) == {"w1": "refused"}
    assert f"mainstay runs reconcile {run}" in reason(refused, "w1")
    reconciled(world, run)
    assert verdicts(world.run()) == {"w1": "succeeded"} and world["w1"].installed["perl"] == "3"


def test_a_host_of_which_nothing_is_known_any_more_is_looked_at_and_given_back() -> None:
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    lost = part(record_of(world, run), "w1").measures["lost"]
    del world.artifacts.content["json", lost]
    record = reconciled(world, run)
    assert verdicts(record) == {"w1": "degraded"} and "not known any more" in reason(record, "w1")
    assert not world["w1"].there.lock.run


@pytest.mark.parametrize("step", ["apply", "undo_apply", "undo_apply-again"])
@pytest.mark.parametrize("ends", [False, True])
def test_none_of_its_jobs_is_passed_over_where_nothing_else_is_known(step: str, ends: bool) -> None:
    """One that is at work leaves the host unknown; what one that was cut short has left is mended."""
    world = World("w1", **{**WEB, "reconcile_for": "1m"})
    run = left_unknown(world)
    del world.artifacts.content["json", part(record_of(world, run), "w1").measures["lost"]]
    there = world["w1"].there
    there.jobs[f"{run}-w1-{step}"] = FakeJob(seconds=100_000, started=there.time.now)
    if ends:
        there.reboot()
        world["w1"].broken = ["dpkg was interrupted; repaired"]
    record = reconciled(world, run)
    assert verdicts(record) == {"w1": "degraded" if ends else "unknown"}
    assert ("dpkg was interrupted" if ends else "still at work") in reason(record, "w1")


def record_of(world: World, run: str) -> MaintenanceRecord:
    return stored(world.runs().tools, run)

"""A rollout under a gate that closes: the site's own gate over the world's clock, from the opening to the record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from tests.unit.runner.test_rollout import part, reason
from tests.unit.runner.timely import HOUR, Timely, hooked, waits_for
from tests.unit.runner.world import steps, verdicts
from tests.unit.schedules.gates import NIGHT, utc

from mainstay.inventory.errors import UsageError
from mainstay.runner import asking
from mainstay.runner.engine.memory import Crash
from mainstay.runner.phases import prepare
from mainstay.runner.plan import Check, Hook
from mainstay.runner.ports import Permission
from mainstay.runner.steps import rfc3339
from mainstay.schedules.approvals import Standing
from mainstay.schedules.timing import Occurrence
from mainstay.schedules.turns import first_in_line
from mainstay.schedules.windows import Window


@pytest.fixture(autouse=True, scope="module")
def impatient() -> Iterator[None]:
    """Nobody looks every two seconds at what comes in a day."""
    with patch.object(asking, "LATE", 30.0), patch.object(prepare, "LATE", 30.0):
        yield


def test_a_run_that_waits_for_its_window_starts_when_it_opens() -> None:
    world = Timely("w1 w2", "11 00:50", NIGHT)
    request = world.asked(queued=True)
    seen: set[str] = set()
    world.each_nap.append(lambda: seen.add(waits_for(world, request.id)))
    record = world.go(request)
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}
    assert utc("11 01:00") <= world.began["w1"] < utc("11 01:01")
    (told,) = seen - {""}
    assert told.startswith("waiting until 2026-12-11T01:00:00.000Z: window night opens Fri 2026-12-11 02:00 CET")
    assert waits_for(world, request.id) == ""


def test_who_waits_does_not_sleep_past_the_opening() -> None:
    short = Window.model_validate({**NIGHT.model_dump(), "duration": 600.0, "cutoff": 595.0})
    world = Timely("w1", "10 23:00", short)
    with patch.object(asking, "LATE", 300.0):
        world.go(world.asked(queued=True))
    assert utc("11 01:00") <= world.began["w1"] < utc("11 01:00") + timedelta(seconds=5)


def test_a_run_that_is_cancelled_while_it_waits_ends_as_cancelled_at_once() -> None:
    world = Timely("w1 w2", "10 20:00", NIGHT)
    request = world.asked(queued=True)
    world.each_nap.append(lambda: world.state.wish(request.id, "cancel", by="anna", reason="wrong plan"))
    record = world.go(request)
    assert record.summary.verdict == "cancelled" and record.summary.reason == "cancelled by anna: wrong plan"
    assert verdicts(record) == {"w1": "cancelled", "w2": "cancelled"}
    assert world["w1"].there.contacts == 0 and world.clock.now() < utc("10 20:01")


def test_a_run_that_is_paused_while_it_waits_does_not_start_when_its_window_opens() -> None:
    world = Timely("w1", "11 00:59", NIGHT)
    request = world.asked(queued=True)

    def nap() -> None:
        wish = world.state.standing(request.id)
        assert wish is not None
        if world.clock.now() < utc("11 01:00") and not wish.wish:
            world.state.wish(request.id, "pause", by="anna", reason="")
        if world.clock.now() > utc("11 01:30") and wish.wish:
            assert waits_for(world, request.id) == "paused by anna"
            world.state.wish(request.id, "", by="anna", reason="")

    world.each_nap.append(nap)
    assert verdicts(world.go(request)) == {"w1": "succeeded"}
    assert world.began["w1"] > utc("11 01:30")


def test_a_wait_goes_on_in_the_process_that_takes_the_run_up() -> None:
    world = Timely("w1", "11 00:50", NIGHT)
    request = world.asked(queued=True)
    dying = world.runs(crash=(1, "before"))
    dying.submit(request)
    with pytest.raises(Crash):
        dying.execute(request.id)
    assert world.clock.now() >= utc("11 01:00"), "it died when the answer was there, before it was kept"
    next_one = world.runs()
    next_one.resume()
    assert verdicts(next_one.execute(request.id)) == {"w1": "succeeded"}


def test_an_occurrence_that_was_missed_is_sealed_as_that_and_nothing_is_asked() -> None:
    world = Timely("w1 w2", "11 12:00", NIGHT)
    at, end, cutoff = (rfc3339(utc(text)) for text in ("11 01:00", "11 04:00", "11 03:00"))
    names = {"schedule": "patch-web/night", "window": "night", "zone": "Europe/Berlin", "missed": "it was down"}
    record = world.go(world.asked(occurrence=Occurrence(at=at, ends_at=end, cutoff_at=cutoff, **names)))
    assert (record.summary.verdict, record.summary.reason) == ("missed", "it was down")
    assert verdicts(record) == {"w1": "missed", "w2": "missed"} and world["w1"].there.contacts == 0


def test_an_approval_that_does_not_come_refuses_the_run_at_the_cutoff() -> None:
    world = Timely("w1", "11 01:00", NIGHT, approval="required")
    world.around.approval = Standing("waiting", 0, 1, "2026-12-11T03:00:00.000Z", "nobody has approved it")

    def nap() -> None:
        if world.clock.now() >= utc("11 03:00"):
            world.around.approval = Standing("refused", reason="not approved")

    world.each_nap.append(nap)
    record = world.go(world.asked())
    assert record.summary.verdict == "refused" and world["w1"].there.contacts == 0


def test_what_a_window_has_no_time_for_is_carried_over_and_comes_first_the_next_night() -> None:
    world = Timely("w1 w2 w3 w4 w5", "11 01:00", NIGHT, waves=[1, 1, "100%"], parallel=1)
    for name in ("w1", "w2", "w3", "w4", "w5"):
        world.spends(name, HOUR)
    first = world.go(world.asked())
    done = {"w1": "succeeded", "w2": "succeeded"}
    assert verdicts(first) == {**done, "w3": "refused", "w4": "refused", "w5": "refused"}
    assert first.summary.verdict == "degraded" and "past the cutoff of night" in first.summary.reason
    assert reason(first, "w5") == "past the cutoff of night, Fri 2026-12-11 04:00 CET; carried over"
    assert first_in_line(world.around.store, "patch-web") == ("w3", "w4", "w5")
    assert world["w3"].log == []

    world.clock.advance((utc("12 02:30") - world.clock.now()).total_seconds())
    for name in ("w1", "w2"):
        world[name].offers["perl"] = "3"
    second = world.go(world.asked(first=first_in_line(world.around.store, "patch-web")))
    assert second.summary.id != first.summary.id
    assert verdicts(second)["w3"] == "succeeded" and world.told[-20:].count("wave 1: w3") == 1
    assert {one for one, verdict in verdicts(second).items() if verdict == "refused"} == {"w1", "w2", "w4", "w5"}
    assert first_in_line(world.around.store, "patch-web") == ("w4", "w5", "w1", "w2"), "who had its turn is settled"


def test_a_host_that_can_not_be_held_by_what_is_left_is_not_touched() -> None:
    world = Timely("w1 w2", "11 01:00", NIGHT, waves=[1, 1], parallel=1)
    for name in ("w1", "w2"):
        world.spends(name, 2 * HOUR - 60)
    assert verdicts(world.go(world.asked()))["w1"] == "succeeded"
    world.clock.advance((utc("12 01:00") - world.clock.now()).total_seconds())
    for name in ("w1", "w2"):
        world[name].offers["openssl"] = "3"
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "succeeded", "w2": "refused"}
    assert reason(record, "w2").startswith("no time left in night: needs about 1 h 59 min, 1 h ")
    assert steps(record, "w2") == ["admit"], "nothing was sent to it"


def test_a_host_whose_change_the_gate_refuses_in_the_midst_goes_back_into_service() -> None:
    world = Timely("w1 w2", "11 02:59", NIGHT, parallel=1)
    hooked(world)
    whole = world.upkeep.hook

    def slow(work: Any, hook: Hook) -> Any:
        world.clock.advance(120)
        return whole(work, hook)

    world.upkeep.hook = slow  # type: ignore[method-assign]  # draining takes its time
    record = world.go(world.asked())
    assert verdicts(record)["w1"] == "refused"
    assert reason(record, "w1").startswith("put back into service unchanged: past the cutoff of night")
    assert world["w1"].log == ["stage keep", "drain", "health", "undrain"]
    assert world["w1"].installed["openssl"] == "1" and not world["w1"].there.lock.run
    assert part(record, "w1").measures.get("drained") is None


def test_a_host_that_is_not_well_then_has_failed_and_stays_out() -> None:
    world = Timely("w1", "11 02:59", NIGHT)
    hooked(world)
    whole = world.upkeep.hook
    world["w1"].wrong = {"undrain"}

    def slow(work: Any, hook: Hook) -> Any:
        world.clock.advance(120)
        return whole(work, hook)

    world.upkeep.hook = slow  # type: ignore[method-assign]  # draining takes its time
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "failed"} and part(record, "w1").measures["drained"] is True


def test_a_change_is_not_begun_when_what_comes_before_it_has_used_up_the_window() -> None:
    world = Timely("w1", "11 02:59", NIGHT)
    whole = world.upkeep.well
    world.plan = world.plan.model_copy(update={"health": (Check(service="nginx"),)})

    def slow(work: Any, checks: Any) -> Any:
        world.clock.advance(120)
        return whole(work, checks)

    world.upkeep.well = slow  # type: ignore[method-assign]  # a baseline that takes its time
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "refused"} and "apply" not in world["w1"].log
    assert not world["w1"].there.lock.run


@pytest.mark.parametrize(("over", "reboots"), [(29, True), (31, False)])
def test_past_the_overrun_a_host_in_hand_is_not_rebooted_and_is_degraded(over: int, reboots: bool) -> None:
    world = Timely("w1", "11 02:59", NIGHT)
    world["w1"].reboot = True
    world["w1"].meanwhile = lambda: world.clock.advance(61 * 60 + over * 60)
    record = world.go(world.asked())
    assert ("reboot" in world["w1"].log) == reboots
    assert verdicts(record) == {"w1": "succeeded" if reboots else "degraded"}
    if not reboots:
        assert "no restart: night ended 31 min" in reason(record, "w1") and "no reboot: night" in reason(record, "w1")
        assert "after the window's end, 30 min are allowed (overrun)" in reason(record, "w1")
        assert part(record, "w1").measures["reboot_pending"] == ["libc6"]


def test_services_left_alone_past_the_overrun_are_named_also_where_contact_is_lost_after_that() -> None:
    world = Timely("w1", "11 02:59", NIGHT)
    machine, whole = world["w1"], world.upkeep.reboot_need
    machine.wrong = {"stale"}
    machine.meanwhile = lambda: world.clock.advance(92 * 60)

    def away(work: Any) -> Any:
        if not world.back_at:
            world.leave(machine, 300)
        return whole(work)

    world.upkeep.reboot_need = away  # type: ignore[method-assign]  # the line breaks there
    record = world.go(world.asked())
    assert "reconcile" in steps(record, "w1") and "no restart: night ended" in reason(record, "w1")
    assert part(record, "w1").after["stale"] == ["cron.service"]


def test_a_soak_spans_openings_and_the_next_wave_waits_for_the_next_one() -> None:
    world = Timely("w1 w2", "11 02:50", NIGHT, waves=[1, 1], soak="15m")
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}
    assert world.began["w1"] < utc("11 02:51") and utc("12 01:00") <= world.began["w2"] < utc("12 01:01")


def test_of_two_runs_that_want_a_host_the_second_waits_for_it_within_its_window() -> None:
    world = Timely("w1 w2", "11 01:00", NIGHT, waves=["100%"], parallel=2)
    world.state.add_run(_row(world, "01OTHER"))
    assert world.state.take_slots("01OTHER", "w1", {"host:w1": 1})
    request = world.asked()
    seen: set[str] = set()

    def nap() -> None:
        seen.add(str(world.state.notes(request.id).get("w1", {}).get("detail")))
        assert all(holder[0] == "01OTHER" for holder in world.state.slots().get("host:w1", [])), "it holds nothing"
        if world.clock.now() > utc("11 01:10"):
            world.state.free_slots("01OTHER", "w1")
            world.each_nap.clear()

    world.each_nap.append(nap)
    assert verdicts(world.go(request)) == {"w1": "succeeded", "w2": "succeeded"}
    assert "waiting for run 01OTHER, which works on it" in seen and world.began["w1"] > utc("11 01:10")


def test_one_that_waits_for_a_host_past_its_cutoff_is_carried_over() -> None:
    world = Timely("w1", "11 02:30", NIGHT)
    world.state.add_run(_row(world, "01OTHER"))
    assert world.state.take_slots("01OTHER", "w1", {"host:w1": 1})
    record = world.go(world.asked())
    assert verdicts(record) == {"w1": "refused"} and "carried over" in reason(record, "w1")


def _row(world: Timely, id: str) -> Any:
    from mainstay.runner.state.contract import RunRow

    request = world.asked(id=id)
    return RunRow(
        id=id, kind="patch", plan="p", state="running", request=request.to_json(), started_at=request.asked_at
    )


def test_a_run_that_only_waits_is_not_handed_to_the_engine_before_its_time() -> None:
    world = Timely("w1", "11 00:00", NIGHT)
    request = world.asked(queued=True)
    runs = world.runs()
    runs.submit(request)
    assert not runs.offer(request.id) and runs.engine.unfinished() == {}
    assert waits_for(world, request.id).startswith("waiting until 2026-12-11T01:00")
    world.clock.advance(HOUR / 2)
    later = rfc3339(world.clock.now())
    assert runs.tend(later) == [] and runs.engine.unfinished() == {} and runs.resume() == []
    world.clock.advance(HOUR / 2)
    assert runs.tend(rfc3339(world.clock.now())) == [request.id]
    assert list(runs.engine.unfinished()) == [request.id]


def test_one_that_is_cancelled_before_its_time_is_handed_over_to_be_sealed() -> None:
    world = Timely("w1", "11 00:00", NIGHT)
    request = world.asked(queued=True)
    runs = world.runs()
    runs.submit(request)
    world.state.wish(request.id, "cancel", by="anna", reason="")
    world.clock.advance(120)
    assert runs.tend(rfc3339(world.clock.now())) == [request.id]


@pytest.mark.parametrize("fault", [UsageError("its calendar is away"), ValueError("nobody thought of this")])
def test_a_gate_that_can_not_be_asked_keeps_no_other_run_from_its_turn(fault: Exception) -> None:
    world = Timely("w1", "11 01:00", NIGHT)
    runs, (broken, well) = world.runs(), (world.asked(id=f"01R{n}") for n in "12")
    for request in (broken, well):
        runs.submit(request)
    whole = world.permit

    def permit(run: str, *more: Any) -> Permission:
        if run == broken.id:
            raise fault
        return whole(run, *more)

    world.permit = permit  # type: ignore[method-assign,assignment]  # of one run alone
    world.clock.advance(120)
    passes = isinstance(fault, UsageError)
    later = rfc3339(world.clock.now())
    assert runs.tend(later) == ([well.id] if passes else [broken.id, well.id])
    runs.engine.recover()
    runs.tend(later)
    sealed = {entry.id: entry.body["reason"] for entry in world.ledger.entries()}
    assert sealed.keys() == ({well.id} if passes else {broken.id, well.id})
    assert passes or "nobody thought of this" in sealed[broken.id]


def test_a_run_that_can_not_be_sealed_keeps_no_other_from_its_turn() -> None:
    world = Timely("w1", "11 01:00", NIGHT)
    runs, (broken, well) = world.runs(), (world.asked(id=f"01R{n}") for n in "12")
    for request in (broken, well):
        runs.submit(request)
    whole = runs.hand_over

    def hand_over(run: str) -> Any:
        if run == broken.id:
            raise KeyError("of a newer version")
        return whole(run)

    runs.hand_over = hand_over  # type: ignore[method-assign]  # of one run alone
    world.clock.advance(120)
    assert runs.tend(rfc3339(world.clock.now())) == [well.id]


def test_a_run_that_a_clock_in_the_future_wrote_down_is_not_left_alone_until_then() -> None:
    world = Timely("w1", "11 01:30", NIGHT)
    runs, now = world.runs(), world.clock.now()
    for id, at in {"01AHEAD": now + timedelta(hours=2), "01NOW": now}.items():
        runs.submit(world.asked(id=id).model_copy(update={"asked_at": rfc3339(at)}))
    assert runs.tend(rfc3339(now - timedelta(minutes=1))) == ["01AHEAD"]

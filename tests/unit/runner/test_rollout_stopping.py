"""What stops a rollout or keeps it from a host: cancel, pause, soak, a closed gate, another run's lock, a full disk."""

import pytest
from tests.unit.runner.test_rollout import part, reason
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.host import Ssh
from mainstay.runner.engine.memory import Crash
from mainstay.runner.ledger.contract import Entry
from mainstay.runner.ports import Permission


def test_cancel_finishes_the_host_in_hand_and_starts_no_other() -> None:
    world = World("w1 w2 w3", waves=["100%"], parallel=1)
    request = world.request()
    world["w1"].takes = 3

    def nap() -> None:
        world.state.wish(request.id, "cancel", by="anna", reason="wrong plan")
        world["w1"].there.time.advance(1)

    world.while_asleep = nap
    runs = world.runs()
    runs.submit(request)
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded", "w2": "cancelled", "w3": "cancelled"}
    assert record.summary.verdict == "cancelled" and "cancelled by anna: wrong plan" in record.summary.reason
    said = {(one.wish, one.by, one.reason) for one in record.summary.interventions}
    assert said == {("cancel", "anna", "wrong plan")}


def test_a_cancel_that_comes_when_all_is_done_changes_nothing() -> None:
    world = World("w1")
    request = world.request()
    world["w1"].meanwhile = lambda: world.state.wish(request.id, "cancel", by="anna", reason="too late")
    runs = world.runs()
    runs.submit(request)
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded"} and record.summary.verdict == "succeeded"


def test_a_paused_run_starts_no_host_until_it_goes_on() -> None:
    world = World("w1 w2", waves=[1, 1])
    request = world.request()
    naps = 0

    def nap() -> None:
        nonlocal naps
        naps += 1
        assert world["w1"].log == []
        if naps == 3:
            world.state.wish(request.id, "", by="anna", reason="")

    world.while_asleep = nap
    runs = world.runs()
    runs.submit(request)
    world.state.wish(request.id, "pause", by="anna", reason="lunch")
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}
    assert naps == 3
    assert [(one.wish, one.reason) for one in record.summary.interventions] == [("pause", "lunch"), ("", "")]


def test_soak_waits_between_waves() -> None:
    world = World("w1 w2", waves=[1, 1], soak="24h")
    before = world.clock.now()
    world.run()
    assert (world.clock.now() - before).total_seconds() >= 24 * 3600


def test_a_soaking_run_that_is_cancelled_ends_at_once() -> None:
    world = World("w1 w2", waves=[1, 1], soak="24h")
    request = world.request()
    world.while_asleep = lambda: world.state.wish(request.id, "cancel", by="anna", reason="found a bug")
    runs = world.runs()
    runs.submit(request)
    before = world.clock.now()
    assert verdicts(runs.execute(request.id)) == {"w1": "succeeded", "w2": "cancelled"}
    assert (world.clock.now() - before).total_seconds() < 60


def test_a_run_whose_sealing_failed_is_sealed_by_whoever_comes_next() -> None:
    """The disk is full at the very end: the engine has a failed workflow, and the ledger has nothing."""
    world = World("w1")
    request = world.request()
    runs = world.runs()
    runs.submit(request)
    whole, world.ledger.seal = world.ledger.seal, _full  # type: ignore[method-assign]  # until there is room again
    with pytest.raises(OSError, match="no space"):
        runs.execute(request.id)
    world.ledger.seal = whole  # type: ignore[method-assign]  # there is room
    assert [row.id for row in world.state.runs(in_flight=True)] == [request.id]
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded"} and "no space" in record.summary.reason
    assert world.state.runs(in_flight=True) == []


def _full(id: str, body: object) -> Entry:
    raise OSError("no space left on device")


def test_a_closed_gate_refuses_the_run_and_nothing_is_asked() -> None:
    world = World("w1 w2")

    class Closed:
        def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
            return Permission(answer="refuse", reason="frozen: year-end close")

    world.gate = Closed()
    record = world.run()
    assert record.summary.verdict == "refused" and record.summary.reason == "frozen: year-end close"
    assert world["w1"].there.contacts == 0


def test_a_host_held_by_another_live_run_is_refused_and_named() -> None:
    world = World("w1 w2")
    lock = world["w2"].there.lock
    lock.state, lock.run, lock.since = world.state.id, "01OTHER", "2026-01-01T00:00:00Z"
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "refused"} and "01OTHER" in reason(record, "w2")


def test_a_host_of_another_state_is_refused() -> None:
    world = World("w1")
    world["w1"].there.lock.state, world["w1"].there.lock.site = "another", "acme2"
    record = world.run()
    assert verdicts(record) == {"w1": "refused"} and record.summary.verdict == "refused"


def test_a_lock_left_by_a_run_that_has_ended_is_taken_over() -> None:
    world = World("w1")
    first = world.run()
    lock = world["w1"].there.lock
    lock.run = first.summary.id
    world["w1"].offers["openssl"] = "3"
    assert verdicts(world.run()) == {"w1": "succeeded"}


def test_hosts_behind_a_jump_host_that_failed_are_refused_not_unknown() -> None:
    world = World("bastion db1 web1", waves=[{"select": "name=web1"}, {"select": "name=bastion"}, "100%"], budget=5)
    world.hosts["db1"] = world.hosts["db1"].model_copy(update={"ssh": Ssh(jump="bastion")})
    world["bastion"].wrong = {"verify"}
    record = world.run()
    assert verdicts(record) == {"bastion": "failed", "db1": "refused", "web1": "succeeded"}
    assert reason(record, "db1") == "its jump host bastion is failed"


def test_a_fault_of_ours_ends_the_run_with_a_record_all_the_same() -> None:
    world = World("w1 w2", waves=[1, 1])

    def bug() -> None:
        raise ZeroDivisionError("a fault of ours")

    world["w1"].meanwhile = bug
    record = world.run()
    assert verdicts(record) == {"w1": "failed", "w2": "cancelled"}, "the host was asked what has become of it"
    assert "ZeroDivisionError: a fault of ours" in part(record, "w1").measures["notes"][0]


def test_who_was_frozen_before_it_drew_its_number_takes_no_host_away_from_its_successor() -> None:
    """Its number would be the higher one, and the host would refuse the rightful owner."""
    world = World("w1")
    request = world.request()
    runs = world.runs()
    runs.submit(request)
    draw = world.state.next_fence

    def frozen_meanwhile() -> int:
        successor = draw()
        runs.engine.lose()  # type: ignore[attr-defined]  # the one in memory: as who wakes past its lease
        assert successor < draw()
        return successor + 1

    world.state.next_fence = frozen_meanwhile  # type: ignore[method-assign]  # for this process
    with pytest.raises(Crash):
        runs.start(request.id)
    assert world["w1"].there.lock.run == ""

"""How a host's work and a run end when something goes wrong on the way: nothing left behind without a word."""

import threading

import pytest
from tests.unit.runner.test_rollout import part, reason
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.value import Json
from mainstay.runner.ledger.contract import Entry
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import JobState, SudoRefused
from mainstay.runner.shell.fake import FakeHost
from mainstay.runner.verdict import Verdict


def test_a_cancel_is_no_failure_and_takes_nothing_back() -> None:
    world = World("w1 w2", waves=[1, 1], on_failure="rollback-all")
    request = world.request()
    world["w1"].meanwhile = lambda: world.state.wish(request.id, "cancel", by="anna", reason="enough for today")
    runs = world.runs()
    runs.submit(request)
    record = runs.execute(request.id)
    assert verdicts(record) == {"w1": "succeeded", "w2": "cancelled"}
    assert world["w1"].installed["openssl"] == "2"


def test_what_was_not_given_back_is_named_whatever_the_verdict() -> None:
    world = World("w1", on_failure="rollback-host", after={"command": "undrain"})
    world["w1"].wrong = {"health", "undrain"}
    record = world.run()
    assert verdicts(record) == {"w1": "rolled-back"}
    assert "not put back into service: undrain exited 1" in reason(record, "w1")


def test_a_host_that_goes_away_once_it_is_locked_is_unknown() -> None:
    world = World("w1 w2", waves=[1, 1], unreachable="100%")
    world["w1"].wrong = {"prepare-lost"}
    record = world.run()
    assert verdicts(record) == {"w1": "unknown", "w2": "cancelled"}
    assert "the host's lock was not given back" in reason(record, "w1")


def test_a_fence_that_may_be_there_is_taken_away() -> None:
    world = World("w1", other_updaters="fence")
    world["w1"].wrong = {"fence-lost"}
    record = world.run()
    assert verdicts(record) == {"w1": "refused"}
    assert "contact was lost in fence-updaters; nothing had been changed" in reason(record, "w1")
    assert not world["w1"].fenced and world["w1"].there.lock.run == ""


def test_a_host_that_is_lost_out_of_service_is_named_so() -> None:
    world = World("w1", before={"command": "drain"}, reboot="always")
    world["w1"].wrong = {"reboot"}
    record = world.run()
    assert verdicts(record) == {"w1": "unknown"} and part(record, "w1").measures["drained"] is True


def test_one_whose_drain_fails_as_it_is_to_be_taken_back_is_put_back_into_service() -> None:
    """A first hook may have taken it out of service when the next one fails."""
    hooks = {"before": [{"command": "drain"}, {"command": "unplug"}], "after": {"command": "undrain"}}
    world = World("w1 w2", waves=[1, 1], on_failure="rollback-all", **hooks)
    world["w2"].wrong = {"health"}
    world["w2"].meanwhile = lambda: world["w1"].wrong.add("unplug")
    record = world.run()
    assert verdicts(record) == {"w1": "failed", "w2": "rolled-back"}
    assert "could not be put back: before: unplug exited 1" in reason(record, "w1")
    assert world["w1"].log[-4:] == ["drain", "unplug", "health", "undrain"]
    assert world["w1"].there.lock.run == ""


def test_one_that_is_taken_back_with_its_run_is_put_back_into_service_once_more() -> None:
    """A hook is found again on its host by its job's name, and not run a second time: this is another one."""
    world = World(
        "w1 w2", waves=[1, 1], on_failure="rollback-all", before={"command": "drain"}, after={"command": "undrain"}
    )
    world["w2"].wrong = {"health"}
    original, jobs = world.upkeep.hook, set[str]()

    def once(work: HostWork, hook: Hook) -> Outcome:
        if work.job in jobs:
            return Outcome(ok=True)
        jobs.add(work.job)
        return original(work, hook)

    world.upkeep.hook = once  # type: ignore[method-assign]  # as a real host does it
    assert verdicts(world.run()) == {"w1": "rolled-back", "w2": "rolled-back"}
    assert [word for word in world["w1"].log if word.endswith("drain")] == ["drain", "undrain"] * 2


def test_what_was_taken_back_as_a_whole_says_why_though_a_lost_host_came_back() -> None:
    world = World("w1 w2 w3", waves=[1, 2], on_failure="rollback-all", parallel=1, budget=1)
    world["w2"].wrong = {"apply"}
    world["w3"].away = 300
    record = world.run()
    assert verdicts(record) == {"w1": "rolled-back", "w2": "rolled-back", "w3": "rolled-back"}
    assert record.summary.reason.startswith("stopped in wave 2: 2 failed, 1 tolerated (w3 was unknown then")


def test_the_record_is_not_sealed_while_a_host_is_still_at_work() -> None:
    world = World("w1 w2", waves=["100%"], parallel=2)
    request, sealed, note = world.request(), threading.Event(), world.state.note_outcome
    seal = world.ledger.seal

    def noted(run: str, host: str, verdict: Verdict) -> None:
        if host == "w1":
            raise ZeroDivisionError("a fault of ours, at the very end of a host")
        note(run, host, verdict)

    def told(id: str, body: Json) -> Entry:
        sealed.set()
        return seal(id, body)

    world.state.note_outcome = noted  # type: ignore[method-assign]  # a fault where none is foreseen
    world.ledger.seal = told  # type: ignore[method-assign]  # to see when it happens
    # Either the record is sealed before this host has ended, or it waits for it.
    world["w2"].meanwhile = lambda: sealed.wait(0.5)
    runs = world.runs(threads=True)
    runs.submit(request)
    assert verdicts(runs.execute(request.id)) == {"w1": "unknown", "w2": "succeeded"}
    runs.engine.close()


@pytest.mark.parametrize(("other", "proved"), [("12", True), ("13", False)])
def test_what_no_host_of_the_first_wave_has_proved_goes_no_further(other: str, proved: bool) -> None:
    """w1 is refused. Where w2 is of its cohort and in its wave, that one has proved the set; otherwise nobody has."""
    world = World("w1 w2 w3", waves=[2, "100%"])
    world["w1"].wrong, world["w2"].cohort = {"prepare"}, other
    record = world.run()
    assert verdicts(record) == {"w1": "refused", "w2": "succeeded", "w3": "succeeded" if proved else "refused"}
    if not proved:
        assert record.summary.reason == "stopped in wave 1: w1 was to be the first of debian 12 amd64, and was refused"


@pytest.mark.parametrize(("reboot", "verdict"), [("when-needed", "degraded"), ("always", "succeeded")])
def test_old_code_is_named_also_where_nothing_is_to_be_restarted(reboot: str, verdict: str) -> None:
    world = World("w1", restart="none", reboot=reboot)
    world["w1"].wrong = {"stale"}
    record = world.run()
    assert verdicts(record) == {"w1": verdict}
    assert part(record, "w1").after["stale"] == (["cron.service"] if verdict == "degraded" else [])


def test_a_host_that_can_not_be_asked_while_it_works_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo itself may be what is replaced just then."""
    world = World("w1")
    world["w1"].takes, asked, state = 3, 0, FakeHost.state

    def broken_once(there: FakeHost, name: str, offset: int) -> JobState:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise SudoRefused("w1", "its answer was garbled")
        return state(there, name, offset)

    monkeypatch.setattr(FakeHost, "state", broken_once)
    world.while_asleep = lambda: world["w1"].there.time.advance(1)
    assert verdicts(world.run()) == {"w1": "succeeded"} and asked > 2

"""A run is cancelled while a job is at work that can be ended in order: it is, and its host is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.unit.runner.machines import Moves, ScriptedOperation
from tests.unit.runner.test_rollout import part
from tests.unit.runner.world import World, steps, verdicts

from mainstay.runner.engine.contract import Unkept
from mainstay.runner.engine.memory import Crash
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.phases.following import LOOK
from mainstay.runner.reconciling import reconcile_request
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.request import Asking
from mainstay.runner.runs import Runs, record
from mainstay.runner.shell.contract import ContactLost, Job
from mainstay.runner.state.contract import Standing

HOURS = 7 * 3600.0


class Backup(ScriptedOperation):
    """Leaves the software as it is, and can be stopped. Unreachable so often when it is first asked to."""

    refuses = 0
    asked = 0
    wrong = ""
    killed = False
    """Before it had ended, once it was told to stop."""

    @property
    def software(self) -> bool:
        return False

    @property
    def stoppable(self) -> bool:
        return True

    def stop(self, work: HostWork, change: Moves, name: str) -> None:
        self.asked += 1
        if self.asked <= self.refuses:
            raise ContactLost(work.host.name, "timed out")
        job = self.machines[work.host.name].there.jobs[name]
        job.output += b"stopped\n"
        job.exit, job.seconds, job.effect, job.lost = 143, 0.0, None, self.killed

    def outcome(self, change: Moves, exit: int | None, output: bytes) -> Outcome:
        return Outcome(
            ok=True, detail="as far as it came", stopped=output.endswith(b"stopped\n"), measures={"proves": ["R0"]}
        )

    def verify(self, work: HostWork, change: Moves) -> tuple[str, ...]:
        return (self.wrong,) if self.wrong else ()

    def done(self, change: Moves, measures: Mapping[str, Any]) -> str:
        return "1 of 2 taken"


class Night:
    """w1's backup takes hours; each nap of whoever follows it is a second of its."""

    def __init__(self, **plan: Any) -> None:
        self.world = World("w1 w2", waves=["100%"], parallel=1, **plan)
        self.world["w1"].takes = HOURS
        self.operation = Backup(self.world.machines)
        self.request = self.world.request()
        self.naps = 0
        self.then: Mapping[int, Callable[[], None]] = {}
        self.world.while_asleep = self._nap

    def _nap(self) -> None:
        self.naps += 1
        self.world["w1"].there.time.advance(1)
        self.then.get(self.naps, lambda: None)()

    def cancel(self) -> None:
        self.world.state.wish(self.request.id, "cancel", by="anna", reason="wrong night")

    def runs(self, **engine: Any) -> Runs:
        runs = self.world.runs(**engine)
        runs.tools.operations["patch"] = lambda request: self.operation  # type: ignore[index]  # a dict, in these tests
        return runs

    def run(self) -> MaintenanceRecord:
        runs = self.runs()
        runs.submit(self.request)
        return runs.execute(self.request.id)


def test_a_cancel_ends_the_job_in_hand_and_its_host_is_cancelled_and_put_back() -> None:
    night = Night(before={"command": "drain"}, after={"command": "undrain"})
    night.then = {10: night.cancel}
    sealed = night.run()
    assert verdicts(sealed) == {"w1": "cancelled", "w2": "cancelled"} and sealed.summary.verdict == "cancelled"
    assert part(sealed, "w1").reason == "cancelled by anna: wrong night; 1 of 2 taken"
    assert {"before", "apply", "verify", "after", "release"} <= set(steps(sealed, "w1"))
    assert [one.detail for one in part(sealed, "w1").steps if one.name == "verify"] == [
        "what was done before it was stopped"
    ]
    assert [word for word in night.world["w1"].log if word.endswith("drain")] == ["drain", "undrain"]
    assert night.world["w1"].there.lock.run == ""
    assert night.naps < 10 + 3 * LOOK
    assert sealed.summary.links.proves == ("R0",), "what was proved by then is proved"


def test_a_cancel_before_the_job_is_launched_launches_none() -> None:
    """It comes while `before` is at work: what that has stopped is started again."""
    night = Night(before={"command": "drain"}, after={"command": "undrain"})
    night.world["w1"].hooked = lambda command: night.cancel() if command == "drain" else None
    sealed = night.run()
    assert verdicts(sealed) == {"w1": "cancelled", "w2": "cancelled"} and sealed.summary.verdict == "cancelled"
    assert part(sealed, "w1").reason == "cancelled by anna: wrong night; it had not begun"
    assert [word for word in night.world["w1"].log if word.endswith("drain")] == ["drain", "undrain"]
    assert night.world["w1"].there.jobs == {} and night.operation.asked == 0
    assert not {"apply", "verify"} & set(steps(sealed, "w1")) and night.world["w1"].there.lock.run == ""


def test_a_job_that_was_launched_by_another_process_is_stopped_and_not_left_to_itself() -> None:
    """That one ends after the launch and before it was written down; the next one finds the run cancelled."""
    night = Night()
    runs = night.runs()

    def die(job: Job) -> None:
        night.cancel()
        runs.engine.lose()  # type: ignore[attr-defined]  # the one in memory: it can keep nothing any more
        raise Crash

    night.world["w1"].there.launched = die
    runs.submit(night.request)
    with pytest.raises(Crash):
        runs.execute(night.request.id)
    night.world["w1"].there.launched = lambda job: None
    after = night.runs()
    after.resume()
    after.start(night.request.id).result()
    w1 = part(record(after.tools, night.request.id), "w1")
    assert night.operation.asked and w1.reason == "cancelled by anna: wrong night; 1 of 2 taken"


def test_what_changes_software_is_brought_to_its_end_whenever_the_cancel_comes() -> None:
    night = Night(before={"command": "drain"})
    night.operation = ScriptedOperation(night.world.machines)  # type: ignore[assignment]  # a patch
    night.world["w1"].takes = 5.0
    night.world["w1"].hooked = lambda command: night.cancel()
    assert verdicts(night.run()) == {"w1": "succeeded", "w2": "cancelled"}


def test_a_pause_is_no_stop_and_nobody_asks_the_state_for_what_is_never_stopped() -> None:
    night = Night()
    night.world["w1"].takes = 60.0
    night.then = {3: lambda: night.world.state.wish(night.request.id, "pause", by="anna", reason="")}
    night.then |= {90: lambda: night.world.state.wish(night.request.id, "", by="anna", reason="")}
    assert verdicts(night.run()) == {"w1": "succeeded", "w2": "succeeded"} and night.operation.asked == 0


@pytest.mark.parametrize("stoppable", [True, False])
def test_the_state_is_asked_once_in_a_while_and_never_for_what_is_not_stopped(stoppable: bool) -> None:
    night = Night()
    night.world["w1"].takes = 100.0
    asked, standing = 0, night.world.state.standing

    def counted(id: str) -> Standing | None:
        nonlocal asked
        asked += "apply" in night.world.state.notes(id).get("w1", {}).get("step", "")
        return standing(id)

    night.world.state.standing = counted  # type: ignore[method-assign]  # counts
    if not stoppable:
        night.operation = ScriptedOperation(night.world.machines)  # type: ignore[assignment]  # a patch
    assert verdicts(night.run())["w1"] == "succeeded"
    assert 100 / LOOK / 2 <= asked <= 100 / LOOK + 2 if stoppable else asked == 0


def test_who_can_t_be_reached_is_asked_again_and_a_state_that_can_t_be_read_fails_no_backup() -> None:
    night = Night()
    night.operation.refuses = 3
    standing, broken = night.world.state.standing, 0

    def now_and_then(id: str) -> Standing | None:
        nonlocal broken
        if night.naps and broken < 4:
            broken += 1
            raise Unkept("the database is away")
        return standing(id)

    night.world.state.standing = now_and_then  # type: ignore[method-assign]  # breaks
    night.then = {40: night.cancel}
    sealed = night.run()
    assert broken == 4 and night.operation.asked == 4
    assert verdicts(sealed) == {"w1": "cancelled", "w2": "cancelled"}


def test_what_went_wrong_for_itself_is_failed_and_says_that_it_was_cancelled_too() -> None:
    night = Night()
    night.operation.wrong = "db: the dump does not end as a whole one does"
    night.then = {10: night.cancel}
    w1 = part(night.run(), "w1")
    assert w1.verdict == "failed" and w1.reason.endswith("whole one does; cancelled by anna: wrong night")


def test_what_was_killed_as_it_was_ending_for_its_cancel_is_cancelled_and_has_not_succeeded() -> None:
    """The host goes down after the job has said that it stops, and before it has tidied up."""
    night = Night()
    night.operation.killed = True
    night.then = {10: night.cancel}
    w1 = part(night.run(), "w1")
    assert (w1.verdict, w1.reason) == ("cancelled", "cancelled by anna: wrong night; 1 of 2 taken")


@pytest.mark.no_cover
def test_whoever_takes_the_run_over_stops_what_the_dead_one_had_been_asked_to() -> None:
    """The controller dies before and after every checkpoint of a run that is cancelled in the middle."""
    whole = Night()
    whole.then = {10: whole.cancel}
    whole.run()
    stopped = 0
    for number in range(1, whole.world.store.checkpoints + 1):
        for when in ("before", "after"):
            night = Night()
            night.then = {10: night.cancel}
            runs = night.runs(crash=(number, when))
            runs.submit(night.request)
            with pytest.raises(Crash):
                runs.execute(night.request.id)
            runs.engine.close()
            after = night.runs()
            after.resume()
            after.start(night.request.id).result()
            found = verdicts(record(after.tools, night.request.id))
            assert found["w1"] == "cancelled" and night.world["w1"].there.lock.run == "", (number, when)
            stopped += night.operation.asked > 0
    assert stopped


def test_who_died_between_the_wish_and_the_stop_has_left_it_to_the_next() -> None:
    night = Night()
    runs = night.runs()

    def die() -> None:
        night.cancel()
        runs.engine.lose()  # type: ignore[attr-defined]  # the one in memory: it can keep nothing any more
        raise Crash

    night.then = {10: die}
    runs.submit(night.request)
    with pytest.raises(Crash):
        runs.execute(night.request.id)
    assert night.operation.asked == 0
    after = night.runs()
    after.resume()
    after.start(night.request.id).result()
    assert night.operation.asked and verdicts(record(after.tools, night.request.id))["w1"] == "cancelled"


@pytest.mark.parametrize("lost", ["apply", "verify"])
def test_who_was_lost_after_it_was_stopped_is_cancelled_once_it_is_reconciled(lost: str) -> None:
    """By another run, which nobody has cancelled."""
    night = Night()
    there = night.world["w1"].there
    night.then = {10: night.cancel}
    verify, stop = night.operation.verify, night.operation.stop

    def away(*given: Any) -> Any:
        if lost == "apply":
            stop(*given)
        there.unreachable = "timed out"
        raise ContactLost("w1", "timed out")

    if lost == "apply":
        night.operation.stop = away  # type: ignore[method-assign,assignment]  # stopped, and gone
    else:
        night.operation.verify = away  # type: ignore[method-assign,assignment]
    sealed = night.run()
    assert verdicts(sealed) == {"w1": "unknown", "w2": "cancelled"}
    there.unreachable, night.operation.verify, night.operation.stop = "", verify, stop  # type: ignore[method-assign]
    runs = night.runs()
    asking = Asking(requested_by="ben", asked_at="2026-01-02T00:00:00.000Z", site_name="acme")
    request = reconcile_request(runs.tools, sealed.summary.id, (night.world.hosts["w1"],), asking)
    runs.submit(request)
    w1 = part(runs.execute(request.id), "w1")
    assert (w1.verdict, w1.reason) == ("cancelled", "cancelled by anna: wrong night; 1 of 2 taken")
    assert there.lock.run == ""


def test_a_job_that_nobody_could_stop_is_stopped_once_its_host_is_reconciled() -> None:
    """The host could not be reached from the cancel until its run had ended; the run that reconciles it nobody has cancelled."""
    night = Night()
    there = night.world["w1"].there

    def away() -> None:
        night.cancel()
        there.unreachable = "timed out"

    night.then = {10: away}
    sealed = night.run()
    assert verdicts(sealed) == {"w1": "unknown", "w2": "cancelled"} and night.operation.asked == 0
    there.unreachable = ""
    runs = night.runs()
    asking = Asking(requested_by="ben", asked_at="2026-01-02T00:00:00.000Z", site_name="acme")
    request = reconcile_request(runs.tools, sealed.summary.id, (night.world.hosts["w1"],), asking)
    runs.submit(request)
    w1 = part(runs.execute(request.id), "w1")
    assert night.operation.asked == 1, "not left to go on for hours"
    assert (w1.verdict, w1.reason) == ("cancelled", "cancelled by anna: wrong night; 1 of 2 taken")
    assert there.lock.run == ""

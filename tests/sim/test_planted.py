"""Defects planted into the product, one at a time: the simulator finds each of them within its short form. A check that
can't fail is worth nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstay.runner import budget, host_run, rollout, sealing
from mainstay.runner import verdict as verdicts
from mainstay.runner.engine.contract import JsonValue
from mainstay.runner.phases import change, finish, prepare
from mainstay.runner.rollout import Rollout
from mainstay.runner.runs import Runs
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.fakelock import FakeLock
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict
from tests.sim.engine import SimContext, SimEngine
from tests.sim.test_sim import SHORT
from tests.sim.work import PackageMoves
from tests.sim.world import Violation, World

pytestmark = pytest.mark.no_cover

Patch = pytest.MonkeyPatch


def budget_off_by_one(patch: Patch) -> None:
    def generous(plan: Any, outcomes: Any, **more: Any) -> str:
        failed = [name for name, verdict in outcomes.items() if verdict in budget.FAILURES]
        return budget.stop_reason(plan, {name: v for name, v in outcomes.items() if name not in failed[:1]}, **more)

    patch.setattr(prepare, "stop_reason", generous)
    patch.setattr(rollout, "stop_reason", generous)


def strict_budget_ignored(patch: Patch) -> None:
    patch.setattr(rollout, "room", lambda plan, outcomes, *, total: plan.parallel)


def parallel_off_by_one(patch: Patch) -> None:
    real = SimContext.enqueue
    patch.setattr(
        SimContext, "enqueue", lambda self, *a, queue, parallel: real(self, *a, queue=queue, parallel=parallel + 1)
    )


def places_not_counted(patch: Patch) -> None:
    patch.setattr(MemoryState, "take_slots", lambda self, run, host, limits: True)


def places_never_given_back(patch: Patch) -> None:
    patch.setattr(MemoryState, "free_slots", lambda self, run, host=None: None)


def gate_ignored(patch: Patch) -> None:
    patch.setattr(Rollout, "_gate", lambda self, wave, unproved: {"stop": "", "failed": False})


def fence_not_asked(patch: Patch) -> None:
    """As a host that looks at the run alone."""

    def check(self: FakeLock, number: int, state: str, run: str) -> list[str]:
        self.fence = max(self.fence, number)
        return [] if self.run == run else ["lock", self.run, self.since]

    patch.setattr(FakeLock, "check", check)


def lock_not_asked(patch: Patch) -> None:
    """As a host that two runs may hold."""
    patch.setattr(FakeLock, "_refused", lambda self, action, number, state, run, stale: [])


def lock_never_given_back(patch: Patch) -> None:
    patch.setattr(hostlock, "release", lambda shell, fence, of="": None)


def checkpoint_forgotten(patch: Patch) -> None:
    real = SimContext.keep

    def keep(self: SimContext, at: int, name: str, recorded: Any) -> None:
        real(self, at, name, recorded)
        if name == "apply.launch":
            self._flow.kept.pop()
            self._next -= 1

    patch.setattr(SimContext, "keep", keep)


def unowned_checkpoints_kept(patch: Patch) -> None:
    """A frozen process writes on what another has taken over."""
    patch.setattr(SimContext, "mine", lambda self: None)


def a_job_of_a_new_name_each_time(patch: Patch) -> None:
    real, count = Track.job, iter(range(1_000_000))
    patch.setattr(Track, "job", lambda self, step: f"{real(self, step)}-{next(count)}")


def after_without_proof(patch: Patch) -> None:
    real = finish.into_service
    patched: Callable[..., None] = lambda track, *, well, **more: real(track, well=True, **more)  # noqa: E731 - one use
    patch.setattr(host_run, "into_service", patched)


def health_not_asked(patch: Patch) -> None:
    for module in (change, host_run):
        patch.setattr(module, "health", lambda track, io: None)


def verify_not_asked(patch: Patch) -> None:
    """A change that was cut short by a reboot passes for made."""
    patch.setattr(PackageMoves, "verify", lambda self, work, change: ())


def the_way_back_is_only_said(patch: Patch) -> None:
    patch.setattr(host_run, "go_back", lambda track, why, *more: (Verdict.ROLLED_BACK, f"{why}; put back and checked"))


def the_best_host_counts(patch: Patch) -> None:
    patch.setattr(verdicts, "of_run", lambda hosts: max(hosts, key=list(Verdict).index))


def sealed_too_early(patch: Patch) -> None:
    """Hosts that were not begun are left out."""
    patch.setattr(sealing, "_write_missing_parts", lambda *args: None)


def cancel_read_too_late(patch: Patch) -> None:
    """A cancelled host is locked before it is asked whether it may start."""
    real = prepare.admit

    def admit(track: Track, total: int) -> None:
        track.step("early", lambda io: bool(track.work(io)))
        track.step("hook", lambda io: track.tools.upkeep.release_updaters(track.work(io)) and None)
        real(track, total)

    patch.setattr(host_run, "admit", admit)


def a_number_drawn_too_late(patch: Patch) -> None:
    """One that was frozen just before it drew has a higher number than whoever took the run over from it."""
    patch.setattr(SimContext, "stay", lambda self: None)


def nobody_takes_over(patch: Patch) -> None:
    patch.setattr(SimEngine, "recover", lambda self: [])
    patch.setattr(Runs, "resume", lambda self: [])


def a_silent_host_is_well(patch: Patch) -> None:
    """Contact that was lost passes for success."""
    real = Track.part

    def part(self: Track, verdict: Verdict, reason: str) -> Any:
        if verdict is Verdict.UNKNOWN:
            self.carried, verdict = None, Verdict.SUCCEEDED
        return real(self, verdict, reason)

    patch.setattr(Track, "part", part)


def a_failed_host_is_unknown(patch: Patch) -> None:
    real = Track.part

    def part(self: Track, verdict: Verdict, reason: str) -> Any:
        return real(self, Verdict.UNKNOWN if verdict is Verdict.FAILED else verdict, reason)

    patch.setattr(Track, "part", part)


def an_ended_run_is_begun_again(patch: Patch) -> None:
    """What this simulator found in its first hour: a replay after the seal said that the run runs, for ever."""

    def set_run(self: MemoryState, id: str, *, state: Any = None, wave: Any = None, ended_at: Any = None) -> None:
        given = {"state": state, "wave": wave, "ended_at": ended_at}
        self._runs[id] = self._runs[id].model_copy(update={k: v for k, v in given.items() if v is not None})

    patch.setattr(MemoryState, "set_run", set_run)


def a_cancel_can_be_taken_back(patch: Patch) -> None:
    """What it found in its second: a pause by somebody else took a cancel back."""
    real = MemoryState.wish

    def wish(self: MemoryState, id: str, wish: Any, *, by: str, reason: str) -> None:
        self._runs[id] = self._runs[id].model_copy(update={"wish": ""})
        real(self, id, wish, by=by, reason=reason)

    patch.setattr(MemoryState, "wish", wish)


def interventions_forgotten(patch: Patch) -> None:
    patch.setattr(MemoryState, "interventions", lambda self, run: [])


def a_part_of_its_own_in_each_process(patch: Patch) -> None:
    """A step's result that is made again instead of read: what two processes write differs."""
    real = SimContext.step

    def step(self: SimContext, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        kept = self._flow.kept
        if name == "release" and self._next < len(kept):
            del kept[self._next :]
        return real(self, name, work)

    patch.setattr(SimContext, "step", step)


DEFECTS: dict[Callable[[Patch], None], tuple[str, ...]] = {
    budget_off_by_one: ("nothing_starts_once_the_budget_is_used_up", "a_gate_holds_only_where_it_may"),
    strict_budget_ignored: ("no_more_hosts_in_flight_than_the_plan_allows",),
    parallel_off_by_one: ("no_more_hosts_in_flight_than_the_plan_allows",),
    places_not_counted: ("no_more_hosts_in_a_place_than_fit_there",),
    places_never_given_back: ("every_run_ends", "unknown_has_a_cause"),
    gate_ignored: ("a_gate_holds_only_where_it_may",),
    fence_not_asked: ("a_host_obeys_one_commander",),
    lock_not_asked: ("a_host_obeys_one_commander", "a_host_is_worked_on_by_the_run_that_holds_it"),
    lock_never_given_back: ("nothing_stays_taken",),
    checkpoint_forgotten: ("no_completed_step_works_again",),
    unowned_checkpoints_kept: ("no_fault_of_ours",),
    a_job_of_a_new_name_each_time: ("a_change_is_made_at_most_once",),
    after_without_proof: ("back_into_service_only_when_well",),
    health_not_asked: ("back_into_service_only_when_well", "who_is_shown_well_was_checked_after_the_change"),
    verify_not_asked: ("the_part_says_what_is_there",),
    the_way_back_is_only_said: ("back_into_service_only_when_well", "the_part_says_what_is_there"),
    the_best_host_counts: ("sealed_with_the_verdict_of_its_hosts",),
    sealed_too_early: ("sealed_with_the_verdict_of_its_hosts",),
    cancel_read_too_late: ("who_is_shown_untouched_is_untouched",),
    a_number_drawn_too_late: ("no_completed_step_works_again",),
    nobody_takes_over: ("every_run_ends",),
    a_silent_host_is_well: ("the_part_says_what_is_there", "who_is_shown_well_was_checked_after_the_change"),
    a_failed_host_is_unknown: ("unknown_has_a_cause",),
    an_ended_run_is_begun_again: ("every_run_ends",),
    a_cancel_can_be_taken_back: ("a_gate_holds_only_where_it_may",),
    interventions_forgotten: ("what_people_asked_is_kept",),
    a_part_of_its_own_in_each_process: ("no_completed_step_works_again",),
}
"""Defect → the promises that it breaks, any of which may be the first to be seen broken."""


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_planted_defect_is_found(defect: Callable[[Patch], None], monkeypatch: Patch) -> None:
    defect(monkeypatch)
    for seed in range(1, SHORT + 1):
        try:
            World(seed).run()
        except Violation as found:
            promise = str(found).removeprefix(f"seed {seed}: ").partition(":")[0]
            print(f"{defect.__name__}: {str(found).splitlines()[0][:200]}")
            if promise in DEFECTS[defect]:
                return
    pytest.fail(f"{SHORT} seeds, and nobody has noticed")

"""What every state promises of hosts and what was done to them. The real one and its fake pass the same suite."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from tests.contract.conftest import Watch, part, row

from mainstay.runner.record import STAGE, HostPart
from mainstay.runner.state.contract import State, StateConflict, UndoRow
from mainstay.runner.verdict import Verdict


def test_its_id_stays(state: State) -> None:
    assert state.id
    assert state.id == state.id


def test_fences_only_grow(state: State) -> None:
    first = state.next_fence()
    assert state.next_fence() > first
    state.raise_fence(1000)
    assert state.next_fence() == 1001
    state.raise_fence(5)
    assert state.next_fence() == 1002


def test_fences_are_handed_out_once(state: State) -> None:
    got: list[int] = []

    def take() -> None:
        got.extend(state.next_fence() for _ in range(20))

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 100


def test_a_part_is_written_once(state: State) -> None:
    state.write_part("r1", part())
    state.write_part("r1", part())
    with pytest.raises(StateConflict, match="a in run r1"):
        state.write_part("r1", part(verdict="failed"))
    assert state.parts("r1") == [part()]


def test_parts_are_sorted_by_host(state: State) -> None:
    for host in ("b", "a", "c"):
        state.write_part("r1", part(host))
    state.write_part("r2", part("z"))
    assert [one.host for one in state.parts("r1")] == ["a", "b", "c"]
    assert state.parts("r3") == []


def test_the_last_part_of_a_host_is_the_one_written_last(state: State) -> None:
    state.write_part("r2", part(reason="older"))
    state.write_part("r1", part(reason="newer"))
    assert state.last_part("a") == ("r1", part(reason="newer"))
    assert state.last_part("b") is None


def test_recent_parts_are_those_of_ended_runs_of_the_plan_the_newest_first(state: State) -> None:
    for id, plan, ended in (("r1", "p", True), ("r2", "p", True), ("r3", "other", True), ("r4", "p", False)):
        state.add_run(row(id, plan=plan))
        state.write_part(id, part(reason=id))
        state.write_part(id, part("b", reason=id))
        if ended:
            state.set_run(id, state="ended", ended_at="2026-05-01T13:00:00Z")
    assert [(one.host, one.reason) for one in state.recent_parts("p", "a", 9)] == [("a", "r2"), ("a", "r1")]
    everyone = [("b", "r2"), ("a", "r2"), ("b", "r1")]
    assert [(one.host, one.reason) for one in state.recent_parts("p", None, 3)] == everyone
    assert state.recent_parts("p", "c", 9) == state.recent_parts("none", "a", 9) == []


def test_what_was_only_staged_is_no_hosts_past(state: State) -> None:
    for id, kind in (("r1", "patch"), ("r2", STAGE), ("r3", STAGE)):
        state.add_run(row(id, plan="p", kind=kind))
        state.write_part(id, part(reason=id))
        state.set_run(id, state="ended", ended_at="2026-05-01T13:00:00Z")
    state.write_part("r3", part("b"))
    assert state.last_part("a") == ("r1", part(reason="r1"))
    assert state.last_part("b") is None
    assert [one.reason for one in state.recent_parts("p", None, 9)] == ["r1"]


def test_a_backup_hides_no_patch_and_an_errand_is_no_backup(state: State) -> None:
    for id, kind in (("r1", "patch"), ("r2", "backup"), ("r3", "retention"), ("r4", "drill")):
        state.add_run(row(id, plan="p", kind=kind))
        state.write_part(id, part(reason=id))
        state.set_run(id, state="ended", ended_at="2026-05-01T13:00:00Z")
    assert state.last_part("a") == ("r1", part(reason="r1"))
    assert [one.reason for one in state.recent_parts("p", "a", 9)] == ["r2", "r1"]


def test_the_last_outcome_stands(state: State) -> None:
    state.note_outcome("r1", "b", Verdict.UNKNOWN)
    state.note_outcome("r1", "a", Verdict.FAILED)
    state.note_outcome("r1", "b", Verdict.SUCCEEDED)
    state.note_outcome("r2", "c", Verdict.FAILED)
    assert state.outcomes("r1") == {"a": Verdict.FAILED, "b": Verdict.SUCCEEDED}


def test_the_outcome_of_a_host_whose_part_is_written_stays(state: State) -> None:
    """Who was frozen before it said another one may wake much later."""
    state.note_outcome("r1", "a", Verdict.UNKNOWN)
    state.note_outcome("r1", "a", Verdict.SUCCEEDED)
    state.write_part("r1", HostPart(host="a", verdict=Verdict.SUCCEEDED))
    state.note_outcome("r1", "a", Verdict.UNKNOWN)
    assert state.outcomes("r1") == {"a": Verdict.SUCCEEDED}


def test_a_note_says_since_when_its_step_has_been_going_on(state: State, watch: Watch) -> None:
    state.add_run(row())
    state.set_run("r1", wave=2)
    state.note_step("r1", "a", "apply", "1 of 9")
    watch.at += timedelta(seconds=5)
    state.note_step("r1", "a", "apply", "2 of 9")
    assert state.notes("r1") == {"a": {"step": "apply", "detail": "2 of 9", "since": "2026-05-01T12:00:00Z", "wave": 2}}
    state.note_step("r1", "a", "verify", "")
    assert state.notes("r1")["a"] == {"step": "verify", "detail": "", "since": "2026-05-01T12:00:05Z", "wave": 2}
    assert state.notes("r2") == {}


def test_text_that_is_no_unicode_is_taken(state: State) -> None:
    state.add_run(row())
    state.note_step("r1", "a", "apply", "\udcff\0 of 9")
    state.wish("r1", "pause", by="al\udcffice", reason="\ud800\0")
    assert "of 9" in state.notes("r1")["a"]["detail"]


def undo(run: str, host: str, made_at: str = "m", **other: object) -> UndoRow:
    data = {"run": run, "host": host, "operation": "patch", "undo": {"x": "1"}, "made_at": made_at, "keep_until": "k"}
    return UndoRow.model_validate({**data, **other})


def test_undos_are_found_by_run_and_by_host_oldest_first(state: State) -> None:
    for run, host in (("r2", "a"), ("r1", "a"), ("r1", "b")):
        state.add_undo(undo(run, host))
    assert state.undos(host="a") == [undo("r2", "a"), undo("r1", "a")]
    assert state.undos(run="r1") == [undo("r1", "a"), undo("r1", "b")]
    assert state.undos(run="r1", host="b") == [undo("r1", "b")]
    assert len(state.undos()) == 3


def test_an_undo_that_was_used_stays_used(state: State) -> None:
    state.add_undo(undo("r1", "a"))
    state.mark_undone("r1", "a", "r2")
    state.add_undo(undo("r1", "a", undo={"x": "2"}))
    assert state.undos(run="r1") == [undo("r1", "a", undo={"x": "2"}, undone_by="r2")]


def test_undos_that_are_still_needed_are_asked_for_alone(state: State) -> None:
    old, new = ("2026-05-02T00:00:00.000Z", "2026-05-03T00:00:00.000Z")
    for host, until in (("a", old), ("b", new), ("c", new)):
        state.add_undo(undo("r1", host, keep_until=until))
    state.mark_undone("r1", "c", "r2")
    assert [row.host for row in state.undos(needed_at=old)] == ["b"], "a is over at that moment, c was used"
    assert [row.host for row in state.undos(needed_at="2026-05-01T00:00:00.000Z")] == ["a", "b"]


def test_the_earliest_sighting_stays(state: State) -> None:
    state.see("debian", [("x", "1"), ("y", "1")], "2026-05-02T00:00:00Z")
    state.see("debian", [("x", "1"), ("x", "2")], "2026-05-03T00:00:00Z")
    state.see("debian", [("y", "1")], "2026-05-01T00:00:00Z")
    state.see("ubuntu", [("z", "1")], "2026-05-03T00:00:00Z")
    state.see("debian", [], "2026-05-03T00:00:00Z")
    assert state.sightings("debian") == {
        ("x", "1"): "2026-05-02T00:00:00Z",
        ("x", "2"): "2026-05-03T00:00:00Z",
        ("y", "1"): "2026-05-01T00:00:00Z",
    }


def test_a_block_holds_for_one_change_on_one_host_until_lifted(state: State) -> None:
    state.block("a", "d1", "r1")
    state.block("b", "d1", "r2")
    state.block("a", "d1", "r3")
    assert state.blocked("a", "d1") == "r3"
    assert state.blocked("a", "d2") is None
    state.unblock("a")
    assert state.blocked("a", "d1") is None
    assert state.blocked("b", "d1") == "r2"


def test_outcomes_are_told_among_some_verdicts_alone(state: State) -> None:
    for host, verdict in (("a", Verdict.FAILED), ("b", Verdict.SUCCEEDED), ("c", Verdict.ROLLED_BACK)):
        state.note_outcome("r1", host, verdict)
    state.note_outcome("r2", "a", Verdict.FAILED)
    assert state.outcomes("r1", {Verdict.FAILED, Verdict.ROLLED_BACK}) == {
        "a": Verdict.FAILED,
        "c": Verdict.ROLLED_BACK,
    }
    assert state.outcomes("r1", {Verdict.UNKNOWN}) == {}
    assert len(state.outcomes("r1")) == 3


def test_parts_come_one_after_the_other_as_they_come_together(state: State) -> None:
    names = [f"h{number:03}" for number in range(450)]
    for name in reversed(names):
        state.write_part("r1", HostPart(host=name, verdict=Verdict.SUCCEEDED))
    state.write_part("r2", HostPart(host="other", verdict=Verdict.FAILED))
    assert [part.host for part in state.each_part("r1")] == names
    assert list(state.each_part("r1")) == state.parts("r1")
    assert list(state.each_part("r3")) == []

"""What every state promises of runs: how they stand, what was asked of them, the slots that they hold."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from tests.contract.conftest import Watch, row

from mainstay.inventory.errors import UsageError
from mainstay.runner.state.contract import Standing, State, StateConflict


def test_runs_that_ended_before_a_moment_the_oldest_first(state: State) -> None:
    for id, ended in (("r1", "2026-05-03"), ("r2", "2026-05-02"), ("r3", "2026-05-04"), ("r4", "")):
        state.add_run(row(id))
        if ended:
            state.set_run(id, state="ended", ended_at=f"{ended}T12:00:00.000Z")
    assert state.ended_before("2026-05-04T12:00:00.000Z") == ["r2", "r1"]
    assert state.ended_before("2026-05-01T00:00:00.000Z") == []


def test_how_a_run_was_laid_out_stays_as_it_was_first_said(state: State) -> None:
    state.add_run(row())
    assert state.waves("r1") == []
    state.set_waves("r1", [])
    assert state.waves("r1") == []
    state.set_waves("r1", [["a"], ["c", "b"]])
    state.set_waves("r1", [["b"]])
    assert state.waves("r1") == [["a"], ["c", "b"]]
    assert state.waves("other") == []


def test_a_run_is_kept_as_it_was_asked_for(state: State) -> None:
    state.add_run(row())
    assert state.run("r1") == row()
    assert state.run("r2") is None


def test_adding_a_run_again_is_success_and_keeps_where_it_is(state: State) -> None:
    state.add_run(row())
    state.set_run("r1", state="running", wave=1)
    state.add_run(row())
    assert state.run("r1") == row(state="running", wave=1)
    with pytest.raises(StateConflict, match="r1"):
        state.add_run(row(request={"hosts": ["b"]}))


def test_runs_come_in_the_order_in_which_they_were_asked_for(state: State) -> None:
    for id in ("r2", "r1", "r3"):
        state.add_run(row(id))
    state.set_run("r1", state="ended", ended_at="2026-05-01T13:00:00Z")
    assert [run.id for run in state.runs()] == ["r2", "r1", "r3"]
    assert [run.id for run in state.runs(in_flight=True)] == ["r2", "r3"]


def test_setting_one_thing_leaves_the_others(state: State) -> None:
    state.add_run(row())
    state.set_run("r1", wave=2)
    state.wish("r1", "pause", by="alice", reason="lunch")
    state.set_run("r1", state="paused")
    wished = {"wish": "pause", "wish_by": "alice", "wish_reason": "lunch"}
    assert state.run("r1") == row(state="paused", wave=2, **wished)
    state.wish("r1", "", by="bob", reason="")
    found = state.run("r1")
    assert found is not None
    assert (found.wish, found.wish_by) == ("", "bob")


def test_a_run_that_is_not_there_can_be_neither_set_nor_wished_at(state: State) -> None:
    with pytest.raises(UsageError, match="r9"):
        state.set_run("r9", wave=1)
    with pytest.raises(UsageError, match="r9"):
        state.wish("r9", "cancel", by="alice", reason="")


def test_what_was_asked_of_a_run_is_kept_with_who_and_why(state: State, watch: Watch) -> None:
    state.add_run(row())
    state.wish("r1", "pause", by="anna@ops1", reason="disk is swapped")
    watch.at += timedelta(minutes=5)
    state.wish("r1", "", by="ben@ops2", reason="")
    said = state.interventions("r1")
    assert [(one.wish, one.by, one.reason) for one in said] == [
        ("pause", "anna@ops1", "disk is swapped"),
        ("", "ben@ops2", ""),
    ]
    assert [one.at for one in said] == ["2026-05-01T12:00:00.000Z", "2026-05-01T12:05:00.000Z"]
    assert state.interventions("r2") == []
    with pytest.raises(UsageError):
        state.wish("r2", "pause", by="anna@ops1", reason="")
    assert state.interventions("r2") == []


def test_a_host_takes_all_its_slots_or_none(state: State) -> None:
    state.add_run(row())
    limits = {"site": 2, "tag:rack=r1": 1}
    assert state.take_slots("r1", "a", limits)
    assert state.take_slots("r1", "a", limits)
    assert not state.take_slots("r1", "b", limits)
    assert state.slots() == {"site": [("r1", "a")], "tag:rack=r1": [("r1", "a")]}
    assert state.take_slots("r1", "c", {"site": 2, "tag:rack=r2": 1})
    assert not state.take_slots("r1", "d", {"site": 2})
    state.free_slots("r1", "a")
    assert state.take_slots("r1", "d", {"site": 2})
    state.free_slots("r1")
    state.free_slots("r1", "d")
    assert state.slots() == {}
    assert state.take_slots("r1", "e", {})
    assert state.slots() == {}


def test_a_run_stands_as_its_row_says(state: State) -> None:
    state.add_run(row())
    assert state.standing("r2") is None
    assert state.standing("r1") == Standing("preparing")
    state.set_run("r1", state="running", wave=1)
    state.wish("r1", "pause", by="anna", reason="lunch")
    assert state.standing("r1") == Standing("running", "pause", "anna", "lunch")


def test_a_cancel_is_final(state: State) -> None:
    """Somebody who pauses a run that another has cancelled, and lets it go on, must not take the cancel back."""
    state.add_run(row())
    state.wish("r1", "cancel", by="anna", reason="wrong plan")
    state.wish("r1", "pause", by="ben", reason="")
    state.wish("r1", "", by="ben", reason="")
    found = state.run("r1")
    assert found is not None
    assert (found.wish, found.wish_by, found.wish_reason) == ("cancel", "anna", "wrong plan")
    assert [one.wish for one in state.interventions("r1")] == ["cancel", "pause", ""]


def test_a_run_that_has_ended_is_not_begun_again(state: State) -> None:
    """Whoever replays a sealed run (its process died between the seal and its last step) says once more that it runs."""
    state.add_run(row())
    state.set_run("r1", state="ended", ended_at="2026-05-01T13:00:00Z")
    state.set_run("r1", state="running", wave=1)
    found = state.run("r1")
    assert found is not None
    assert (found.state, found.ended_at) == ("ended", "2026-05-01T13:00:00Z")


def test_a_run_that_has_ended_holds_no_slot(state: State) -> None:
    state.add_run(row())
    state.add_run(row("r2"))
    assert state.take_slots("r1", "a", {"site": 1})
    assert not state.take_slots("r2", "a", {"site": 1})
    state.set_run("r1", state="ended")
    assert state.slots() == {}
    assert state.take_slots("r2", "a", {"site": 1})


def test_slots_are_never_taken_twice(state: State) -> None:
    state.add_run(row())
    got: list[bool] = []

    def take(host: str) -> None:
        got.append(state.take_slots("r1", host, {"site": 3}))

    threads = [threading.Thread(target=take, args=(f"h{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 9 + [True] * 3

"""Each occurrence is put down once, whoever looks, however often, whatever dies in between and wherever the wall clock goes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.schedules.clock_world import NIGHT, PLAN, ClockWorld, frequent

from mainstay.inventory.errors import MainstayError
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.schedules.clock import sweeping
from mainstay.schedules.clock.adapters.apscheduler import HORIZON, Openings
from mainstay.schedules.clock.sweeping import KNOWN
from mainstay.schedules.occurrences import run_id
from mainstay.schedules.openings import openings
from mainstay.schedules.store.contract import Carried
from mainstay.schedules.store.memory import MemorySchedules
from mainstay.schedules.windows import Window


def test_what_falls_due_becomes_a_run_and_is_left_at_that(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    assert world.lines() == []
    world.wall.pass_(hours=1)
    daemon.round()
    daemon.round()
    assert world.lines() == ["11-22 02:00 runs"]
    (request,) = world.requests()
    assert request.id == run_id("patch/night", datetime(2026, 11, 22, 2, tzinfo=UTC))
    assert request.id in world.world.store.workflows, "it was handed over"
    assert world.store.watermarks() == {"patch/night": "2026-11-22T02:00:00.000Z"}


def test_a_new_schedule_begins_now(world: ClockWorld) -> None:
    world.wall.pass_(hours=1, minutes=30)
    daemon = world.daemon()
    daemon.round()
    assert world.lines() == [], "the window was open when it was first seen, and had opened before"
    world.wall.pass_(days=1)
    daemon.round()
    assert world.lines() == ["11-23 02:00 runs"]


class Dying(MemorySchedules):
    """Forwards to another store, and dies at the n-th call."""

    def __init__(self, real: Any, at: int) -> None:
        super().__init__()
        self.__dict__ = real.__dict__
        object.__setattr__(self, "left", [at])

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "left":
            left = object.__getattribute__(self, "left")
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt(name)
        return object.__getattribute__(self, name)


def test_a_crash_between_putting_down_and_the_watermark_loses_and_doubles_nothing(world: ClockWorld) -> None:
    daemon = world.daemon()
    world.wall.pass_(hours=1)
    real = world.store.advance
    world.store.advance = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        daemon.round()
    world.store.advance = real  # type: ignore[method-assign]
    assert world.lines() == ["11-22 02:00 runs"]
    assert world.store.watermarks() == {"patch/night": "2026-11-22T01:00:00.000Z"}
    world.wall.pass_(hours=5)  # nothing could start any more: what was put down stands
    again = world.daemon()
    again.round()
    assert world.lines() == ["11-22 02:00 runs"]
    assert world.store.watermarks() == {"patch/night": "2026-11-22T02:00:00.000Z"}


@pytest.mark.parametrize("fault", [MainstayError("the calendar can't be read"), ValueError("nobody thought of this")])
def test_a_gate_that_cannot_be_asked_now_holds_nothing_up(world: ClockWorld, fault: Exception) -> None:
    daemon = world.daemon()
    world.wall.pass_(hours=1)
    daemon.runs.waits = lambda run: (_ for _ in ()).throw(fault)  # type: ignore[method-assign]
    daemon.round()
    assert world.lines() == ["11-22 02:00 runs"]
    assert world.store.watermarks() == {"patch/night": "2026-11-22T02:00:00.000Z"}
    assert world.world.store.workflows == {}
    del daemon.runs.waits
    world.wall.pass_(minutes=2)
    assert daemon.runs.tend(world.asking().asked_at) == [world.requests()[0].id]


def test_hosts_that_were_carried_over_come_first(world: ClockWorld) -> None:
    daemon = world.daemon()
    carried = Carried(plan="patch", host="web2", run="r", at="2026-11-21T04:00:00.000Z", reason="no time left")
    world.store.carry(carried)
    world.wall.pass_(hours=1)
    daemon.round()
    assert world.requests()[0].first == ("web2",)


def test_a_crash_between_writing_down_and_handing_over_is_made_good(world: ClockWorld) -> None:
    daemon = world.daemon()
    world.wall.pass_(hours=1)
    daemon.runs.offer = lambda run: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        daemon.round()
    assert world.world.store.workflows == {}
    world.daemon().round()
    assert [request.id for request in world.requests()] == list(world.world.store.workflows)


def test_whatever_it_dies_at_each_occurrence_is_put_down_once(tmp_path: Path) -> None:
    """A daemon that dies at every call to its store in turn, and another that goes on."""
    for number in range(1, 60):
        world = frequent(tmp_path)
        whole = True
        world.daemon()
        for _ in range(4):
            world.wall.pass_(hours=1, minutes=20)
            try:
                world.daemon(store=Dying(world.store, number)).round()
            except KeyboardInterrupt:
                whole = False
            world.wall.pass_(minutes=1)
        world.daemon().round()
        ats = [one.at[11:16] for one in world.occurrences()]
        assert sorted(ats) == ["02:00", "03:00", "04:00", "05:00", "06:00"], number
        if whole:
            return
    raise AssertionError("there are more calls than were tried")


def test_whatever_it_dies_at_when_it_takes_a_site_nothing_is_lost_and_nothing_from_before_is_caught_up(
    tmp_path: Path,
) -> None:
    """`new` is seen for the first time, `back` was away for two days."""
    other, both = {"other": PLAN}, {"other": PLAN, "back": PLAN, "new": PLAN}
    for number in range(1, 30):
        world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"back": PLAN})
        world.daemon().round()
        daemon = world.daemon(world.edit({"night": NIGHT}, other))
        world.wall.pass_(days=2)
        daemon.round()
        loaded, whole = world.edit({"night": NIGHT}, both), True
        try:
            world.daemon(loaded, store=Dying(world.store, number))
        except KeyboardInterrupt:
            whole = False
        world.wall.pass_(minutes=1)
        daemon = world.daemon(loaded)
        world.wall.pass_(hours=1)
        daemon.round()
        assert world.lines("back/") == world.lines("new/") == ["11-24 02:00 runs"], number
        assert len(world.lines("other/")) == 3
        if whole:
            return
    raise AssertionError("there are more calls than were tried")


def test_daemons_side_by_side_put_each_occurrence_down_once(tmp_path: Path) -> None:
    world = frequent(tmp_path)
    daemons = [world.daemon() for _ in range(3)]
    together = threading.Barrier(len(daemons))
    faults: list[BaseException] = []

    def work(round: Callable[[], None]) -> None:
        together.wait()
        try:
            round()
        except BaseException as error:  # raised below
            faults.append(error)

    for _ in range(12):
        world.wall.pass_(minutes=50)
        threads = [threading.Thread(target=work, args=(one.round,)) for one in daemons]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
    ats = [one.at for one in world.occurrences()]
    assert ats == sorted(set(ats))
    assert len(ats) == 10, "of 01:10 to 11:10"
    assert len(world.world.store.workflows) == 10


def test_steps_of_the_wall_clock_lose_and_double_nothing(tmp_path: Path) -> None:
    world = frequent(tmp_path)
    daemon = world.daemon()
    moves = [
        ("pass_", 25), ("step", 60), ("pass_", 25), ("step", -60), ("pass_", 25), ("pass_", 40), ("step", -60),
        ("step", -60), ("pass_", 70), ("step", 60), ("pass_", 200),
    ]  # fmt: skip
    for way, minutes in moves:
        getattr(world.wall, way)(minutes=minutes)
        daemon.round()
    ats = [one.at[11:16] for one in world.occurrences()]
    now = world.wall.now()
    assert ats == sorted(set(ats))
    assert ats == [f"{hour:02}:00" for hour in range(2, now.hour + 1)]


@pytest.mark.parametrize(("first", "days"), [("2026-10-24", 3), ("2027-03-27", 3)])
def test_nights_on_which_the_clocks_change_have_one_occurrence_each(tmp_path: Path, first: str, days: int) -> None:
    window = '{on: daily, start: "02:30", duration: 2h, timezone: Europe/Berlin}'
    world = ClockWorld(tmp_path, f"{first}T00:00:00+02:00", {"night": window}, {"patch": PLAN})
    daemon = world.daemon()
    for _ in range(days * 24 * 2):
        world.wall.pass_(minutes=30)
        daemon.round()
    found = Counter(datetime.fromisoformat(one.at).astimezone().date() for one in world.occurrences())
    assert len(world.occurrences()) == days
    assert set(found.values()) == {1}
    assert all(line.endswith("runs") for line in world.lines())


def test_a_window_that_is_edited_keeps_its_watermark(world: ClockWorld) -> None:
    daemon = world.daemon()
    daemon.round()
    daemon.sweeper.adopt(world.edit({"night": '{on: daily, start: "01:30", duration: 3h}'}, {"patch": PLAN}))
    world.wall.pass_(hours=1)
    daemon.round()
    assert world.lines() == ["11-22 01:30 runs"]


def test_a_window_that_is_edited_does_not_reach_back_to_its_last_opening(world: ClockWorld) -> None:
    """It was monthly until now: the nights since its last opening were never due."""
    monthly = world.edit({"night": '{on: 1st, start: "02:00", duration: 3h}'}, {"patch": PLAN})
    daemon = world.daemon(monthly)
    daemon.round()
    for _ in range(10 * 24 * 2):
        world.wall.pass_(minutes=30)
        daemon.round()
    daemon.sweeper.adopt(world.edit({"night": NIGHT}, {"patch": PLAN}))
    daemon.round()
    assert world.lines() == ["12-01 02:00 runs"]
    world.wall.pass_(hours=2)
    daemon.round()
    assert world.lines() == ["12-01 02:00 runs", "12-02 02:00 runs"]


def test_one_that_was_away_from_the_site_does_not_catch_up(world: ClockWorld) -> None:
    other = {"other": "{targets: all, window: night}"}
    daemon = world.daemon()
    daemon.round()
    daemon.sweeper.adopt(world.edit({"night": NIGHT}, other))
    world.wall.pass_(days=3)
    daemon.round()
    both = world.edit({"night": NIGHT}, {"patch": PLAN, **other})
    daemon.sweeper.adopt(both)
    daemon.round()
    assert world.lines("patch/") == []
    world.wall.pass_(hours=1)
    daemon.round()
    assert world.lines("patch/") == ["11-25 02:00 runs"]


def test_one_that_was_away_while_nobody_kept_the_clock_either_begins_anew(world: ClockWorld) -> None:
    world.daemon().round()
    gone = world.edit({"night": NIGHT}, {"other": "{targets: all, window: night}"})
    world.daemon(gone).round()
    world.wall.pass_(days=3)
    world.daemon(world.edit({"night": NIGHT}, {"patch": PLAN})).round()
    assert world.lines("patch/") == []


def test_one_that_leaves_the_site_is_put_down_up_to_then(world: ClockWorld) -> None:
    daemon = world.daemon()
    world.wall.pass_(hours=1, minutes=10)
    daemon.sweeper.adopt(world.edit({"night": NIGHT}, {"other": "{targets: all, window: night}"}))
    assert world.lines() == ["11-22 02:00 runs"]
    assert daemon.sweeper.sweep("patch/night") == 0, "a timer that was set before"


def test_a_schedule_that_fails_keeps_no_other_from_its_turn(tmp_path: Path) -> None:
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"a": PLAN, "b": PLAN, "c": PLAN})
    daemon = world.daemon()
    real = world.store.begin

    def begin(schedule: str, at: str) -> str:
        if schedule == "b/night":
            raise OSError("disk")
        return real(schedule, at)

    world.store.begin = begin  # type: ignore[method-assign]
    world.wall.pass_(hours=1)
    with pytest.raises(OSError, match="disk"):
        daemon.sweeper.sweep_all()
    assert [one.schedule for one in world.occurrences()] == ["a/night", "c/night"]
    world.store.begin = real  # type: ignore[method-assign]
    daemon.round()
    assert len(world.occurrences()) == 3


def test_a_schedule_that_cannot_be_worked_out_keeps_no_site_from_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"a": PLAN, "b": PLAN})
    world.daemon().round()
    odd = {"night": NIGHT, "odd": NIGHT}
    world.edit(odd, {"a": PLAN, "b": PLAN, "c": "{targets: all, window: odd}"})
    real = openings

    def broken(window: Window, *args: Any, **other: Any) -> Any:
        if window.name == "odd":
            raise OverflowError("date value out of range")
        return real(window, *args, **other)

    monkeypatch.setattr(sweeping, "openings", broken)
    monkeypatch.setattr(sweeping, "next_opening", lambda *args: next(broken(*args), None))
    daemon = world.daemon()
    world.wall.pass_(hours=1)
    with pytest.raises(OverflowError):
        daemon.round()
    assert [one.schedule for one in world.occurrences()] == ["a/night", "b/night"]
    trigger = Openings(daemon.sweeper, "c/odd")
    assert trigger.get_next_fire_time(None, world.wall.now()) == world.wall.now() + HORIZON


def test_a_state_that_cannot_be_written_is_not_asked_for_each_schedule(tmp_path: Path) -> None:
    """Each question waits for the database for half a minute: a clock that is silent for so long is killed."""
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"a": PLAN, "b": PLAN, "c": PLAN})
    daemon = world.daemon()
    asked: list[str] = []

    def begin(schedule: str, at: str) -> str:
        asked.append(schedule)
        raise StateUnusable("away")

    world.store.begin = begin  # type: ignore[method-assign]
    world.wall.pass_(hours=1)
    with pytest.raises(StateUnusable):
        daemon.sweeper.sweep_all()
    assert asked == ["a/night"]


def test_what_the_clock_is_kept_for_is_written_down_only_where_it_changed(world: ClockWorld) -> None:
    world.daemon()
    first = world.store.mark(KNOWN)
    written: list[str] = []
    world.store.set_mark = lambda name, value: written.append(name)  # type: ignore[method-assign]
    world.daemon()
    assert (first, written) == (world.store.mark(KNOWN), [])

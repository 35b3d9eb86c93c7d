"""What becomes of occurrences that nobody put down in time: late, missed, or left to the next opening."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.schedules.clock_world import HOURLY, NIGHT, ClockWorld, frequent

from mainstay.schedules.clock.policy import MOST


def test_one_that_is_late_and_still_open_runs(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=3, minutes=14)
    world.daemon().round()
    assert world.lines() == ["11-22 02:00 runs"]


def test_one_that_is_over_is_put_on_record_as_missed_with_its_reason(world: ClockWorld) -> None:
    world.daemon().round()
    world.wall.pass_(hours=3, minutes=15)  # 04:15 is its cutoff
    daemon = world.daemon()
    daemon.round()
    (occurrence,) = world.occurrences()
    assert occurrence.missed == "the controller was down from 2026-11-22 01:00 UTC to 2026-11-22 04:15 UTC"
    records = world.work(daemon)
    (request,) = world.requests()
    assert records[request.id].reason == occurrence.missed


def test_what_nobody_was_away_for_was_missed_for_another_reason(world: ClockWorld) -> None:
    daemon = world.daemon()
    for _ in range(5):
        world.wall.pass_(minutes=59)
        daemon.pulse.beat()
    daemon.round()
    (occurrence,) = world.occurrences()
    assert occurrence.missed == (
        "mainstay was busy, or its clock was moved: its window was over when it came to it, at 2026-11-22 05:55 UTC"
    )


def test_a_week_away_from_every_hour_is_a_record_for_each(tmp_path: Path) -> None:
    world = frequent(tmp_path)
    world.daemon().round()
    world.wall.pass_(days=7, minutes=-5)
    world.daemon().round()
    lines = world.lines()
    assert len(lines) == 168
    assert sum(line.endswith("missed") for line in lines) == 167
    assert lines[-1] == "11-29 01:00 runs"
    assert "its work is done by the next occurrence" in world.occurrences()[0].missed


def test_of_more_than_can_have_a_record_each_one_more_stands_for_the_rest(tmp_path: Path) -> None:
    world = frequent(tmp_path)
    world.daemon().round()
    world.wall.pass_(days=30, minutes=25)  # 01:35: the last is over too
    world.daemon().round()
    found = world.occurrences()
    assert len(found) == MOST + 1
    last = found[-1]
    assert last.missed.startswith(f"{720 - MOST} occurrences in a row were missed: the controller was down from")
    assert last.through == "2026-12-22T01:00:00.000Z"
    assert world.store.watermarks() == {"patch/hourly": last.through}


def test_what_the_record_of_the_rest_does_not_stand_for_is_put_down_beside_it(tmp_path: Path) -> None:
    """The record was put down by a daemon that died before it moved the watermark; time has gone on since."""
    world = frequent(tmp_path)
    world.daemon().round()
    world.wall.pass_(days=20, minutes=25)
    daemon = world.daemon()
    real = world.store.advance
    world.store.advance = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        daemon.round()
    world.store.advance = real  # type: ignore[method-assign]
    world.wall.pass_(hours=5)
    world.daemon().round()
    found = world.occurrences()
    assert len(found) == MOST + 1 + 5
    assert found[MOST].through == "2026-12-12T01:00:00.000Z"
    assert [one.at[5:16] for one in found[MOST + 1 :]] == [f"12-12T0{hour}:00" for hour in range(2, 7)]
    assert not any(one.through for one in found[MOST + 1 :])


def test_what_the_record_of_the_rest_stands_for_does_not_run_late_as_well(tmp_path: Path) -> None:
    """Put down by a daemon that died before it moved the watermark; another window of the plan has opened since."""

    noon = "{on: daily, start: '12:40', duration: 1h, cutoff: 10m}"
    plan = "{targets: all, window: [hourly, noon], missed: 'run-if-late: 6h'}"
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"hourly": HOURLY, "noon": noon}, {"patch": plan})
    world.daemon().round()
    world.wall.pass_(days=20, hours=11, minutes=35)
    daemon = world.daemon()
    real = world.store.advance
    world.store.advance = lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        daemon.sweeper.sweep("patch/hourly")
    world.store.advance = real  # type: ignore[method-assign]
    assert world.occurrences()[MOST].through == "2026-12-12T12:00:00.000Z"
    world.wall.pass_(minutes=10)
    world.daemon().round()
    assert [line for line in world.lines("patch/hourly") if "missed" not in line] == []


def test_run_if_late_runs_in_another_window_that_is_open(tmp_path: Path) -> None:
    windows = {"night": NIGHT, "noon": '{on: daily, start: "11:00", duration: 2h}'}
    plan = "{targets: all, window: [night, noon], missed: 'run-if-late: 10h'}"
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", windows, {"patch": plan})
    world.daemon().round()
    world.wall.pass_(hours=10, minutes=30)
    world.daemon().round()
    assert world.lines("patch/night") == ["11-22 02:00 late"]
    assert world.lines("patch/noon") == ["11-22 11:00 runs"]


@pytest.mark.parametrize(("hours", "limit"), [(8, "10h"), (11, "9h")], ids=["no window open", "too late"])
def test_run_if_late_is_missed_where_no_window_is_open_or_it_is_too_late(
    tmp_path: Path, hours: int, limit: str
) -> None:
    windows = {"night": NIGHT, "noon": '{on: daily, start: "11:00", duration: 2h}'}
    plan = f"{{targets: all, window: [night, noon], missed: 'run-if-late: {limit}'}}"
    world = ClockWorld(tmp_path, "2026-11-22T01:00:00Z", windows, {"patch": plan})
    world.daemon().round()
    world.wall.pass_(hours=hours)
    world.daemon().round()
    assert world.lines("patch/night") == ["11-22 02:00 missed"]
    (occurrence,) = (one for one in world.occurrences() if one.window == "night")
    assert f"no other window of the plan was open for it within {limit}" in occurrence.missed


def test_of_several_that_could_run_late_the_newest_does(tmp_path: Path) -> None:
    windows = {"hourly": HOURLY, "day": '{on: daily, start: "08:00", duration: 4h}'}
    plan = "{targets: all, window: [hourly, day], missed: 'run-if-late: 6h'}"
    world = ClockWorld(tmp_path, "2026-11-22T05:10:00Z", windows, {"patch": plan})
    world.daemon().round()
    world.wall.pass_(hours=4, minutes=30)
    world.daemon().round()
    assert world.lines("patch/hourly") == [
        "11-22 06:00 missed",
        "11-22 07:00 missed",
        "11-22 08:00 missed",
        "11-22 09:00 late",
    ]


def test_next_window_leaves_the_work_to_the_next_opening(tmp_path: Path) -> None:
    world = frequent(tmp_path, "next-window")
    world.daemon().round()
    world.wall.pass_(hours=2, minutes=25)
    daemon = world.daemon()
    daemon.round()
    assert world.lines() == ["11-22 02:00 missed", "11-22 03:00 missed"]
    assert world.occurrences()[0].missed.endswith("its work is left to the next opening")
    world.wall.pass_(minutes=25)
    daemon.round()
    assert world.lines()[-1] == "11-22 04:00 runs"

"""Only a lock that can be tied to a run of ours that has ended may go."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.unit.recovery.points import NOW

from mainstay.recovery.restic.replies import Lock
from mainstay.recovery.tending.locks import Judged, Worked, judge


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def run(began: float, ended: float | None, machine: str = "web1") -> Worked:
    """Of ours, so many minutes ago."""
    return Worked("R1", frozenset({machine}), ago(began), None if ended is None else ago(ended))


def lock(minutes: float, machine: str = "web1") -> Lock:
    return Lock(id="a" * 64, at=ago(minutes).isoformat(), host=machine, user="root", pid=4711)


def judged(one: Lock, *worked: Worked) -> Judged:
    (found,) = judge([one], worked, NOW)
    return found


def test_a_lock_of_a_run_that_died_an_hour_ago_is_its_own() -> None:
    found = judged(lock(70), run(80, 60))
    assert (found.standing, found.stale) == ("dead", True)
    assert found.why == "left by run R1, which has ended (root on web1, process 4711, 1 h 10 min ago)"


@pytest.mark.parametrize(
    ("one", "worked"),
    [
        (lock(70, "desk"), run(80, 60)),
        (lock(70), run(60, 50)),
        (lock(70), run(200, 100)),
        (lock(70), run(80, 60, "web2")),
    ],
    ids=["of another machine", "before the run", "refreshed long after the run", "of a run elsewhere"],
)
def test_a_lock_that_no_run_of_ours_can_have_left_is_foreign(one: Lock, worked: Worked) -> None:
    assert judged(one, worked).standing == "foreign"


def test_a_lock_is_live_while_its_run_is_at_work_however_old_it_is() -> None:
    assert judged(lock(70), run(80, None)).standing == "live"


def test_a_young_lock_may_be_alive_although_a_run_of_ours_has_ended_since() -> None:
    # Somebody who works there by hand took it during our run: a live one is refreshed every five minutes.
    assert judged(lock(14), run(20, 10)).standing == "live"
    assert judged(lock(16), run(20, 10)).standing == "dead"


def test_a_lock_that_cannot_be_read_is_foreign_and_an_alarm() -> None:
    found = judged(Lock(id="b" * 64, at=""), run(80, 60))
    assert (found.standing, found.stale) == ("foreign", True)


def test_a_foreign_lock_is_an_alarm_once_restic_calls_it_stale() -> None:
    assert not judged(lock(29, "desk")).stale
    assert judged(lock(31, "desk")).stale

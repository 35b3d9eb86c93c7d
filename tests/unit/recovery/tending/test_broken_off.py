"""Retention that is broken off at any of its writes: nothing of ours is taken for lost afterwards, and what is lost still is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.recovery.points import NOW, before, proof
from tests.unit.recovery.tending.desk import WEB1, World, plan
from tests.unit.recovery.tending.dying import Died, Dying, Fate

from mainstay.recovery.depot import Depot
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import ResticError
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.retention import RetentionErrand, may_do
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

TWO = {"retention": {"last": 2}}


def filled() -> Dying:
    """Four points, of which two are to go."""
    world = Dying()
    made = [world.backup(before(days=days)) for days in (4, 3, 2, 1)]
    world.points.add_proof(proof(made[-1], before(hours=1)))
    return world


def retention(world: Dying, run: str = "RUN") -> str:
    return world.do(RetentionErrand(plan(**TWO), "main", world.depot), run)


def moments() -> list[str]:
    world = filled()
    assert retention(world) == "2 points removed, 2 kept"
    return world.fate.met


def test_there_are_moments_to_die_at() -> None:
    """What this file tries is what retention does: an intent, the removal, and that it was done."""
    assert [one for one in moments() if one.startswith(("after", "within"))] == [
        "after mark_going 1",
        "after mark_going 2",
        "within forget 1",
        "after forget 1",
        "after mark_removed 1",
        "after mark_removed 2",
        "after note_tended 1",
    ]


@pytest.mark.parametrize("at", moments())
@pytest.mark.parametrize("resumed", [True, False], ids=["taken up again", "given up"])
def test_wherever_it_dies_the_next_one_ends_it_and_raises_no_alarm(at: str, resumed: bool) -> None:
    world = filled()
    world.fate, world.kept = Fate(at), {}
    with pytest.raises(Died):
        retention(world)
    world.fate = Fate()
    if not resumed:
        world.kept, world.later = None, timedelta(days=1)
    retention(world, "RUN" if resumed else "RUN2")
    assert world.concerns() == []
    there = [one.id for one in world.points.points()]
    assert sorted(there) == sorted(world.repository().snapshots) and len(there) == 2
    gone = [one for one in world.points.points(removed=True) if one.removed_at]
    assert {one.removed_by for one in gone} <= {"RUN", "RUN2"} and len(gone) == 2
    assert not any(one.removed_by for one in world.points.points())


def test_who_had_removed_them_is_said_and_stays_written_down() -> None:
    world = filled()
    world.fate = Fate("after forget 1")
    with pytest.raises(Died):
        retention(world)
    assert [one.removed_by for one in world.points.points()] == ["RUN", "RUN", None, None]
    world.fate = Fate()
    assert retention(world, "RUN2") == "0 points removed, 2 kept"
    assert world.ios["decide"].notes == [
        "2 points had been removed by run RUN, which was broken off before it could write that down"
    ]
    assert {one.removed_by for one in world.points.points(removed=True) if one.removed_at} == {"RUN"}


def test_a_preview_says_what_is_missing_and_what_can_not_be_foreseen_and_neither_counts_as_nothing() -> None:
    world = filled()
    one = RetentionErrand(plan(**TWO), "main", world.depot)
    world.fate = Fate("within forget 1")
    with pytest.raises(Died):
        retention(world)
    newest = world.points.points()[-1]
    del world.repository().snapshots[newest.id]
    foreseen = one.preview(WEB1, NOW.timestamp())
    assert f"1 point gone from the repository without mainstay: etc {newest.id[:12]}" in " ".join(foreseen.notes)
    assert "1 point had been removed by run RUN, which was broken off" in " ".join(foreseen.notes)
    assert may_do(foreseen)
    retention(world, "RUN2")
    assert not may_do(one.preview(WEB1, NOW.timestamp()))
    world.repository().passwords.clear()
    assert may_do(one.preview(WEB1, NOW.timestamp()))


def test_what_somebody_else_removes_later_is_still_an_alarm() -> None:
    """One run was about to remove it and did not; the next one did not want to; then it was lost."""
    world = filled()
    oldest = world.points.points()[0]
    world.fate = Fate("before forget 1")
    with pytest.raises(Died):
        retention(world)
    world.fate = Fate()
    odd = world.backup(before(), anomalies=("90 % less",), verdict=Verdict.DEGRADED)
    assert retention(world, "RUN2").startswith("0 points removed")
    del world.repository().snapshots[oldest.id]
    world.points.acknowledge(Ack(odd.run, "", "", "anna", before(), "moved"))
    retention(world, "RUN3")
    assert "1 point gone from the repository without mainstay" in world.concerns()[0]


def test_a_copy_that_retention_was_broken_off_in_removing_is_not_made_again() -> None:
    world = filled()
    world.repository("away")
    declared = plan(copies=["away"], **TWO)
    world.do(CopyErrand(declared, "away", world.depot))
    world.fate = Fate("after forget 1")
    with pytest.raises(Died):
        world.do(RetentionErrand(declared, "away", world.depot))
    world.fate = Fate()
    assert world.do(CopyErrand(declared, "away", world.depot)) == "nothing to copy"
    assert len(world.repository("away").snapshots) == 2


def test_after_a_forget_that_failed_in_the_midst_the_points_are_shown_as_they_are() -> None:
    world = Failing()
    made = [world.backup(before(days=days)) for days in (3, 2, 1)]
    world.points.add_proof(proof(made[-1], before(hours=2)))
    with pytest.raises(Stopped, match="the storage is away"):
        world.do(RetentionErrand(plan(retention={"last": 1}), "main", world.depot))
    known = {one.id: (one.removed_at is not None, one.removed_by) for one in world.points.points(removed=True)}
    there = set(world.repository().snapshots)
    assert len(there) == 2 and made[-1].id in there
    assert known == {one.id: (False, None) if one.id in there else (True, "RUN") for one in made}


class Failing(World):
    """Its repository removes one snapshot, and then fails."""

    @property
    def depot(self) -> Depot:
        def opened(access: Access) -> Any:
            made = self.memory.open(access)
            forget = made.forget

            def one(ids: Sequence[str]) -> list[str]:
                forget(ids[:1])
                raise ResticError(access, "the storage is away")

            made.forget = one  # type: ignore[method-assign]  # fails
            return made

        return replace(super().depot, restic=opened)

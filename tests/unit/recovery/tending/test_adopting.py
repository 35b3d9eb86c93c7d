"""What a controller that is lost has left in a repository, taken over by another one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.recovery.points import before
from tests.unit.recovery.tending.desk import WEB1, World, plan

from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.making import InitErrand
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

SAID = {"plan": "nightly", "source": "db", "item": "a%2Cb", "run": "OLDRUN", "state": "OLDSTATE"}


@pytest.fixture
def world() -> World:
    return World()


def left(world: World, days: int, name: str = "main", tree: dict[str, bytes] | None = None, **said: str) -> str:
    """A snapshot as another controller's backup leaves it. Returns its id."""
    tags = ["mainstay", *(f"{key}={value}" for key, value in {**SAID, **said}.items() if value)]
    return world.repository(name).back_up(tree or {"/dump": b"data"}, host="web1", tags=tags, at=before(days=days))


def adopt(world: World, repository: str = "main", **more: Any) -> str:
    errand = InitErrand(
        plan(copies=["away"], **more),
        repository,
        world.depot,
        adopt=True,
        ours=lambda run: run == "OURS",
        state="STATE",
    )
    known = world.points.points()
    (foretold,) = errand.preview(WEB1, 0.0).notes
    assert world.points.points() == known
    said = world.do(errand, "RUN")
    assert foretold.replace("takes over", "took over") == said
    return said


def test_its_points_are_known_again_as_their_tags_say_and_none_as_one_that_succeeded(world: World) -> None:
    ids = [left(world, 3), left(world, 1)]
    said = adopt(world)
    assert said == f"took over 2 points, {before(days=3)[:10]} to {before(days=1)[:10]}"
    old, new = world.points.points()
    assert [old.id, new.id] == ids
    assert (new.host, new.plan, new.unit, new.run, new.repository) == ("web1", "nightly", "db/a,b", "OLDRUN", "main")
    assert (new.verdict, new.bytes, new.at, new.measures["adopted"]) == (Verdict.DEGRADED, 4, before(days=1), "RUN")
    vault = world.points.vault("main", "web1")
    assert vault is not None
    assert (vault.id, vault.made_by) == (world.repository().id, "")
    assert adopt(world).startswith("no point")
    assert len(world.points.points()) == 2


def test_what_is_no_point_of_another_controllers_stays_what_it_is(world: World) -> None:
    left(world, 9, run="OURS", state="STATE")  # what a failed backup of ours left
    left(world, 8, run="OURS", state="")
    left(world, 7, plan="weekly")
    left(world, 6, tree={"/dump": b""})
    world.repository().back_up({"/x": b"x"}, host="web1", at=before(days=5))
    world.repository().back_up({"/x": b"x"}, host="web2", tags=["mainstay", "plan=nightly", "source=db"])
    ours = left(world, 4, run="FORGOTTEN", state="STATE")  # of a state that was put back to what it had been before
    theirs = left(world, 3, run="OURS")  # runs of one schedule have the same ids everywhere
    adopt(world)
    assert [one.id for one in world.points.points()] == [ours, theirs]


def test_those_of_a_plan_that_was_renamed_are_this_plans(world: World) -> None:
    id = left(world, 1, plan="web-files")
    adopt(world, renamed_from="web-files")
    assert [(one.id, one.plan) for one in world.points.points()] == [(id, "nightly")]


def test_a_copy_is_known_as_one_and_not_made_again(world: World) -> None:
    id = left(world, 1)
    first, second = world.repository(), world.repository("away")
    assert first is not second
    copy = left(world, 1, "away")
    second.snapshots[copy] = second.snapshots[copy].model_copy(update={"original": id})
    adopt(world)
    adopt(world, "away")
    assert {(one.repository, one.copy_of) for one in world.points.points()} == {("main", None), ("away", id)}
    assert CopyErrand(plan(copies=["away"]), "away", world.depot).waiting("web1") == []


def test_where_there_is_none_nothing_is_made(world: World) -> None:
    errand = InitErrand(plan(), "main", world.depot, adopt=True)
    with pytest.raises(Stopped, match="no repository at /srv/web1 to take points over from") as stopped:
        world.do(errand)
    assert stopped.value.verdict is Verdict.REFUSED
    assert world.memory.repositories == {}
    assert "no repository" in errand.preview(WEB1, 0.0).notes[0]


def test_who_only_takes_the_repository_is_told_of_them(world: World) -> None:
    left(world, 1)
    said = world.do(InitErrand(plan(), "main", world.depot))
    assert said.endswith("1 point in it is not known here: mainstay repo init nightly --adopt takes it over")
    assert world.points.points() == []


def test_one_without_a_date_is_left_and_spoils_nothing(world: World) -> None:
    undated, good = left(world, 2), left(world, 1)
    there = world.repository().snapshots
    snapshot = there[undated]
    assert snapshot.summary is not None
    there[undated] = snapshot.model_copy(
        update={"at": "", "summary": snapshot.summary.model_copy(update={"began_at": ""})}
    )
    adopt(world)
    assert [one.id for one in world.points.points()] == [good]

"""Points of a plan that is no more: what goes where somebody asks for it, and what stays all the same."""

from __future__ import annotations

import pytest
from tests.unit.recovery.points import before, proof
from tests.unit.recovery.tending.desk import World, plan
from tests.unit.recovery.tending.dying import Died, Dying, Fate

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.retention.clearing import Clearing
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.runner.verdict import Verdict


def clear(world: World, days: float, everything: bool = False, run: str = "RUN") -> str:
    asked = Clearing(before=before(days=days), all=everything).to_json()
    data = {"plan": plan(prove=None).to_json(), "repository": "main", "clearing": asked}
    return world.do(RetentionErrand.tied(data, world.depot, lambda run, host: None, ""), run)


def filled(world: World) -> list[RecoveryPoint]:
    made = [world.backup(before(days=days)) for days in (400, 300, 200, 100)]
    world.points.add_proof(proof(made[1], before(days=299)))
    return made


def there(world: World) -> list[str]:
    assert {one.id for one in world.points.points()} == set(world.repository().snapshots)
    return [one.at[:10] for one in world.points.points()]


def test_what_is_from_before_goes_but_for_the_newest_good_and_the_newest_proved_ones() -> None:
    world = World()
    made = filled(world)
    assert clear(world, 150) == "2 points removed, 2 kept"
    assert {one.id for one in world.points.points()} == {made[1].id, made[3].id}
    assert clear(world, 0) == "0 points removed, 2 kept"
    assert there(world) == [made[1].at[:10], made[3].at[:10]]


def test_all_of_it_goes_where_that_is_said() -> None:
    world = World()
    filled(world)
    assert clear(world, 150, everything=True) == "3 points removed, 1 kept"
    assert clear(world, 0, everything=True) == "1 point removed, 0 kept"
    assert there(world) == []


def test_what_holds_that_very_moment_stays() -> None:
    world = World()
    made = filled(world)
    clear(world, 300, everything=True)
    assert there(world) == [one.at[:10] for one in made[1:]]


@pytest.mark.parametrize("everything", [True, False])
def test_an_anomaly_keeps_them_until_somebody_has_looked(everything: bool) -> None:
    world = World()
    filled(world)
    odd = world.backup(before(days=90), anomalies=("90 % less",), verdict=Verdict.DEGRADED)
    assert clear(world, 0, everything).startswith("0 points removed, 5 kept")
    assert "nobody has acknowledged" in world.concerns()[0]
    world.points.acknowledge(Ack(odd.run, "", "", "anna", before(), "it is no more"))
    assert clear(world, 0, everything) == ("5 points removed, 0 kept" if everything else "3 points removed, 2 kept")


def test_points_of_other_plans_and_snapshots_of_others_stay() -> None:
    world = World()
    filled(world)
    other = world.backup(before(days=350), plan="weekly")
    foreign = world.repository().back_up({"/x": b"x"}, host="web1", at=before(days=400))
    clear(world, 0, everything=True)
    assert set(world.repository().snapshots) == {other.id, foreign}


def test_broken_off_it_leaves_no_alarm() -> None:
    world = Dying()
    filled(world)
    world.fate = Fate("within forget 1")
    with pytest.raises(Died):
        clear(world, 150)
    world.fate = Fate()
    clear(world, 150, run="RUN2")
    assert world.concerns() == []
    assert len(there(world)) == 2

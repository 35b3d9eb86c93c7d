"""A plan that was renamed: its points are its own under the new name."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.keeping import SITE
from tests.unit.recovery.points import NOW, before, point, proof
from tests.unit.recovery.tending.desk import WEB1, World, plan
from ulid import ULID

from mainstay.recovery.freshness import exposures
from mainstay.recovery.loading import renames
from mainstay.recovery.points.contract import Tended
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.points.renamed import RenamedPoints
from mainstay.recovery.tending.due import due
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.runner.verdict import Verdict
from mainstay.schedules.check import check_site

NAMES = {"older": "nightly", "old": "nightly"}


def store() -> tuple[MemoryPoints, RenamedPoints]:
    below = MemoryPoints()
    return below, RenamedPoints(below, lambda: NAMES)


def test_points_and_proofs_of_the_old_names_are_told_under_the_new_one_and_stay_as_they_are() -> None:
    below, points = store()
    made = [point(before(days=days), plan=name) for days, name in ((3, "older"), (2, "old"), (1, "nightly"))]
    for one in made:
        below.add_point(one)
    below.add_proof(proof(made[1], before(days=2)))
    below.add_point(point(before(days=1), plan="weekly"))
    assert [(one.id, one.plan) for one in points.points(plan="nightly")] == [(one.id, "nightly") for one in made]
    assert {one.plan for one in points.points()} == {"nightly", "weekly"}
    assert [one.id for one in points.newest(plan="nightly")] == [made[2].id], "one group, not one for each name"
    assert len(points.newest()) == 2
    assert [one.plan for one in points.newest_proofs(plan="nightly")] == ["nightly"]
    assert [one.plan for one in points.find(made[0].id)] == ["nightly"]
    assert [one.id for one in points.proved(plan="nightly")] == [made[1].id]
    assert [one.plan for one in below.points(plan="older")] == ["older"]


def test_freshness_goes_on_under_the_new_name() -> None:
    below, points = store()
    below.add_point(point(before(hours=5), plan="old"))
    (one,) = exposures(points.newest(), points.newest_proofs(), NOW, declared={("web1", "nightly", "etc")})
    assert one.since_newest == 5 * 3600


def test_of_what_was_done_under_two_names_the_last_counts() -> None:
    below, points = store()
    below.add_point(point(before(hours=5), plan="old"))
    for name, hours in (("old", 3), ("older", 40)):
        below.note_tended(Tended("main", "web1", "retention", name, "", "R", before(hours=hours), "succeeded"))
    assert [(one.subject, one.at) for one in points.tended()] == [("nightly", before(hours=3))]
    whats = [one.what for one in due(plan(retention={"last": 1}), [WEB1], points, NOW)]
    assert whats == ["prune", "check"]


@pytest.mark.parametrize(("proved", "left"), [(True, 2), (False, 4)])
def test_retention_goes_on_with_as_many_proved_points_as_promised(proved: bool, left: int) -> None:
    world = World()
    made = [world.backup(before(days=days), plan="old") for days in (4, 3, 2)]
    made.append(world.backup(before(days=1)))
    if proved:
        world.points.add_proof(proof(made[1], before(days=3)))
    world.points = RenamedPoints(world.points, lambda: NAMES)  # type: ignore[assignment]
    world.do(RetentionErrand(plan(retention={"last": 1}, renamed_from=["old", "older"]), "main", world.depot))
    assert len(world.repository().snapshots) == left
    if proved:
        assert set(world.repository().snapshots) == {made[1].id, made[3].id}


def test_what_was_handed_over_stays_when_the_old_name_is_taken_out_and_given_to_another_plan() -> None:
    world = World()
    made = [world.backup(before(days=days), plan="old") for days in (4, 3, 2)]
    world.points.add_proof(proof(made[2], before(days=1)))
    names = {"old": "nightly"}
    below, points = world.points, RenamedPoints(world.points, lambda: names)
    world.points = points  # type: ignore[assignment]  # the product's own
    assert [one.plan for one in below.points()] == ["old"] * 3, "nothing is handed over by looking"
    world.do(RetentionErrand(plan(retention={"last": 2}, renamed_from=["old"]), "main", world.depot))
    assert [one.plan for one in below.points()] == ["nightly"] * 2

    names.clear()  # renamed_from: is gone, and there is a new plan of the old name
    points.add_point(fresh := point(before(hours=1), plan="old", source="opt"))
    assert [one.id for one in points.points(plan="nightly")] == [one.id for one in made[1:]]
    assert [one.id for one in points.points(plan="old")] == [fresh.id]
    assert [one.plan for one in points.proofs()] == ["nightly"]
    assert [(one.what, one.subject) for one in points.tended()] == [("retention", "nightly")]
    other = plan(name="old", sources={"opt": {"paths": "/opt"}}, retention={"last": 1})
    assert world.do(RetentionErrand(other, "main", world.depot)) == "0 points removed, 0 kept"
    assert set(world.repository().snapshots) == {one.id for one in made[1:]}


@pytest.mark.parametrize("how", ["point", "proof", "tended"])
def test_whatever_is_written_first_under_the_new_name_hands_them_over(how: str) -> None:
    below, points = store()
    below.add_point(old := point(before(days=2), plan="older"))
    new = point(before(days=1))
    if how == "point":
        points.add_point(new)
    elif how == "proof":
        points.add_proof(proof(new, before()))
    else:
        points.note_tended(Tended("main", "web1", "retention", "nightly", "", "R", before(), "succeeded"))
    assert below.points(plan="nightly")[0].id == old.id
    assert below.points(plan="older") == []


def test_a_process_hands_over_once_so_that_one_with_an_older_site_takes_nothing_from_a_new_plan() -> None:
    below, points = store()
    below.add_point(point(before(days=2), plan="older"))
    points.hand_over("older", "nightly")
    below.add_point(fresh := point(before(days=1), plan="older", source="opt"))
    points.hand_over("older", "nightly")
    points.add_point(point(before()))
    assert [one.id for one in below.points(plan="older")] == [fresh.id]


def test_what_is_written_for_another_plan_hands_nothing_over() -> None:
    below, points = store()
    below.add_point(point(before(days=2), plan="older"))
    points.add_point(point(before(days=1), plan="weekly"))
    assert [one.plan for one in below.points()] == ["older", "weekly"]


def test_what_a_failed_backup_left_under_the_old_name_goes_too() -> None:
    world = World()
    tags = ["mainstay", "run=R1", "plan=old", "source=etc"]
    stray = world.repository().back_up({"/x": b"x"}, host="web1", tags=tags, at=before(days=3))
    world.backup(before(days=1))
    for names, there in (((), True), (("old",), False)):
        data = {"plan": plan(retention={"last": 1}, renamed_from=names).to_json(), "repository": "main"}
        world.do(RetentionErrand.tied(data, world.depot, lambda run, host: Verdict.FAILED, "OURS"))
        assert (stray in world.repository().snapshots) is there


def checked(tmp_path: Path, more: str) -> tuple[Any, list[str]]:
    files = SITE | {"schedules/backup.yml": SITE["schedules/backup.yml"] + more}
    files |= {"mainstay.yml": "site: acme\nssh: {key: file:secrets/key}\n"}
    files |= {"inventory/hosts.yml": "hosts: {web1: {address: 10.0.0.1, tags: {role: web}}}\n"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    for name in ("secrets/key", "keys/web1", "keys/web1-offsite"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o600)
    loaded, errors, _ = check_site(tmp_path)
    return loaded, [f"{one.key}: {one.message}" for one in errors]


SECOND = (
    "  weekly:\n    kind: backup\n    targets: role=web\n    repository: main\n    sources: {opt: {paths: [/opt]}}\n"
)


def test_a_name_or_names_in_the_plan(tmp_path: Path) -> None:
    loaded, errors = checked(tmp_path, "    renamed_from: before\n")
    assert errors == []
    assert renames(loaded.plans.values()) == {"before": "nightly"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("    renamed_from: nightly\n", "is its name now"),
        (f"    renamed_from: [weekly]\n{SECOND}", "is a plan of the site still"),
        (f"    renamed_from: old\n{SECOND}    renamed_from: old\n", "are those of nightly already"),
    ],
)
def test_a_name_that_is_not_free_is_an_error_at_its_place(tmp_path: Path, more: str, said: str) -> None:
    _, errors = checked(tmp_path, more)
    assert len(errors) == 1
    assert "renamed_from: " in errors[0]
    assert said in errors[0]


def test_the_answers_are_in_order_whatever_name_they_had() -> None:
    below, points = store()
    for number, name in enumerate(("nightly", "old", "older", "nightly")):
        below.add_point(point((NOW + timedelta(hours=number)).isoformat(), plan=name))
    ats = [one.at for one in points.points(plan="nightly")]
    assert ats == sorted(ats)
    assert len(ats) == 4


def at_run(moment: datetime) -> str:
    return str(ULID.from_datetime(moment))


def test_another_process_with_an_older_site_takes_nothing_from_a_new_plan_of_the_old_name() -> None:
    """The daemon is started again in a folder where `renamed_from:` still stands, after a new plan was given the old name."""
    below, first = MemoryPoints(), timedelta(hours=5)
    below.add_point(old := point(before(days=2), plan="old", run=at_run(NOW - timedelta(days=2))))
    RenamedPoints(below, lambda: {"old": "nightly"}, lambda: NOW - first).hand_over("old", "nightly")
    late = point(before(hours=4), plan="old", run=at_run(NOW - timedelta(hours=6)), source="etc")
    fresh = point(before(hours=3), plan="old", run=at_run(NOW - timedelta(hours=3)), source="opt")
    for one in (late, fresh):
        below.add_point(one)
        below.add_proof(proof(one, before()).model_copy(update={"run": one.run}))
    below.note_tended(Tended("main", "web1", "retention", "old", "", fresh.run, before(hours=2), "succeeded"))
    again = RenamedPoints(below, lambda: {"old": "nightly"}, lambda: NOW)
    for _ in range(2):
        assert [one.id for one in again.points(plan="nightly")] == [old.id, late.id]
        assert [one.id for one in again.newest(plan="nightly")] == [late.id]
        assert {(one.id, one.plan) for one in again.points()} == {
            (old.id, "nightly"),
            (late.id, "nightly"),
            (fresh.id, "old"),
        }
        assert [(one.what, one.subject) for one in again.tended()] == [("retention", "old")]
        again.add_point(point(before(hours=4), plan="nightly", id=late.id))
    assert {(one.source, one.plan) for one in below.points()} == {("etc", "nightly"), ("opt", "old")}
    assert sorted(one.plan for one in below.proofs()) == ["nightly", "old"]


def test_a_plan_that_gets_its_old_name_back_and_the_new_one_again_takes_all_along() -> None:
    below = MemoryPoints()
    moments = (NOW - timedelta(hours=hours) for hours in (9, 6, 3))
    for old, new, moment in zip(("a", "b", "a"), ("b", "a", "b"), moments, strict=True):
        made = point(moment.isoformat(), plan=old, run=at_run(moment))
        below.add_point(made)
        later = moment + timedelta(hours=1)
        RenamedPoints(below, {old: new}.copy, lambda at=later: at).hand_over(old, new)  # type: ignore[misc]
    assert [one.plan for one in below.points()] == ["b", "b", "b"]


def test_the_store_is_asked_once_for_all_points_of_an_old_name_whether_they_are_still_its(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    below, points = store()
    for hours in range(1, 9):
        below.add_point(point(before(hours=hours), plan="old"))
    asked: list[str | None] = []
    tended = below.tended

    def counted(**which: Any) -> list[Tended]:
        asked.append(which.get("part"))
        return tended(**which)

    monkeypatch.setattr(below, "tended", counted)
    assert {one.plan for one in points.points()} == {"nightly"}
    assert asked == ["old"]

"""Decisions that have grown old, snapshots that are no points, exchanged repositories, and what is noted of what went wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.recovery.points import NOW, before, proof
from tests.unit.recovery.tending.desk import WEB1, World, plan

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack, Tended, Vault
from mainstay.recovery.restic.contract import Locked
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.errand import CANCELLED, FAILED, note
from mainstay.recovery.tending.retention import NO_POINT, RetentionErrand
from mainstay.recovery.tending.upkeep import CheckErrand, PruneErrand
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.ports import Quiet, SystemClock
from mainstay.runner.steps import Recorder, StepIO, Stopped
from mainstay.runner.verdict import Verdict

TWO = {"retention": {"last": 2}}


@pytest.fixture
def world() -> World:
    return World()


class Held(World):
    """Something happens between what was decided and its carrying out."""

    meanwhile: Callable[[], Any] = staticmethod(lambda: None)

    def _step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        if name == "forget":
            self.meanwhile()
        return super()._step(name, work)


def three(world: World) -> list[RecoveryPoint]:
    made = [world.backup(before(days=days)) for days in (3, 2, 1)]
    world.points.add_proof(proof(made[-1], before(hours=1)))
    return made


def test_an_anomaly_that_came_after_the_decision_keeps_what_was_to_go() -> None:
    world = Held()
    three(world)
    world.meanwhile = lambda: world.backup(before(), anomalies=("90 % less",), verdict=Verdict.DEGRADED)
    said = world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert said == "0 points removed, 3 kept"
    assert len(world.repository().snapshots) == 4
    assert [one.removed_at for one in world.points.points(removed=True)] == [None] * 4
    assert "nobody has acknowledged" in world.concerns()[0]
    assert "1 point that were to go stay" in " ".join(world.ios["forget"].notes)


def test_points_that_vanished_after_the_decision_do_not_take_the_good_ones_with_them() -> None:
    world = Held()
    old, newer, newest = three(world)

    def lose() -> None:
        for one in (newer, newest):
            del world.repository().snapshots[one.id]

    world.meanwhile = lose
    world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert list(world.repository().snapshots) == [old.id]


def test_another_repository_that_came_after_the_decision_is_left_alone() -> None:
    world = Held()
    three(world)
    world.points.note_vault(Vault("main", "web1", world.repository().id))
    world.meanwhile = lambda: setattr(world.repository(), "id", "another")
    with pytest.raises(Stopped, match="another one than before"):
        world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert len(world.repository().snapshots) == 3


def test_what_was_removed_before_a_crash_is_marked_as_removed_by_the_run() -> None:
    world = Held()
    old, *_ = three(world)
    world.meanwhile = lambda: world.repository().snapshots.pop(old.id)
    assert world.do(RetentionErrand(plan(**TWO), "main", world.depot)) == "1 point removed, 2 kept"
    (gone,) = (one for one in world.points.points(removed=True) if one.removed_at)
    assert (gone.id, gone.removed_by) == (old.id, "RUN")


def test_a_point_that_would_go_by_now_and_was_not_decided_waits_for_the_next_time() -> None:
    world = Held()
    old, newer, newest = three(world)
    world.meanwhile = lambda: world.points.add_proof(proof(world.backup(before()), before()))
    world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert {newer.id, newest.id} < set(world.repository().snapshots)
    assert old.id not in world.repository().snapshots


# --- snapshots that are no points


def left(world: World, days: float = 2, run: str = "R1", *tags: str, place: str = "main") -> str:
    mine = ("mainstay", f"run={run}", *(tags or ("plan=nightly", "source=etc")))
    return world.repository(place).back_up({"/etc/x": b"x"}, host="web1", tags=mine, at=before(days=days))


def errand(world: World, place: str = "main", ended: Verdict | None = Verdict.FAILED, **more: Any) -> RetentionErrand:
    data = {"plan": plan(**(TWO | more)).to_json(), "repository": place}
    ends = {("R1", "web1"): ended}
    return RetentionErrand.tied(data, world.depot, lambda run, host: ends.get((run, host)), "OURS")


def kept(world: World, one: RetentionErrand) -> set[str]:
    world.do(one)
    return set(world.repository().snapshots)


def test_what_a_failed_backup_left_is_shown_and_removed_by_its_id(world: World) -> None:
    points = three(world)
    stray, foreign = left(world), world.repository().back_up({"/x": b"x"}, host="web1", at=before(days=400))
    one = errand(world)
    foreseen = one.preview(WEB1, NOW.timestamp())
    assert [item for item in foreseen.items if item[0].startswith(NO_POINT)] == [
        (f"{NO_POINT}etc {stray[:12]}", before(days=2), "")
    ]
    assert "1 snapshot not of mainstay: never touched" in foreseen.notes
    assert world.do(one) == "1 point removed, 2 kept, 1 snapshot that is no point removed"
    assert set(world.repository().snapshots) == {points[1].id, points[2].id, foreign}
    assert any("run R1: goes" in said for said in world.ios["decide"].notes)


@pytest.mark.parametrize("ended", [None, Verdict.UNKNOWN, Verdict.SUCCEEDED, Verdict.DEGRADED])
def test_it_stays_where_its_run_is_at_work_or_may_have_done_it(world: World, ended: Verdict | None) -> None:
    three(world)
    stray = left(world)
    assert stray in kept(world, errand(world, ended=ended))
    assert "has not ended in vain" in " ".join(world.ios["decide"].notes)


@pytest.mark.parametrize(
    "given",
    [
        {"days": 0.9},
        {"run": "R2"},
        {"days": 1.5, "tags": ("plan=other", "source=etc")},
        {"tags": ("plan=nightly", "source=db")},
    ],
    ids=["young", "run of nobody", "another plan", "nothing newer of it"],
)
def test_it_stays_where_anything_of_it_is_in_doubt(world: World, given: dict[str, Any]) -> None:
    three(world)
    stray = left(world, given.get("days", 2), given.get("run", "R1"), *given.get("tags", ()))
    assert stray in kept(world, errand(world))


def test_it_stays_where_it_is_the_newest_there_is_and_where_retention_is_blocked_or_there_is_none(world: World) -> None:
    three(world)
    stray = left(world, 2)
    assert stray in kept(world, errand(world, retention=None))
    odd = world.backup(before(hours=3), anomalies=("90 % less",), verdict=Verdict.DEGRADED)
    assert stray in kept(world, errand(world))
    world.points.acknowledge(Ack(odd.run, "", "", "anna", before(), "moved"))
    assert stray not in kept(world, errand(world))


def test_what_another_controllers_run_of_the_same_id_left_is_told_and_stays(world: World) -> None:
    three(world)
    tags = ("plan=nightly", "source=etc")
    ours, theirs = left(world, 2, "R1", *tags, "state=OURS"), left(world, 2, "R1", *tags, "state=THEIRS")
    one = errand(world)
    foreseen = one.preview(WEB1, NOW.timestamp())
    assert [item[0] for item in foreseen.items if item[0].startswith(NO_POINT)] == [f"{NO_POINT}etc {ours[:12]}"]
    assert "1 snapshot of another controller's mainstay: never touched" in foreseen.notes
    there = kept(world, one)
    assert theirs in there and ours not in there
    assert world.ios["decide"].measures["retention"]["of_others"] == 1


def test_points_found_in_a_repository_of_another_controller_are_none_of_its_leftovers(world: World) -> None:
    """They were taken over: whoever made them, they are points here."""
    id = left(world, 2, "R1", "plan=nightly", "source=etc", "state=THEIRS")
    world.points.add_point(three(world)[0].model_copy(update={"id": id, "at": before(days=2)}))
    world.do(errand(world, retention={"last": 9}))
    assert world.ios["decide"].measures["retention"]["of_others"] == 0


def test_a_copy_of_a_point_that_was_not_written_down_yet_is_no_leftover(world: World) -> None:
    """The copy was broken off between restic's end and the note of it; the next one finds it."""
    three(world)
    made = left(world, 2.5)
    world.points.add_point(three(world)[0].model_copy(update={"id": made, "run": "R1", "at": before(days=2.5)}))
    world.repository("away")
    one = plan(copies=["away"], **TWO)
    world.do(CopyErrand(one, "away", world.depot))
    copy = next(p for p in world.points.points(repository="away") if p.copy_of == made)
    world.points._points.pop(("away", copy.id))  # as if it had died before
    world.do(errand(world, "away", copies=["away"]))
    assert copy.id in world.repository("away").snapshots


def test_a_leftover_that_is_looked_at_anew_and_is_in_doubt_by_then_stays() -> None:
    world = Held()
    three(world)
    stray = left(world)
    answers = {"now": Verdict.FAILED}
    world.meanwhile = lambda: answers.update(now=Verdict.UNKNOWN)
    data = {"plan": plan(**TWO).to_json(), "repository": "main"}
    one = RetentionErrand.tied(data, world.depot, lambda run, host: answers["now"], "OURS")
    world.do(one)
    assert stray in world.repository().snapshots


# --- another repository in its place


@pytest.mark.parametrize("what", [PruneErrand, CheckErrand])
def test_nothing_is_done_at_another_repository_than_before(world: World, what: type[PruneErrand | CheckErrand]) -> None:
    world.backup(before(days=1))
    world.points.note_vault(Vault("main", "web1", "another"))
    with pytest.raises(Stopped, match="main is another one than before") as stopped:
        world.do(what(plan(), "main", world.depot))
    assert stopped.value.verdict is Verdict.REFUSED
    assert not {"prune", "check"} & set(world.repository().asked)
    assert [one.part for one in world.points.tended()] == [FAILED], "nothing of it counts as read"


# --- what is noted of what went wrong


def test_a_lock_is_noted_by_the_kind_of_the_error_and_each_failure_in_a_row_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.backup(before(days=1))
    one = PruneErrand(plan(), "main", world.depot)

    def locked(host: str) -> None:
        raise Locked(world.depot.access(one.repository, host, "maintain"), "somebody holds it")

    monkeypatch.setattr(one, "same", locked)
    for run, hours in (("R1", 0), ("R2", 1), ("R2", 1)):
        world.later = timedelta(hours=hours)
        with pytest.raises(Stopped):
            world.do(one, run)
    (noted,) = world.points.tended()
    assert (noted.part, noted.fault, noted.tries) == (FAILED, "locked", 2), "once for each run"
    monkeypatch.undo()
    world.later = timedelta(hours=2)
    world.do(one, "R3")
    monkeypatch.setattr(one, "same", locked)
    world.later = timedelta(hours=3)
    with pytest.raises(Stopped):
        world.do(one, "R4")
    assert [two.tries for two in world.points.tended() if two.part == FAILED] == [1], "it was done in between"


def test_what_was_called_off_does_not_count_as_done_between_failures(world: World) -> None:
    def at(part: str, run: str, hours: float) -> None:
        made = Tended("main", "web1", "prune", "", part, run, before(hours=hours), "failed")
        note(world.points, made)

    at(FAILED, "R1", 5)
    at(CANCELLED, "R2", 4)
    at(FAILED, "R3", 3)
    assert [one.tries for one in world.points.tended() if one.part == FAILED] == [2]


# --- the rotation of check, night by night


@pytest.mark.parametrize(("days", "missed"), [(28, ()), (28, (3, 4, 11, 19)), (7, (2,)), (14, range(5, 12))])
def test_every_pack_is_read_in_time_though_packs_come_and_go_and_nights_are_missed(days: int, missed: Any) -> None:
    """restic puts a pack file into the part that its id's first byte gives (n/t: byte modulo t is n-1), so that one that
    is new, whenever it comes, is of a part that has its turn. A turn comes an hour later each night: that long it may wait."""
    world = World()
    world.backup(before())
    begun = NOW.isoformat()
    world.points.note_vault(Vault("main", "web1", world.repository().id, begun, "R0"))
    one = CheckErrand(plan(verify={"every": "1d", "all_within": f"{days}d"}), "main", world.depot)
    packs: dict[int, float] = {}
    """First byte and number → when it was read last, or made."""
    worst, after = 0.0, False
    for night in range(1, 4 * days):
        hours = night * 24 + night % 7
        packs |= {256 * night + (night * 37 + n * 101) % 256: float(hours) for n in range(20)}
        for old in [pack for pack in packs if pack < 256 * (night - 60) or pack % 11 == night % 11]:
            del packs[old]  # pruned, or packed anew
        if night in missed:
            after = True
            continue
        world.later = timedelta(hours=hours)
        of, parts = one.parts("web1", (NOW + world.later).timestamp())
        world.do(one, f"R{night}")
        for pack in packs:
            if (pack % 256) % of + 1 in parts:
                packs[pack] = float(hours)
        age = max((hours - read for read in packs.values()), default=0.0)
        worst = max(worst, age)
        assert age <= 24 * days, f"night {night}"
    assert worst > 0
    assert after == bool(missed)


def test_a_run_that_is_taken_up_again_knows_what_kind_of_error_its_step_had() -> None:
    """From its checkpoint, where the error itself is gone."""
    kept: dict[str, Any] = {}

    class Checkpoints:
        def step(self, name: str, work: Callable[[], Any]) -> Any:
            if name not in kept:
                kept[name] = json.dumps(work())
            return json.loads(kept[name])

    def locked(io: StepIO) -> None:
        depot = World().depot
        raise Locked(depot.access(plan().repositories["main"], "web1", "maintain"), "somebody holds it")

    for work in (locked, lambda io: pytest.fail("a step is done once")):
        context: Any = Checkpoints()
        recorder = Recorder(context, "R1", "web1", MemoryArtifacts(), SystemClock(), Quiet())
        with pytest.raises(Stopped) as stopped:
            recorder("prune", work)
        assert (stopped.value.fault, stopped.value.kind) == ("locked", "failed")

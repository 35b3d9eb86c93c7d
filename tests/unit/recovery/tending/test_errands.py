"""Retention, prune, check, copy, init and unlock at repositories in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.recovery.points import NOW, before, proof
from tests.unit.recovery.tending.desk import REPOSITORIES, WEB1, World, plan

from mainstay.recovery.points.contract import Ack, Vault
from mainstay.recovery.restic.replies import Snapshot
from mainstay.recovery.tending import copying
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.errand import FAILED
from mainstay.recovery.tending.locks import Worked
from mainstay.recovery.tending.making import InitErrand, UnlockErrand
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.recovery.tending.upkeep import CheckErrand, PruneErrand
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

TWO = {"retention": {"last": 2}}


@pytest.fixture
def world() -> World:
    return World()


def test_retention_removes_what_the_policy_lets_go_and_marks_it_by_the_run(world: World) -> None:
    old, newer, newest = (world.backup(before(days=days)) for days in (3, 2, 1))
    world.points.add_proof(proof(newest, before(hours=2)))
    said = world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert said == "1 point removed, 2 kept"
    assert set(world.repository().snapshots) == {newer.id, newest.id}
    (gone,) = (one for one in world.points.points(removed=True) if one.removed_at)
    assert (gone.id, gone.removed_by) == (old.id, "RUN")
    assert world.concerns() == []


def test_nothing_goes_before_a_restore_has_proved_something(world: World) -> None:
    for days in (3, 2, 1):
        world.backup(before(days=days))
    assert world.do(RetentionErrand(plan(**TWO), "main", world.depot)) == "0 points removed, 3 kept"
    assert len(world.repository().snapshots) == 3
    assert "proved" in world.concerns()[0]


def test_an_anomaly_keeps_retention_away_until_somebody_has_looked(world: World) -> None:
    world.backup(before(days=3))
    world.points.add_proof(proof(world.backup(before(days=2)), before(hours=3)))
    odd = world.backup(before(days=1), anomalies=("90 % less",), verdict=Verdict.DEGRADED)
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    assert world.do(errand) == "0 points removed, 3 kept"
    assert "nobody has acknowledged" in world.concerns()[0]
    world.points.acknowledge(Ack(odd.run, "", "", "anna", before(), "we moved the archive"))
    assert world.do(errand) == "1 point removed, 2 kept"


def test_a_point_that_somebody_else_removed_counts_no_more_and_is_named(world: World) -> None:
    lost, kept = world.backup(before(days=2)), world.backup(before(days=1))
    del world.repository().snapshots[lost.id]
    world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert [one.id for one in world.points.points()] == [kept.id]
    assert "1 point gone from the repository without mainstay" in world.concerns()[0]


def test_points_that_have_vanished_do_not_push_out_those_that_are_there(world: World) -> None:
    there = [world.backup(before(days=days)) for days in (9, 8)]
    world.points.add_proof(proof(there[1], before(hours=1)))
    for days in (3, 2, 1):
        del world.repository().snapshots[world.backup(before(days=days)).id]
    world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert set(world.repository().snapshots) == {one.id for one in there}


def test_the_same_data_under_many_new_names_stops_retention(world: World) -> None:
    for days in (4, 3, 2):
        newest = world.backup(before(days=days))
    world.points.add_proof(proof(newest, before(hours=1)))
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    world.do(errand)
    for number in range(7):
        world.backup(before(days=1), item=f"/srv/{number}", made_at=before(hours=-1))
    world.backup(before(days=1, hours=1))
    assert world.do(errand).startswith("0 points removed")
    assert "there are 8 groups of host and source, 1 at the last time" in " ".join(world.concerns())


def test_what_is_not_of_mainstay_is_never_removed(world: World) -> None:
    for days in (3, 2, 1):
        made = world.backup(before(days=days))
    world.points.add_proof(proof(made, before(hours=1)))
    by_hand = world.repository().back_up({"/x": b"x"}, host="web1", at=before(days=400))
    world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    assert by_hand in world.repository().snapshots
    assert world.ios["decide"].detail.endswith("1 snapshot not of mainstay")


def test_a_wrong_password_fails_and_is_noted_as_tried(world: World) -> None:
    world.backup(before(days=1))
    world.repository().passwords.clear()
    with pytest.raises(Stopped, match="password is wrong"):
        world.do(RetentionErrand(plan(**TWO), "main", world.depot))
    (noted,) = world.points.tended()
    assert (noted.part, noted.verdict, noted.host) == (FAILED, "failed", "web1")


def test_prune_says_what_it_freed_and_is_noted(world: World) -> None:
    world.backup(before(days=1))
    assert world.do(PruneErrand(plan(), "main", world.depot)) == "nothing to free"
    assert [(one.what, one.part) for one in world.points.tended()] == [("prune", "")]


def test_each_turn_of_a_check_reads_another_part(world: World) -> None:
    world.backup(before(days=1))
    one = plan(verify={"every": "1d", "all_within": "3d"})
    errand = CheckErrand(one, "main", world.depot)
    of, first = errand.parts("web1", NOW.timestamp())
    assert world.do(errand) == f"{len(first)} part of {of} read, no damage"
    _, second = errand.parts("web1", NOW.timestamp())
    assert not set(first) & set(second)


def test_what_each_part_of_a_check_found_is_kept_for_itself(world: World) -> None:
    world.backup(before(days=1))
    one = plan(verify={"every": "1d", "all_within": "4d"})
    known = world.points.vault("main", "web1") or Vault("main", "web1")
    world.points.note_vault(replace(known, made_at=before(days=60)))
    errand = CheckErrand(one, "main", world.depot)
    _, parts = errand.parts("web1", NOW.timestamp())
    assert len(parts) > 1
    world.do(errand)
    measures = {key: value for io in world.ios.values() for key, value in io.measures.items()}
    assert measures.pop("repository") == "main"
    assert {key: value["part"] for key, value in measures.items()} == {f"check {number}": number for number in parts}


def test_damaged_data_fails_the_check_and_the_part_does_not_count_as_read(world: World) -> None:
    world.backup(before(days=1))
    world.repository().damaged.add("/etc/hosts")
    errand = CheckErrand(plan(), "main", world.depot)
    before_it = errand.parts("web1", NOW.timestamp())
    with pytest.raises(Stopped, match="damaged: /etc/hosts can't be read"):
        world.do(errand)
    assert errand.parts("web1", NOW.timestamp()) == before_it
    assert [one.part for one in world.points.tended()] == [FAILED]


def test_points_are_copied_once_and_known_as_copies(world: World) -> None:
    world.repository("away")
    first, second = world.backup(before(days=2)), world.backup(before(days=1))
    errand = CopyErrand(plan(copies=["away"]), "away", world.depot)
    assert world.do(errand) == "2 points copied to away"
    copies = world.points.points(repository="away")
    assert [one.copy_of for one in copies] == [first.id, second.id]
    assert {one.id for one in copies} == set(world.repository("away").snapshots)
    assert world.do(errand) == "nothing to copy"


def test_all_that_was_copied_is_counted_not_the_last_twenty(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "AT_ONCE", 2)
    world.repository("away")
    for days in (3, 2, 1):
        world.backup(before(days=days))
    assert world.do(CopyErrand(plan(copies=["away"]), "away", world.depot)) == "3 points copied to away"
    assert world.ios["copy.2"].measures["copied"] == 3


@pytest.mark.parametrize(("own", "limit"), [({}, 500), ({"upload": 64}, 64)])
def test_a_copy_keeps_its_own_limit_else_that_of_its_repository(world: World, own: dict[str, int], limit: int) -> None:
    slow = {**REPOSITORIES, "away": {**REPOSITORIES["away"], "upload": 500}}
    errand = CopyErrand(plan(copies=[{"to": "away", **own}], repositories=slow), "away", world.depot)
    assert errand.open("web1").access.upload == limit


def test_a_copy_that_retention_took_away_is_not_made_again(world: World) -> None:
    world.repository("away")
    world.backup(before(days=2))
    errand = CopyErrand(plan(copies=["away"]), "away", world.depot)
    world.do(errand)
    (copy,) = world.points.points(repository="away")
    world.points.mark_removed("away", [copy.id], "R2", before())
    assert world.do(errand) == "nothing to copy"


def test_nothing_is_copied_to_where_there_is_no_repository_and_none_is_made(world: World) -> None:
    world.backup(before(days=1))
    with pytest.raises(Stopped, match="there is no repository away yet") as stopped:
        world.do(CopyErrand(plan(copies=["away"]), "away", world.depot))
    assert stopped.value.verdict is Verdict.REFUSED
    assert list(world.memory.repositories) == ["/srv/web1"]


def test_a_repository_is_made_once_and_known(world: World) -> None:
    errand = InitErrand(plan(), "main", world.depot)
    assert world.do(errand, "R1") == "made /srv/web1"
    made = world.points.vault("main", "web1")
    assert made is not None
    assert (made.id, made.made_by) == (world.repository().id, "R1")
    assert world.do(errand, "R2") == "/srv/web1 was there already"
    assert world.points.vault("main", "web1") == made


def test_one_that_was_there_is_taken_and_nobody_is_said_to_have_made_it(world: World) -> None:
    there = world.repository()
    world.do(InitErrand(plan(), "main", world.depot))
    assert world.points.vault("main", "web1") == Vault("main", "web1", there.id)


def test_a_wrong_password_is_never_answered_with_a_new_repository(world: World) -> None:
    there = world.repository()
    there.passwords.clear()
    with pytest.raises(Stopped, match="password is wrong"):
        world.do(InitErrand(plan(), "main", world.depot))
    assert world.memory.repositories == {"/srv/web1": there}
    assert world.points.vault("main", "web1") is None


def test_one_that_has_vanished_is_not_answered_with_an_empty_one(world: World) -> None:
    lost = world.backup(before(days=1))
    world.do(InitErrand(plan(), "main", world.depot), "R1")
    world.memory.repositories.clear()
    with pytest.raises(Stopped, match="repository main is gone: /srv/web1 was") as stopped:
        world.do(InitErrand(plan(), "main", world.depot), "R2")
    assert stopped.value.verdict is Verdict.REFUSED
    assert world.memory.repositories == {}
    assert [one.id for one in world.points.points()] == [lost.id]


def test_with_replace_an_empty_one_is_made_and_what_was_there_counts_no_more(world: World) -> None:
    world.backup(before(days=1))
    world.do(InitErrand(plan(), "main", world.depot), "R1")
    world.memory.repositories.clear()
    errand = InitErrand.of({"plan": plan().to_json(), "repository": "main", "replace": True}, world.depot)
    assert world.do(errand, "R2") == "made /srv/web1"
    vault = world.points.vault("main", "web1")
    assert vault is not None
    assert (vault.id, vault.made_by, vault.escrow_at) == (world.repository().id, "R2", "")
    assert world.points.points() == []
    (gone,) = world.points.points(removed=True)
    assert not gone.removed_by, "nobody of us removed it"


def test_another_one_in_its_place_is_taken_with_replace_alone(world: World) -> None:
    world.do(InitErrand(plan(), "main", world.depot), "R1")
    world.memory.repositories.clear()
    other = world.repository()
    with pytest.raises(Stopped, match="another one than before"):
        world.do(InitErrand(plan(), "main", world.depot), "R2")
    world.do(InitErrand(plan(), "main", world.depot, exchange=True), "R3")
    vault = world.points.vault("main", "web1")
    assert vault is not None
    assert vault.id == other.id


def test_only_the_lock_of_a_dead_run_of_ours_is_removed_and_the_others_are_named(world: World) -> None:
    there = world.repository()
    mine = there.lock(host="web1", pid=1, at=(NOW - timedelta(hours=2)).isoformat())
    theirs = there.lock(host="desk", pid=2, at=(NOW - timedelta(hours=2)).isoformat())
    ended = Worked("R1", frozenset({"web1"}), NOW - timedelta(hours=3), NOW - timedelta(hours=1))
    errand = UnlockErrand(plan(), "main", world.depot, lambda host: [ended])
    assert world.do(errand) == "1 lock removed, 1 left"
    assert mine not in there.locks
    assert theirs in there.locks
    assert "no run of ours left it (root on desk" in world.concerns()[0]


def test_a_point_that_a_backup_adds_while_the_repository_is_asked_is_not_lost(world: World) -> None:
    world.backup(before(days=1))
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    asked = errand._there

    def meanwhile(host: str) -> dict[str, Snapshot]:
        found = asked(host)
        world.backup(before(hours=1))
        return found

    errand._there = meanwhile  # type: ignore[method-assign]
    world.do(errand)
    assert [one.removed_at for one in world.points.points(removed=True)] == [None, None]
    assert world.concerns() == []


def test_points_are_not_lost_where_another_repository_is_in_its_place(world: World) -> None:
    world.backup(before(days=1))
    world.points.note_vault(Vault("main", "web1", "another"))
    world.repository().snapshots.clear()
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    with pytest.raises(Stopped, match="main is another one than before") as stopped:
        world.do(errand)
    assert stopped.value.verdict is Verdict.REFUSED
    assert len(world.points.points()) == 1


def test_retention_that_can_not_be_foreseen_is_tried_all_the_same_and_noted(world: World) -> None:
    """What is refused in the survey is never noted as tried: it would be asked for again each hour, and no alarm said so."""
    world.backup(before(days=1))
    world.repository().passwords.clear()
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    foreseen = errand.preview(WEB1, NOW.timestamp())
    assert foreseen.count == 1
    assert "password is wrong" in foreseen.notes[0]


def test_too_many_groups_stop_retention_until_somebody_has_looked(world: World) -> None:
    for days in (4, 3, 2):
        newest = world.backup(before(days=days))
    world.points.add_proof(proof(newest, before(hours=1)))
    errand = RetentionErrand(plan(**TWO), "main", world.depot)
    world.do(errand, "R1")
    for number in range(7):
        world.backup(before(days=1), item=f"/srv/{number}", made_at=before(hours=-0.1))
    world.backup(before(days=1, hours=1), made_at=before(hours=-0.1))
    soon = World(memory=world.memory, points=world.points, later=timedelta(hours=1))
    for run in ("R2", "R3"):
        assert soon.do(errand, run).startswith("0 points removed"), run
    soon.points.acknowledge(Ack("R3", "", "", "anna", before(), "each of these folders is a source now"))
    assert soon.do(errand, "R4").startswith("1 point removed")


def test_a_copy_that_was_lost_is_made_again(world: World) -> None:
    world.repository("away")
    made = world.backup(before(days=1))
    one = plan(copies=["away"], **TWO)
    errand = CopyErrand(one, "away", world.depot)
    world.do(errand)
    world.repository("away").snapshots.clear()
    assert world.do(errand) == "1 point copied to away", "also before retention has seen it"
    world.repository("away").snapshots.clear()
    world.do(RetentionErrand(one, "away", world.depot))
    assert world.points.points(repository="away") == []
    assert world.do(errand) == "1 point copied to away"
    assert [one.copy_of for one in world.points.points(repository="away")] == [made.id]


def test_a_key_that_was_confirmed_before_its_repository_was_seen_stays_so(world: World) -> None:
    there = world.repository()
    world.points.note_vault(Vault("main", "web1", escrow_at=before(days=1), escrow_by="anna"))
    world.do(InitErrand(plan(), "main", world.depot))
    assert world.points.vault("main", "web1") == Vault("main", "web1", there.id, "", "", before(days=1), "anna")

"""What whatever keeps recovery points promises. The real one, on both databases, and its fake pass the same suite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import lent, opened

from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.adapters import sql
from mainstay.recovery.points.adapters.sql import SqlPoints
from mainstay.recovery.points.contract import Ack, PointStore, Tended, Vault
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.points.renamed import RenamedPoints
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.verdict import Verdict

ODD = "\udce4 ü \0 'x' %"
"""Text from outside: half a surrogate pair, a NUL, what SQL reads as its own."""


@pytest.fixture(params=["sqlite", "postgres", "memory", "renamed"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PointStore]:
    monkeypatch.setattr(sql, "AT_ONCE", 2)  # so that few hosts take several queries
    if request.param == "memory":
        yield MemoryPoints()
        return
    if request.param == "renamed":
        yield RenamedPoints(MemoryPoints(), lambda: {"no-more": "some-other"})
        return
    with ExitStack() as until:
        database: Database = SqliteDatabase(tmp_path / "mainstay.db")
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            database = opened(server, until.enter_context(lent(server)))
        until.callback(SqlState(database).close)
        yield SqlPoints(database)


def at(hour: int) -> str:
    return f"2026-11-22T{hour:02}:00:00.000Z"


def point(letter: str, hour: int, **more: Any) -> RecoveryPoint:
    given = {"host": "web1", "plan": "nightly", "source": "files", "repository": "main", "run": f"r{hour}"}
    data = {**given, "id": letter * 64, "at": at(hour), "made_at": at(hour), "verdict": "succeeded", **more}
    return RecoveryPoint.model_validate(data)


def proof(of: RecoveryPoint, hour: int, **more: Any) -> Proof:
    its = {name: getattr(of, name) for name in ("host", "plan", "source", "item", "repository")}
    data = {**its, "point": of.id, "run": f"drill{hour}", "at": at(hour), "verdict": "succeeded", **more}
    return Proof.model_validate(data)


def kept(store: PointStore, *points: RecoveryPoint) -> None:
    for one in points:
        store.add_point(one)


def ids(points: list[RecoveryPoint]) -> str:
    return "".join(one.id[0] for one in points)


def test_a_point_comes_back_as_it_was_and_is_kept_once(store: PointStore) -> None:
    whole = point(
        "a", 1, item=ODD, files=3, bytes=2**40, added=5, changed=2, paths=("/ü", ODD), unreadable=1,
        anomalies=(ODD,), copy_of="f" * 64, measures={"x": [1.5, None, ODD]}, verdict="degraded",
    )  # fmt: skip
    store.add_point(whole)
    store.add_point(whole.model_copy(update={"files": 9, "host": "web2"}))
    assert store.points() == [whole]
    elsewhere = point("a", 1, repository="offsite")
    store.add_point(elsewhere)
    assert store.points(repository="offsite") == [elsewhere]


def test_points_are_found_by_all_that_is_asked_of_them_oldest_first(store: PointStore) -> None:
    kept(
        store,
        point("c", 3),
        point("b", 1, source="db", item="orders"),
        point("a", 1, host="web2", plan="weekly", anomalies=("odd",)),
        point("d", 2, host="web3", repository="offsite"),
        point("e", 2, host="web4", removed_at=at(5), removed_by="r5", anomalies=("odd",)),
    )
    assert ids(store.points()) == "abdc"
    assert ids(store.points(removed=True)) == "abdec"
    assert ids(store.points(hosts=["web3", "web1", "web1", "web4", "nobody"])) == "bdc"
    assert ids(store.points(hosts=[])) == ""
    assert ids(store.points(plan="weekly")) == "a"
    assert ids(store.points(source="db")) == "b"
    assert ids(store.points(repository="offsite")) == "d"
    assert ids(store.points(run="r1", hosts=["web1"])) == "b"
    assert ids(store.points(anomalous=True)) == "a"
    assert ids(store.points(anomalous=True, removed=True)) == "ae"


def test_moments_are_compared_however_they_are_written(store: PointStore) -> None:
    kept(
        store,
        point("a", 0, at="2026-11-22T03:00:00+02:00"),
        point("b", 0, at="2026-11-22T00:59:59.999999999Z"),
        point("c", 0, at="2026-11-22T01:00:00.001Z"),
    )
    assert ids(store.points()) == "bac"
    assert ids(store.newest()) == "c"
    assert ids(store.newest(until="2026-11-22T01:00:00Z")) == "a"


def test_the_newest_of_each_unit_and_verdict(store: PointStore) -> None:
    kept(
        store,
        point("a", 1),
        point("b", 3, verdict="degraded"),
        point("c", 2),
        point("d", 2, repository="offsite", copy_of="c" * 64),
        point("e", 1, source="db", item="orders"),
        point("f", 4, removed_at=at(5), removed_by="r5"),
        point("0", 1, source="db", item="users"),
        point("1", 1, host="web2"),
        point("2", 4, host="web2", plan="weekly"),
        point("3", 4, host="web3"),
    )
    assert ids(store.newest()) == "01ecdb23"
    assert ids(store.newest(plan="weekly")) == "2"
    assert ids(store.newest(hosts=["web3", "web2", "nobody"])) == "123"
    assert ids(store.newest(hosts=[])) == ""
    assert ids(store.newest(hosts=["web1"], until=at(1))) == "0ae"


def test_of_two_with_the_same_moment_one_is_the_newest(store: PointStore) -> None:
    kept(store, point("b", 1), point("a", 1))
    assert ids(store.newest()) == "b"


def test_a_point_that_was_removed_stays_known(store: PointStore) -> None:
    kept(store, point("a", 1), point("b", 2), point("a", 1, repository="offsite"))
    store.mark_removed("main", ["a" * 64, "f" * 64], "r9", at(9))
    store.mark_removed("main", ["a" * 64], "later", at(10))
    store.mark_removed("main", [], "r9", at(9))
    assert [(one.id[0], one.repository) for one in store.points()] == [("a", "offsite"), ("b", "main")]
    gone = next(one for one in store.points(removed=True) if one.removed_at)
    assert gone == point("a", 1, removed_at=at(9), removed_by="r9")
    store.add_point(point("a", 1))
    assert len(store.points(repository="main")) == 1, "what is said again does not bring it back"


def test_a_point_that_a_run_is_about_to_remove_is_there_until_it_is_removed(store: PointStore) -> None:
    kept(store, point("a", 1), point("b", 2), point("c", 3), point("a", 1, repository="offsite"))
    store.mark_removed("main", ["c" * 64], "r8", at(8))
    store.mark_going("main", [letter * 64 for letter in "abcf"], "r9")
    assert [(one.id[0], one.removed_at, one.removed_by) for one in store.points(repository="main", removed=True)] == [
        ("a", None, "r9"),
        ("b", None, "r9"),
        ("c", at(8), "r8"),
    ]
    assert store.points(repository="offsite")[0].removed_by is None
    assert [one.removed_by for one in store.newest()] == [None, "r9"]
    store.mark_going("main", ["a" * 64], "")
    store.mark_removed("main", ["b" * 64], "r10", at(9))
    assert store.points(repository="main") == [point("a", 1)]
    assert {one.removed_by for one in store.points(removed=True) if one.removed_at} == {"r8", "r10"}


def test_what_is_known_of_a_plan_is_handed_over_to_another(store: PointStore) -> None:
    made = point("a", 1, plan="old"), point("b", 2, plan="old", removed_at=at(5), removed_by="r5", item=ODD)
    kept(store, *made, point("c", 3), point("d", 4, plan="weekly"))
    for one in made:
        store.add_proof(proof(one, 6))
    for subject, part, hour in (
        ("old", "", 3),
        ("new", "", 4),
        ("old", "failed", 5),
        ("new", "failed", 5),
        ("old", "x", 1),
    ):
        store.note_tended(Tended("main", "web1", "retention", subject, part, f"{subject}{hour}", at(hour), "succeeded"))
    store.note_tended(Tended("main", "web1", "prune", "", "", "p", at(9), "succeeded"))
    for _ in range(2):
        store.hand_over("old", "new")
    store.hand_over("nobody", ODD)
    assert store.points(plan="old", removed=True) == [] and ids(store.points(plan="new", removed=True)) == "ab"
    assert store.points(plan="new") == [made[0].model_copy(update={"plan": "new"})]
    assert ids(store.proved(plan="new")) == "a" and ids(store.newest(plan="new")) == "a"
    assert [one.plan for one in store.newest_proofs(plan="new")] == ["new", "new"]
    assert {one.plan for one in store.proofs()} == {"new"} and ids(store.points(plan="weekly")) == "d"
    said = {(one.subject, one.part): one.run for one in store.tended()}
    assert said == {("new", ""): "new4", ("new", "failed"): "new5", ("new", "x"): "old1", ("", ""): "p"}


def test_of_what_is_handed_over_only_some_runs_may_be_meant(store: PointStore) -> None:
    made = point("a", 1, plan="old", run="r1"), point("b", 2, plan="old", run="r2")
    kept(store, *made)
    for one in made:
        store.add_proof(proof(one, 6, run=one.run))
        store.note_tended(Tended("main", "web1", "retention", "old", one.run, one.run, at(3), "succeeded"))
    store.hand_over("old", "new", lambda run: run == "r1")
    assert ids(store.points(plan="new")) == "a" and ids(store.points(plan="old")) == "b"
    assert sorted((one.run, one.plan) for one in store.proofs()) == [("r1", "new"), ("r2", "old")]
    assert sorted((one.run, one.subject) for one in store.tended()) == [("r1", "new"), ("r2", "old")]


def test_a_point_is_found_by_how_its_id_begins(store: PointStore) -> None:
    kept(store, point("a", 1, id="ab" * 32), point("a", 2, id="ac" * 32, repository="offsite"), point("b", 3))
    store.mark_removed("offsite", ["ac" * 32], "r", at(4))
    assert [one.id[:2] for one in store.find("a")] == ["ab", "ac"]
    assert [one.id[:2] for one in store.find("aba")] == ["ab"]
    for nothing in ("", "f", "%", "_", "AB", ODD, "ab" * 33):
        assert store.find(nothing) == []


def test_one_proof_for_each_point_and_run(store: PointStore) -> None:
    one, other = point("a", 1), point("b", 2, host="web2", source="db", item=ODD)
    kept(store, one, other)
    first = proof(one, 5, reason=ODD, scope="1 of 2 files", left_out=(ODD,), seconds=1.5, measures={"x": ODD})
    late = proof(other, 4, verdict="failed")
    store.add_proof(first)
    store.add_proof(late)
    store.add_proof(first.model_copy(update={"verdict": Verdict.FAILED}))
    again = proof(one, 6)
    store.add_proof(again)
    assert store.proofs() == [late, first, again]
    assert store.proofs(hosts=["web1"]) == [first, again]
    assert store.proofs(source="db") == [late]
    assert store.proofs(points=["b" * 64, "c" * 64, "d" * 64]) == [late]
    assert store.proofs(points=["b" * 64], hosts=["web1"]) == []
    assert store.proofs(points=[]) == []


def test_the_newest_that_is_proved_and_the_one_that_was_proved_last(store: PointStore) -> None:
    old, middle, new, failed = point("a", 1), point("b", 2), point("c", 3), point("d", 4)
    elsewhere = point("e", 1, repository="offsite")
    gone, other = point("f", 4, removed_at=at(5), removed_by="r5"), point("0", 1, host="web2", plan="weekly")
    kept(store, old, middle, new, failed, elsewhere, gone, other)
    assert store.proved() == []
    for one, hour in ((new, 5), (middle, 6), (old, 7), (new, 4), (gone, 9), (elsewhere, 8), (other, 9)):
        store.add_proof(proof(one, hour, verdict="degraded" if one is new else "succeeded"))
    store.add_proof(proof(failed, 9, verdict="failed"))
    assert ids(store.proved()) == "0aec"
    assert ids(store.proved(hosts=["web2", "web3", "web4"])) == "0"
    assert ids(store.proved(plan="nightly")) == "aec"
    told = [(one.point[0], str(one.verdict), one.at) for one in store.newest_proofs(hosts=["web1"])]
    assert told == [
        ("c", "degraded", at(5)),
        ("e", "succeeded", at(8)),
        ("d", "failed", at(9)),
        ("f", "succeeded", at(9)),
    ]
    assert [one.point[0] for one in store.newest_proofs(plan="weekly")] == ["0"]


def test_what_is_known_of_a_repository_is_written_over(store: PointStore) -> None:
    assert store.vault("main", "web1") is None
    vault = Vault("main", "web1", "id1", at(1), ODD)
    store.note_vault(vault)
    confirmed = replace(vault, escrow_at=at(2), escrow_by=ODD)
    store.note_vault(confirmed)
    shared = Vault("main", "")
    store.note_vault(shared)
    assert store.vault("main", "web1") == confirmed
    assert store.vaults() == [shared, confirmed]


def test_the_last_of_what_was_done_there(store: PointStore) -> None:
    check = Tended("main", "web1", "check", "", "3/28", "r1", at(3), "succeeded", ODD)
    store.note_tended(replace(check, at=at(9), verdict="failed"))  # by a clock that was ahead
    store.note_tended(check)
    assert store.tended() == [check]
    newer = replace(check, at="2026-11-22T06:00:00+02:00", run="r2", verdict="failed")
    store.note_tended(newer)
    others = [
        replace(check, part="4/28"),
        replace(check, what="prune", part=""),
        replace(check, host=""),
        replace(check, repository="offsite", what="copy", subject="nightly", part=ODD),
    ]
    for one in others:
        store.note_tended(one)
    assert store.tended(repository="main", host="web1") == [newer, others[0], others[1]]
    assert store.tended(host="") == [others[2]]
    assert store.tended(repository="offsite") == [others[3]]
    assert store.tended(part="4/28") == [others[0]]
    assert len(store.tended()) == 5


def test_who_has_looked_is_never_taken_back(store: PointStore) -> None:
    first = Ack("r1", "web1", "files", ODD, at(2), ODD)
    store.acknowledge(first)
    store.acknowledge(replace(first, reason="another"))
    older = replace(first, at=at(1), host="")
    store.acknowledge(older)
    assert store.acks() == [older, first]


def test_what_was_removed_long_ago_goes_with_its_proofs(store: PointStore) -> None:
    old, new, there = point("a", 1), point("b", 2), point("a", 1, repository="offsite")
    kept(store, old, new, there)
    for one in (old, new, there):
        store.add_proof(proof(one, 3))
    store.mark_removed("main", [old.id], "r", at(4))
    store.mark_removed("main", [new.id], "r", at(6))
    assert store.tidy(at(4)) == 0
    assert store.tidy(at(5)) == 1
    assert store.tidy(at(5)) == 0
    assert [(one.id[0], one.repository) for one in store.points(removed=True)] == [("a", "offsite"), ("b", "main")]
    assert [(one.point[0], one.repository) for one in store.proofs()] == [("a", "offsite"), ("b", "main")]


def test_many_who_add_and_remove_at_once(store: PointStore) -> None:
    faults: list[BaseException] = []

    def together(work: Callable[[int], None]) -> None:
        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together(lambda number: kept(store, *(point("abcdef"[hour], hour) for hour in range(6))))
    together(lambda number: store.mark_removed("main", [letter * 64 for letter in "abc"], f"r{number}", at(9)))
    assert faults == []
    assert ids(store.points()) == "def"
    assert len({one.removed_by for one in store.points(removed=True) if one.removed_at}) == 1

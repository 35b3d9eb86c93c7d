"""What every ledger promises. The real one and its fake pass the same suite; what an intruder does to the real one's
tables is at the end."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.contract.ledgers import OnPostgres, OnSqlite, Real, filled, kinds
from tests.servers.postgres import Postgres
from tests.servers.state import lent

from mainstay.inventory.value import Json
from mainstay.runner.ledger.anchored import AnchoredLedger
from mainstay.runner.ledger.anchors import MemoryAnchor
from mainstay.runner.ledger.contract import Ledger, LedgerBehind, RecordDamaged, SealConflict
from mainstay.runner.ledger.courier import Courier
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.ledger.seals import Anchor, make_key
from mainstay.runner.record import HostPart, hosts_digest
from mainstay.runner.verdict import Verdict

Parts = dict[str, list[HostPart]]


@pytest.fixture
def parts() -> Parts:
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def real(request: pytest.FixtureRequest, tmp_path: Path, parts: Parts) -> Iterator[Real]:
    def of(run: str) -> list[HostPart]:
        return parts.get(run, [])

    with ExitStack() as until:
        one: Real = OnSqlite(tmp_path / "state", of)
        if request.param == "postgres":
            one = OnPostgres(tmp_path / "state", of, *_lent(request, until))
        until.callback(one.close)
        yield one


def _lent(request: pytest.FixtureRequest, until: ExitStack) -> tuple[Postgres, str]:
    server: Postgres = request.getfixturevalue("postgres")
    return server, until.enter_context(lent(server))


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[OnSqlite]:
    one = OnSqlite(tmp_path / "state", lambda run: [])
    yield one
    one.close()


@pytest.fixture(params=["sqlite", "postgres", "memory", "anchored"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, parts: Parts) -> Iterator[Ledger]:
    def of(run: str) -> list[HostPart]:
        return parts.get(run, [])

    if request.param == "memory":
        yield MemoryLedger(of)
        return
    if request.param == "anchored":
        local = Anchor(tmp_path / "local")
        local.make()
        courier = Courier(local, [MemoryAnchor()], tmp_path / "anchors")
        yield AnchoredLedger(MemoryLedger(of), courier)
        courier.close()
        return
    with ExitStack() as until:
        one: Real = OnSqlite(tmp_path / "state", of)
        if request.param == "postgres":
            one = OnPostgres(tmp_path / "state", of, *_lent(request, until))
        until.callback(one.close)
        yield one.open()


def test_an_empty_ledger_is_well(ledger: Ledger) -> None:
    assert ledger.head() == (0, "")
    assert ledger.verify() == []
    assert list(ledger.entries()) == []
    ledger.guard()


def test_entries_follow_each_other(ledger: Ledger) -> None:
    body: Json = {"b": [1.5, None, "ü", "\udce4"], "a": {"z": 1, "y": True}}
    first, second = ledger.seal("r1", body), ledger.seal("r2", {})
    assert (first.seq, first.prev, first.body) == (1, "", body)
    assert (second.seq, second.prev) == (2, first.hash)
    assert ledger.head() == (2, second.hash)
    assert list(ledger.entries()) == [first, second]
    assert list(ledger.entries(after=1)) == [second]
    assert ledger.get("r1") == first
    assert ledger.get("r9") is None
    assert ledger.verify() == []
    ledger.guard()


def test_the_index_names_every_entry(ledger: Ledger) -> None:
    assert ledger.index() == {}
    filled(ledger, 3)
    assert ledger.index() == {entry.seq: (entry.id, entry.hash) for entry in ledger.entries()}


def test_sealing_again_returns_what_is_sealed(ledger: Ledger) -> None:
    first = ledger.seal("r1", {"a": 1, "b": 2})
    filled(ledger, 0)
    ledger.seal("r2", {})
    assert ledger.seal("r1", {"b": 2, "a": 1}) == first
    with pytest.raises(SealConflict, match="r1"):
        ledger.seal("r1", {"a": 1})
    assert ledger.head()[0] == 2
    assert ledger.verify() == []


def test_sealing_from_many_threads_makes_one_chain(ledger: Ledger) -> None:
    def seal(thread: int) -> None:
        for number in range(10):
            ledger.seal(f"r{thread}-{number}", {"n": number})

    threads = [threading.Thread(target=seal, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in ledger.entries()] == list(range(1, 51))
    assert ledger.verify() == []
    ledger.guard()


def test_hosts_parts_are_held_against_their_digest(ledger: Ledger, parts: Parts) -> None:
    parts["r1"] = [HostPart(host="a", verdict=Verdict.SUCCEEDED), HostPart(host="b", verdict=Verdict.FAILED)]
    ledger.seal("r1", {"hosts_digest": hosts_digest(parts["r1"])})
    assert ledger.verify() == []
    parts["r1"][1] = HostPart(host="b", verdict=Verdict.SUCCEEDED)
    assert kinds(ledger) == [("hosts-differ", 1)]
    del parts["r1"]
    assert kinds(ledger) == [("hosts-differ", 1)]


# What an intruder does to the real one.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE maintenance_record SET body = '{}' WHERE seq = 3",
        "DELETE FROM maintenance_record WHERE seq = 3",
        "DELETE FROM maintenance_record",
        "INSERT INTO maintenance_record SELECT seq, id, prev, hash, '{}' FROM maintenance_record WHERE seq = 3 "
        "ON CONFLICT (seq) DO UPDATE SET body = '{}'",
        "INSERT INTO maintenance_record VALUES (7, 'x', '', 'h', '{}')",
        "INSERT INTO maintenance_record VALUES (6, 'x', 'not the head', 'h', '{}')",
    ],
)
def test_the_table_takes_nothing_but_the_next_entry(real: Real, statement: str) -> None:
    ledger = filled(real.open())
    with pytest.raises(real.refusal, match=r"append-only|broken chain"):
        real.raw(statement, without_triggers=False)
    assert ledger.verify() == []


def test_replacing_is_refused_as_well_on_sqlite(on_sqlite: OnSqlite) -> None:
    ledger = filled(on_sqlite.open())
    statement = "INSERT OR REPLACE INTO maintenance_record SELECT seq, id, prev, hash, '{}' FROM maintenance_record"
    with pytest.raises(sqlite3.IntegrityError, match="broken chain"):
        on_sqlite.raw(f"{statement} WHERE seq = 3", without_triggers=False)
    assert ledger.verify() == []


def test_an_edited_record_is_found(real: Real) -> None:
    ledger = filled(real.open())
    real.raw("UPDATE maintenance_record SET body = replace(body, '\"p\"', '\"q\"') WHERE seq = 3")
    assert kinds(ledger) == [("edited", 3)]


@pytest.mark.parametrize("seq", [0, -5])
def test_a_record_put_before_the_first_one_is_found(real: Real, seq: int) -> None:
    ledger = filled(real.open())
    real.raw(f"INSERT INTO maintenance_record VALUES ({seq}, 'forged', '', 'h', '{{}}')")
    assert kinds(ledger) == [("forged", seq)]


@pytest.mark.parametrize(
    "change",
    [
        "body = 'x'",
        "body = '[]'",
        "body = '{\"n\": NaN}'",
        "body = x'ff'",
        "body = CAST(x'ff' AS TEXT)",
        "body = printf('%.*c', 100000, '[')",
        'body = \'{"plan":"other",\' || substr(body, 2)',  # the last one of two counts for us, not for every reader
        "body = body || ' '",
        "hash = 'ü'",
        "hash = x'ff'",
        "id = x'ff'",
        "prev = CAST(x'ff' AS TEXT)",
    ],
)
def test_a_record_that_nobody_can_read_any_more_is_a_finding_like_others(on_sqlite: OnSqlite, change: str) -> None:
    ledger = filled(on_sqlite.open())
    on_sqlite.raw(
        f"UPDATE maintenance_record SET {change} WHERE seq = 3",
        "UPDATE maintenance_record SET body = '{}' WHERE seq = 5",
    )
    found = [finding for finding in ledger.verify() if finding.seq in (3, 5)]
    assert [finding.seq for finding in found] == [3, 5]
    assert {finding.kind for finding in found} <= {"edited", "forged"}
    assert sorted(ledger.index()) == [1, 2, 3, 4, 5]


def test_reading_a_damaged_record_says_which_and_what_to_do(real: Real) -> None:
    ledger = filled(real.open())
    real.raw("UPDATE maintenance_record SET body = 'x' WHERE seq = 3")
    with pytest.raises(RecordDamaged, match="record 3"):
        ledger.get("r3")
    with pytest.raises(RecordDamaged, match="record 3"):
        list(ledger.entries())


def test_a_renamed_record_is_found(real: Real) -> None:
    ledger = filled(real.open())
    real.raw("UPDATE maintenance_record SET id = 'other' WHERE seq = 5")
    assert kinds(ledger) == [("edited", 5)]


def test_a_deleted_record_is_found(real: Real) -> None:
    ledger = filled(real.open())
    real.raw("DELETE FROM maintenance_record WHERE seq IN (2, 3)")
    assert kinds(ledger) == [("missing", 2)]


def test_a_deleted_record_whose_gap_was_closed_is_found(real: Real) -> None:
    ledger = filled(real.open())
    real.raw(
        "DELETE FROM maintenance_record WHERE seq = 3",
        "UPDATE maintenance_record SET seq = 3 WHERE seq = 4",
        "UPDATE maintenance_record SET seq = 4 WHERE seq = 5",
    )
    assert kinds(ledger) == [("reordered", 3), ("reordered", 4), ("truncated", 5)]


def test_a_truncated_ledger_is_found_and_refused(real: Real) -> None:
    ledger = filled(real.open())
    real.raw("DELETE FROM maintenance_record WHERE seq > 3")
    assert kinds(ledger) == [("truncated", 4)]
    with pytest.raises(LedgerBehind, match="3 records of 5"):
        ledger.guard()


def test_reordered_records_are_found(real: Real) -> None:
    ledger = filled(real.open())
    real.raw(
        "UPDATE maintenance_record SET seq = 99 WHERE seq = 2",
        "UPDATE maintenance_record SET seq = 2 WHERE seq = 4",
        "UPDATE maintenance_record SET seq = 4 WHERE seq = 99",
    )
    assert kinds(ledger) == [("reordered", 2), ("reordered", 4)]


def test_a_chain_made_anew_without_the_key_is_found(real: Real, tmp_path: Path) -> None:
    ledger = filled(real.open())
    other = real.another(tmp_path / "other")
    forged = [other.open().seal(f"r{n}", {"plan": "q", "n": n}) for n in range(1, 6)]
    real.raw(
        "DELETE FROM maintenance_record",
        *(
            f"INSERT INTO maintenance_record VALUES ({one.seq}, '{one.id}', '{one.prev}', '{one.hash}', "
            f"'{json.dumps(one.body)}')"
            for one in forged
        ),
    )
    other.close()
    assert kinds(ledger) == [("forged", seq) for seq in range(1, 6)]
    with pytest.raises(LedgerBehind, match="not the one"):
        ledger.guard()


def test_a_chain_made_anew_with_the_key_is_found_by_its_anchor(real: Real, tmp_path: Path) -> None:
    ledger = filled(real.open())
    kept = real.anchor.read_text()
    real.forget_database()
    real.anchor.write_text("")
    again = real.open()
    for number in range(1, 6):
        again.seal(f"r{number}", {"plan": "q", "n": number})
    real.anchor.write_text(kept)
    assert [kind for kind, _ in kinds(again)] == ["forged"] * 5
    with pytest.raises(LedgerBehind):
        again.guard()
    assert ledger is not again


@pytest.mark.parametrize("trigger", ["record_no_update", "record_no_delete", "record_chain"])
def test_a_missing_guard_is_found_and_refused(real: Real, trigger: str) -> None:
    ledger = filled(real.open())
    real.drop_guard(trigger)
    assert kinds(ledger) == [("triggers-missing", None)]
    with pytest.raises(LedgerBehind, match=trigger):
        ledger.guard()


def test_a_guard_that_guards_nothing_is_found(real: Real) -> None:
    ledger = filled(real.open())
    real.hollow_guard()
    assert kinds(ledger) == [("triggers-missing", None)]


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [os.unlink, lambda path: path.write_text(""), replaced_by_a_folder])
def test_a_lost_anchor_is_found_and_refused(real: Real, harm: Callable[[Path], object]) -> None:
    ledger = filled(real.open())
    harm(real.anchor)
    assert kinds(ledger) == [("anchor-missing", None)]
    with pytest.raises(LedgerBehind, match="anchor"):
        ledger.guard()


def test_a_lost_or_damaged_key_is_refused(real: Real) -> None:
    filled(real.open())
    real.key.write_text("abc\n")
    with pytest.raises(LedgerBehind, match="key"):
        real.open()
    real.key.unlink()
    with pytest.raises(LedgerBehind, match="key is missing"):
        real.open()


def test_another_key_makes_every_record_look_edited(real: Real) -> None:
    filled(real.open())
    real.key.unlink()
    make_key(real.key)
    assert kinds(real.open()) == [("edited", seq) for seq in range(1, 6)]


def test_the_anchor_catches_up_after_a_crash_between_the_two(real: Real) -> None:
    ledger = filled(real.open(), 3)
    lines = real.anchor.read_text().splitlines(keepends=True)
    real.anchor.write_text("".join(lines[:2]))
    assert ledger.verify() == []
    ledger.guard()
    ledger.seal("r3", {"plan": "p", "n": 3})
    assert [seal.seq for seal in Anchor(real.anchor).seals()] == [1, 2, 3]


def test_a_line_of_the_anchor_that_was_cut_off_is_passed_over(real: Real) -> None:
    ledger = filled(real.open(), 3)
    text = real.anchor.read_text()
    real.anchor.write_text(text[:-20])
    ledger.guard()
    ledger.seal("r4", {})
    assert [seal.seq for seal in Anchor(real.anchor).seals()] == [1, 2, 4]
    assert ledger.verify() == []


def test_the_key_and_the_anchor_are_for_their_owner_alone(real: Real) -> None:
    filled(real.open())
    for path in real.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_two_processes_make_one_chain(real: Real) -> None:
    first, second = real.open(), real.open()
    for number in range(10):
        (first if number % 2 else second).seal(f"r{number}", {"n": number})
    assert first.verify() == second.verify() == []
    assert first.head()[0] == 10

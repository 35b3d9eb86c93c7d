"""The ledger under fire: writes that fail, processes that are killed, power that is cut. Real processes, real files.

What is acknowledged (`seal` has returned) stays, what is refused is refused clearly, and nothing has to be repaired by hand.
"""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.sealing import Sealer, assert_whole, opened

from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.state.adapters.sqlite import SqliteDatabase

pytestmark = pytest.mark.no_cover

SEALS = 8
CALLS = {"sync": ("fsync,fdatasync", "EIO"), "write": ("pwrite64,write", "EIO"), "full": ("pwrite64,write", "ENOSPC")}


def strace(kind: str, when: str, log: Path) -> list[str]:
    calls, error = CALLS[kind]
    return [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(log),
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error={error}:when={when}",
    ]


def broken(root: Path, kind: str, when: str) -> tuple[Sealer, int]:
    """A process whose calls of this kind fail when it is said; how many did."""
    log = root.parent / f"{root.name}.strace"
    sealer = Sealer(root, "r", SEALS, under=strace(kind, when, log))
    assert sealer.end() == 0, sealer.told
    assert len(sealer.told.sealed) == SEALS
    return sealer, len(re.findall(r"\(INJECTED\)", log.read_text(errors="replace")))


@pytest.mark.parametrize("kind", CALLS)
def test_every_few_calls_fail(tmp_path: Path, kind: str) -> None:
    """One process meets dozens of failures, in the opening and in each seal."""
    # A seal takes one call of the first kind and about ten of the others; some have to come through.
    with opened(tmp_path):  # making the tables is one transaction of more calls than come through here
        pass
    sealer, injected = broken(tmp_path, kind, "2+3" if kind == "sync" else "3+17")
    assert_whole(tmp_path, sealer.told.sealed)
    assert injected >= 5
    assert len(sealer.told.refused) >= 2, "a failure that nobody was told of"


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", CALLS)
def test_the_nth_call_fails_for_every_n(tmp_path: Path, kind: str) -> None:
    """From the first call of the very first use to the last of the last seal."""
    lost = 0
    for n in range(1, 2000):
        root = tmp_path / str(n)
        root.mkdir()
        sealer, failures = broken(root, kind, str(n))
        assert_whole(root, sealer.told.sealed)
        shutil.rmtree(root)
        lost += failures
        if failures == 0:
            break
    print(f"{kind}: {lost} calls broken one at a time, 0 acknowledged seals lost")
    assert lost > 10


def kills(root: Path, rounds: int) -> int:
    chance, acknowledged = random.Random(11), dict[int, str]()
    for turn in range(rounds):
        both = [Sealer(root, f"{turn}-{name}", 0) for name in "ab"]
        for sealer in both:
            sealer.until_sealed(1 + chance.randrange(12))
        threading.Event().wait(chance.random() * 0.02)  # in the midst of what it does, not right after an answer
        for sealer in both:
            sealer.kill()
            assert not sealer.told.refused
            acknowledged |= sealer.told.sealed
        assert_whole(root, acknowledged, next_seal=f"after-{turn}")
    return len(acknowledged)


def test_processes_that_seal_are_killed(tmp_path: Path) -> None:
    assert kills(tmp_path, 2) >= 4


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_processes_that_seal_are_killed_a_hundred_times(tmp_path: Path) -> None:
    print(f"200 processes killed, {kills(tmp_path, 100)} acknowledged seals, 0 lost")


# The power is cut: what was synced is on the disk, and any part of what came after.


def lies(folder: Path, *, wal: bytes, db: bytes, anchor: bytes, key: bytes) -> SqlLedger:
    folder.mkdir()
    for name, content in {"mainstay.db": db, "mainstay.db-wal": wal, "anchor.jsonl": anchor, "ledger.key": key}.items():
        (folder / name).write_bytes(content)
    return SqlLedger(SqliteDatabase(folder / "mainstay.db"), folder / "ledger.key", folder / "anchor.jsonl")


def moments(root: Path) -> tuple[bytes, bytes, list[tuple[int, int]], bytes, bytes]:
    """(database, log, [(bytes of log, bytes of anchor) after each seal], anchor, key), the log never written back."""
    with opened(root) as stores:
        folder = stores.directory
        marks = [(_size(folder / "mainstay.db-wal"), 0)]
        for number in range(1, 5):
            stores.ledger.seal(f"r{number}", {"n": number, "text": "x" * 3000})
            marks.append((_size(folder / "mainstay.db-wal"), _size(folder / "anchor.jsonl")))
        read = [
            (folder / name).read_bytes() for name in ("mainstay.db", "mainstay.db-wal", "anchor.jsonl", "ledger.key")
        ]
    return read[0], read[1], marks, read[2], read[3]


def _size(path: Path) -> int:
    return path.stat().st_size


def prefixes(length: int, few: int, chance: random.Random) -> list[int]:
    return sorted({0, length, *(chance.randrange(length) for _ in range(few))})


@pytest.mark.parametrize("few", [12, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_any_part_of_the_log_that_reached_the_disk_is_a_ledger(tmp_path: Path, few: int) -> None:
    db, wal, marks, anchor, key = moments(tmp_path)
    begun, chance = marks[0][0], random.Random(5)
    for number, cut in enumerate(begun + part for part in prefixes(len(wal) - begun, few, chance)):
        synced = max(seals for seals, (size, _) in enumerate(marks) if size <= cut)
        # Not only cut off: a page that was half written holds anything.
        torn = wal[:cut] + chance.randbytes(len(wal) - cut) if number % 2 else wal[:cut]
        ledger = lies(tmp_path / f"cut{number}", db=db, wal=torn, anchor=anchor[: marks[synced][1]], key=key)
        assert ledger.head()[0] == synced
        assert ledger.verify() == []
        ledger.guard()
        assert ledger.seal("next", {}).seq == synced + 1
        assert ledger.verify() == []


def test_a_disk_that_lied_about_what_it_had_synced_is_found(tmp_path: Path) -> None:
    db, wal, marks, anchor, key = moments(tmp_path)
    ledger = lies(tmp_path / "lied", db=db, wal=wal[: marks[2][0]], anchor=anchor, key=key)
    assert [(one.kind, one.seq) for one in ledger.verify()] == [("truncated", 3)]
    with pytest.raises(LedgerBehind, match="2 records of 4"):
        ledger.guard()


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_half_a_line_of_the_anchor_is_caught_up(tmp_path: Path, cut: int) -> None:
    db, wal, marks, anchor, key = moments(tmp_path)
    ledger = lies(tmp_path / "cut", db=db, wal=wal, anchor=anchor[: marks[3][1] + cut], key=key)
    assert ledger.verify() == []
    ledger.guard()
    ledger.seal("next", {})
    assert ledger.verify() == []
    assert sorted(seal.seq for seal in ledger._anchor.seals()) == [1, 2, 3, 5]


# Another process holds the database.


def test_a_database_that_is_locked_is_waited_for(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "state" / "mainstay.db", isolation_level=None)) as other:
        sealer = Sealer(tmp_path, "r", 0)
        sealer.until_sealed(2)
        other.execute("PRAGMA busy_timeout=60000")
        other.execute("BEGIN IMMEDIATE")
        before = dict(sealer.told.sealed)
        # Whoever reads is not held up by it.
        with opened(tmp_path) as stores:
            assert stores.ledger.head()[0] >= len(before)
            assert stores.ledger.verify() == []
        held = len(sealer.told.sealed)
        other.execute("COMMIT")
        sealer.until_sealed(held + 2)
        sealer.kill()
    assert not sealer.told.refused
    assert_whole(tmp_path, sealer.told.sealed)


def locked_for_good(root: Path, monkeypatch: pytest.MonkeyPatch, timeout: str) -> None:
    from mainstay.runner.state.adapters import sqlite
    from mainstay.runner.state.adapters.database import StateUnusable

    monkeypatch.setattr(sqlite, "_AS_ALWAYS", tuple(re.sub(r"30000", timeout, one) for one in sqlite._AS_ALWAYS))
    with (
        opened(root) as stores,
        closing(sqlite3.connect(root / "state" / "mainstay.db", isolation_level=None)) as other,
    ):
        first = stores.ledger.seal("r1", {})
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnusable, match="locked") as caught:
            stores.ledger.seal("r2", {})
        assert caught.value.hint is not None
        assert "Another process has held the database" in caught.value.hint
        assert stores.ledger.get("r1") == first
        other.execute("ROLLBACK")
        assert stores.ledger.seal("r2", {}).seq == 2
    assert_whole(root, {1: first.hash})


def test_one_that_stays_locked_is_said_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked_for_good(tmp_path, monkeypatch, "200")


@pytest.mark.long
def test_one_that_stays_locked_for_half_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked_for_good(tmp_path, monkeypatch, "30000")


def test_strace_breaks_what_it_is_told_to(tmp_path: Path) -> None:
    """Or the tests above would break nothing."""
    argv = [*strace("sync", "1", tmp_path / "log"), "sync", "-d", "/proc/self/exe"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "Input/output error" in done.stderr

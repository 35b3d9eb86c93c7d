"""A state is made on first use only; what is lost later is not made again in silence."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from mainstay.inventory.errors import UsageError
from mainstay.runner.engine.adapters.sqlite_place import FILE as ENGINE_FILE_OF_DBOS
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.state.adapters import stores
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.state.adapters.stores import Stores, open_state

URL = "sqlite:///state/mainstay.db"


def used(root: Path) -> Stores:
    opened = open_state(URL, root)
    opened.ledger.seal("r1", {"plan": "p"})
    return opened


def test_the_engine_and_the_stores_mean_the_same_file() -> None:
    assert stores.ENGINE_FILE == ENGINE_FILE_OF_DBOS


def test_first_use_makes_everything_for_its_owner_alone(tmp_path: Path) -> None:
    opened = used(tmp_path)
    opened.guard()
    assert opened.directory == tmp_path / "state"
    assert stat.S_IMODE(opened.directory.stat().st_mode) == 0o700
    for path in opened.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    opened.close()


def test_opening_again_is_the_same_state(tmp_path: Path) -> None:
    first = used(tmp_path)
    first.close()
    second = open_state(f"sqlite:///{tmp_path}/state/mainstay.db", Path("/nowhere"))
    assert second.state.id == first.state.id
    assert second.ledger.get("r1") is not None
    second.close()


@pytest.mark.parametrize("lost", ["engine.db", "ledger.key", "anchor.jsonl", "mainstay.db"])
def test_a_lost_part_is_named_and_not_made_again(tmp_path: Path, lost: str) -> None:
    used(tmp_path).close()
    place = tmp_path / "state" / lost
    place.unlink()
    with pytest.raises(LedgerBehind, match=lost) as caught:
        open_state(URL, tmp_path)
    assert caught.value.hint and "restore" in caught.value.hint
    assert not place.exists()


@pytest.mark.parametrize("lost", ["engine.db", "ledger.key", "anchor.jsonl"])
def test_a_part_that_is_lost_while_open_is_seen_before_work_starts(tmp_path: Path, lost: str) -> None:
    opened = used(tmp_path)
    (tmp_path / "state" / lost).unlink()
    with pytest.raises(LedgerBehind):
        opened.guard()
    opened.close()


def test_a_database_without_what_it_held_is_seen_before_work_starts(tmp_path: Path) -> None:
    used(tmp_path).close()
    for name in ("mainstay.db", "mainstay.db-wal", "mainstay.db-shm"):
        (tmp_path / "state" / name).unlink(missing_ok=True)
    (tmp_path / "state" / "mainstay.db").touch()
    opened = open_state(URL, tmp_path)
    with pytest.raises(LedgerBehind, match="0 records of 1"):
        opened.guard()
    opened.close()


@pytest.mark.parametrize("made", [[], ["ledger.key"], ["ledger.key", "anchor.jsonl"], ["anchor.jsonl", "engine.db"]])
def test_a_first_use_that_was_cut_off_is_only_a_later_start(tmp_path: Path, made: list[str]) -> None:
    whole = open_state(URL, tmp_path / "whole")
    whole.close()
    (tmp_path / "state").mkdir()
    for name in made:
        (tmp_path / "state" / name).write_bytes((whole.directory / name).read_bytes())
    used(tmp_path).close()


def test_an_engine_that_has_run_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state/engine.db") as engine:
        engine.execute("CREATE TABLE workflow_status (id TEXT)")
    engine.close()
    with pytest.raises(LedgerBehind, match=r"mainstay\.db"):
        open_state(URL, tmp_path)


def test_the_anchor_may_lie_on_another_disk(tmp_path: Path) -> None:
    anchor = tmp_path / "elsewhere" / "anchor.jsonl"
    opened = open_state(URL, tmp_path, anchor=anchor)
    opened.ledger.seal("r1", {})
    assert len(anchor.read_text().splitlines()) == 1
    assert not (tmp_path / "state" / "anchor.jsonl").exists()
    opened.close()


@pytest.mark.parametrize(
    "url",
    ["mysql://db/mainstay", "sqlite://", "sqlite:///", "state.db", "sqlite:///a.db?mode=ro"],
)
def test_another_url_is_refused_with_a_hint(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_state(url, tmp_path)
    assert caught.value.hint and "sqlite:///" in caught.value.hint


def test_a_folder_that_can_not_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="file"):
        SqliteDatabase(tmp_path / "file" / "mainstay.db")


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    used(tmp_path).close()
    (tmp_path / "state" / "mainstay.db").write_bytes(b"not a database " * 100)
    with pytest.raises(StateUnusable, match="not a database"):
        open_state(URL, tmp_path)


def test_a_disk_that_takes_nothing_any_more_is_told_with_a_hint(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "mainstay.db")
    failed = OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))
    with pytest.raises(StateUnusable) as caught, database.read():
        raise failed
    assert caught.value.hint is not None and "Is the disk full" in caught.value.hint
    database.close()


@pytest.mark.thorough
def test_many_first_uses_at_once_make_one_state(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mainstay.runner.state.adapters.stores import open_state\n"
        "opened = open_state('sqlite:///state/mainstay.db', Path(sys.argv[1])); print(opened.state.id)"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ids = {process.communicate(timeout=60)[0].strip() for process in started}
    assert len(ids) == 1
    assert all(process.returncode == 0 for process in started)

"""Everything that a site's state is, opened together: made on first use only, and never made again where a part is lost."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mainstay.inventory.errors import UsageError
from mainstay.runner.artifacts.adapters.files import FileArtifacts
from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.ledger.seals import Anchor, make_key
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase

ENGINE_FILE = "engine.db"
KEY_FILE = "ledger.key"
ANCHOR_FILE = "anchor.jsonl"
ARTIFACTS = "artifacts"


@dataclass(frozen=True, slots=True)
class Stores:
    """directory: the state's folder, where the engine keeps `engine.db` beside the rest."""

    state: SqlState
    ledger: SqlLedger
    artifacts: FileArtifacts
    directory: Path
    database: SqliteDatabase
    anchor: Path

    def guard(self) -> None:
        """Before any work starts. Raises LedgerBehind."""
        for name in (ENGINE_FILE, KEY_FILE):
            if not (self.directory / name).exists():
                raise _lost(self.directory / name)
        self.ledger.guard()

    def close(self) -> None:
        self.state.close()


def open_state(url: str, root: Path, *, anchor: Path | None = None) -> Stores:
    """url: `sqlite:///PATH`, the path relative to `root` (the site's folder) or absolute. anchor: where to keep it, on
    another disk at best; beside the database where not given.

    Raises UsageError for another URL, LedgerBehind where a part of the state is missing.
    """
    path = database_path(url, root)
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    anchor = anchor or directory / ANCHOR_FILE
    with _alone(directory):
        if path.exists():
            for other in (directory / ENGINE_FILE, directory / KEY_FILE, anchor):
                if not other.exists():
                    raise _lost(other)
        else:
            _first_use(path, anchor)
        database = SqliteDatabase(path)
        state = SqlState(database)
        ledger = SqlLedger(database, directory / KEY_FILE, anchor, state.hosts_digest)
    return Stores(state, ledger, FileArtifacts(directory / ARTIFACTS), directory, database, anchor)


def database_path(url: str, root: Path) -> Path:
    """Raises UsageError."""
    scheme, separator, rest = url.partition(":///")
    if scheme.startswith("postgres"):
        raise UsageError(f"state: {scheme} is not supported yet", hint="Use `state: sqlite:///state/mainstay.db`.")
    if scheme != "sqlite" or not separator or not rest or "?" in rest:
        raise UsageError(f"state: {url!r} is not a state's URL", hint="Use `state: sqlite:///state/mainstay.db`.")
    return (root / rest).absolute()


def _first_use(path: Path, anchor: Path) -> None:
    """Make what the database belongs with; the database itself comes last, so that a crash here is only a later start."""
    engine = path.parent / ENGINE_FILE
    if Anchor(anchor).last() is not None or (engine.exists() and _has_tables(engine)):
        raise _lost(path)
    make_key(path.parent / KEY_FILE)
    Anchor(anchor).make()
    os.close(os.open(engine, os.O_RDWR | os.O_CREAT, 0o600))


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _lost(path: Path) -> LedgerBehind:
    return LedgerBehind(
        f"a part of the state is missing: {path}",
        hint="Going on would hide what is lost. Bring the state back with `mainstay state restore`, "
        "or move its folder away to begin a new one.",
    )


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two first uses at once make one state."""
    number = os.open(directory / "opening.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)

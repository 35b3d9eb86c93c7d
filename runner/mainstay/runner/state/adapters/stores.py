"""Everything that a site's state is, opened together: made on first use only, and never made again where a part is lost."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.inventory.errors import UsageError, WrongValue
from mainstay.inventory.postgres import is_postgres, postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.artifacts.adapters.files import FileArtifacts
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.engine.adapters.place import SCHEMA as ENGINE_SCHEMA
from mainstay.runner.engine.adapters.place import TABLE as ENGINE_TABLE
from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.ledger.seals import Anchor, make_key
from mainstay.runner.state.adapters import machine
from mainstay.runner.state.adapters.database import PATIENCE, Database
from mainstay.runner.state.adapters.machine import lost
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from mainstay.runner.state.adapters.postgres import PostgresDatabase

ENGINE_FILE = "engine.db"
KEY_FILE = "ledger.key"
ANCHOR_FILE = "anchor.jsonl"
ARTIFACTS = "artifacts"
CACHE = "cache"
OPENING = 5.0
"""Seconds for which a database that is away is asked while a state is opened: somebody waits at the terminal."""


@dataclass(frozen=True, slots=True)
class Stores:
    """directory: this machine's folder: the key, the anchor, locks; with SQLite all else too. engine_url: where the
    engine keeps its own tables, as SQLAlchemy takes it, password and all. notices: what somebody should be told once."""

    state: SqlState
    ledger: SqlLedger
    artifacts: Artifacts
    directory: Path
    database: Database
    anchor: Path
    key: Path
    engine_url: str = field(repr=False)
    notices: tuple[str, ...] = ()

    def guard(self) -> None:
        """Before any work starts. Raises LedgerBehind."""
        if not self.key.exists():
            raise lost(self.key)
        if isinstance(self.database, SqliteDatabase):
            if not (self.directory / ENGINE_FILE).exists():
                raise lost(self.directory / ENGINE_FILE)
        else:
            machine.check(self.database, self.key)
            if not self._has_engine() and self.state.runs(in_flight=True):
                raise LedgerBehind(
                    f"a part of the state is missing: schema {ENGINE_SCHEMA} in {self.database.name}",
                    hint="Runs are in flight whose steps it held. Bring the state back with `mainstay state restore`.",
                )
        self.ledger.guard()

    def _has_engine(self) -> bool:
        from mainstay.runner.state.adapters.postgres import has_relation

        def look() -> bool:
            with self.database.read() as of:
                return has_relation(of, ENGINE_SCHEMA, ENGINE_TABLE)

        return self.database.persist(look)

    def close(self) -> None:
        self.state.close()


def open_state(
    url: str,
    root: Path,
    *,
    directory: Path | None = None,
    key: Path | None = None,
    anchor: Path | None = None,
    password: Secret | None = None,
) -> Stores:
    """url: `sqlite:///PATH`, the path relative to `root` (the site's folder) or absolute, or `postgresql://…`.

    key: of the ledger; anchor: where to keep it, on another disk at best; both in the state's folder where not given.
    With PostgreSQL: directory, this machine's folder; password, where the URL's user needs one.

    Raises UsageError for another URL, StateUnusable, LedgerBehind where a part of the state is missing.
    """
    if is_postgres(url):
        directory = directory or root / "state"
        return _open_shared(url, directory, key or directory / KEY_FILE, anchor or directory / ANCHOR_FILE, password)
    path = database_path(url, root)
    directory = path.parent
    key, anchor = key or directory / KEY_FILE, anchor or directory / ANCHOR_FILE
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(directory):
        if path.exists():
            for other in (directory / ENGINE_FILE, key, anchor):
                if not other.exists():
                    raise lost(other)
        else:
            _first_use(path, key, anchor)
        database = SqliteDatabase(path)
        state = SqlState(database)
        ledger = SqlLedger(database, key, anchor, state.hosts_digest)
    engine = f"sqlite:///{(directory / ENGINE_FILE).absolute()}"
    artifacts = FileArtifacts(directory / ARTIFACTS)
    return Stores(state, ledger, artifacts, directory, database, anchor, key, engine)


def open_database(url: str, password: Secret | None, *, user: str | None = None) -> PostgresDatabase:
    """The database of a state in PostgreSQL, and nothing of the state. user: instead of the URL's. Raises UsageError."""
    from mainstay.runner.state.adapters.postgres import PostgresDatabase  # and its driver: not for a state in SQLite

    try:
        address = postgres_address(url)
    except WrongValue as error:
        raise UsageError(f"state: {error.message}", hint=error.hint) from error
    return PostgresDatabase(address if user is None else address.as_user(user), password, patience=OPENING)


def _open_shared(url: str, directory: Path, key: Path, anchor: Path, password: Secret | None) -> Stores:
    from mainstay.runner.artifacts.adapters.shared import SharedArtifacts
    from mainstay.runner.state.adapters.postgres import engine_url

    database = open_database(url, password)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(directory):
            ready(database)
            machine.claim(database, directory, key, Anchor(anchor))
            state = SqlState(database)
            ledger = SqlLedger(database, key, anchor, state.hosts_digest)
            notices = machine.settle(database.name, state.id, directory, ledger, Anchor(anchor))
        artifacts = SharedArtifacts(database, directory / CACHE)
        database.patience = PATIENCE
    except BaseException:
        database.close()
        raise
    engine = engine_url(database.address, password)
    return Stores(state, ledger, artifacts, directory, database, anchor, key, engine, notices)


def database_path(url: str, root: Path) -> Path:
    """Of a state in SQLite. Raises UsageError."""
    scheme, separator, rest = url.partition(":///")
    if scheme != "sqlite" or not separator or not rest or "?" in rest:
        raise UsageError(f"state: {url!r} is not a state's URL", hint="Use `state: sqlite:///state/mainstay.db`.")
    return (root / rest).absolute()


def _first_use(path: Path, key: Path, anchor: Path) -> None:
    """Make what the database belongs with; the database itself comes last, so that a crash here is only a later start."""
    engine = path.parent / ENGINE_FILE
    if Anchor(anchor).last() is not None or (engine.exists() and _has_tables(engine)):
        raise lost(path)
    make_key(key)
    Anchor(anchor).make()
    os.close(os.open(engine, os.O_RDWR | os.O_CREAT, 0o600))


def _has_tables(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two first uses at once make one state."""
    number = os.open(directory / "opening.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)

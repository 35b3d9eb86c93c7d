"""`mainstay.db`: one file, one pool, for the state and the ledger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite

from mainstay.runner.state.adapters.database import Database, StateUnusable

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # a sealed record outlives a power cut
    "busy_timeout=30000",
    "foreign_keys=ON",
    "recursive_triggers=ON",  # without it INSERT OR REPLACE goes round the delete trigger
    "trusted_schema=OFF",
)
_FIRST = tuple(f"PRAGMA {pragma}" for pragma in PRAGMAS)
_AS_ALWAYS = tuple(f"PRAGMA {pragma}" for pragma in PRAGMAS)


class SqliteDatabase(Database):
    """Connections to one file, made where it is not (0600). Raises StateUnusable."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StateUnusable(f"{path} can't be opened: {error.strerror}") from error
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            creator=lambda: _connected(path, _AS_ALWAYS),
            pool_size=8,
            max_overflow=24,
            pool_timeout=60,
            hide_parameters=True,
        )
        super().__init__(str(path), engine)
        event.listen(engine, "begin", _begun)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, long: bool = False) -> Iterator[sa.Connection]:
        with self._translated(), self._writer, self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def noting(self) -> Iterator[sa.Connection]:
        with self._translated(), self._writer, self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            driver: Any = connection.connection.driver_connection
            # The write-ahead log is synced by the next write that asks for it, in the order written.
            driver.execute("PRAGMA synchronous=NORMAL")
            try:
                with connection.begin():
                    yield connection
            finally:
                driver.execute("PRAGMA synchronous=FULL")

    def insert(self, table: sa.Table) -> Any:
        return sqlite.insert(table)

    def greatest(self, *values: Any) -> sa.ColumnElement[Any]:
        return sa.func.max(*values)

    def least(self, *values: Any) -> sa.ColumnElement[Any]:
        return sa.func.min(*values)

    def bytes_of(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bytes]:
        return sa.cast(column, sa.LargeBinary)

    def has_table(self, of: sa.Connection, name: str) -> bool:
        query = sa.text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")
        return of.execute(query, {"name": name}).first() is not None

    def copy(self, target: Path) -> None:
        """The file as it is at one moment, also while others write. Raises StateUnusable."""
        self.close()  # on a full disk each connection is alone
        try:
            copy_file(self.path, target)
        except (OSError, sqlite3.Error) as error:
            raise StateUnusable(f"{target} can't be written: {error}", hint=_hint(str(error))) from error

    def _told(self, error: sa.exc.DBAPIError) -> StateUnusable | None:
        if type(error) not in (sa.exc.DatabaseError, sa.exc.OperationalError):
            return None
        return StateUnusable(f"{self.name}: {error.orig}", hint=_hint(str(error.orig)))


def copy_file(source: Path, target: Path) -> None:
    """A database as it is at one moment, also while others write; 0600. Raises OSError, sqlite3.Error."""
    # Read once before: a lock that is held is told then, while a copy would wait for it without end.
    read = ("PRAGMA busy_timeout=30000", "SELECT count(*) FROM sqlite_master")
    with closing(_connected(source, read)) as old, closing(sqlite3.connect(target)) as new:
        target.chmod(0o600)
        old.backup(new)


def _connected(path: Path, first: Sequence[str] = _FIRST) -> sqlite3.Connection:
    """As every process has it. Alone, where a full disk has no room for the memory that processes share over the log
    (https://sqlite.org/wal.html#noshm): what only reads still can, and what writes hears that the disk is full."""
    try:
        return _opened(path, first)
    except sqlite3.OperationalError as error:
        if "disk I/O error" not in str(error):
            raise
        return _opened(path, ("PRAGMA locking_mode=EXCLUSIVE", *first))


def _opened(path: Path, first: Sequence[str]) -> sqlite3.Connection:
    # The pool lends a connection to one thread at a time, and not always to the same.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)  # BEGIN is said by us
    try:
        for statement in first:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _begun(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    # IMMEDIATE: a transaction that reads before it writes would fail where another one writes in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _hint(text: str) -> str | None:
    if "locked" in text:
        return "Another process has held the database for half a minute; is it stopped in a debugger, or on NFS?"
    if "full" in text:
        return "The disk is full: make room, then go on with `mainstay runs resume RUN`."
    if "disk I/O error" in text:  # what SQLite says too where a full disk has no room for its shared memory
        return "Is the disk full, or failing? Make room, then go on with `mainstay runs resume RUN`."
    if "not a database" in text or "malformed" in text:
        return "Bring the state back from its backup with `mainstay state restore`."
    if "readonly" in text or "unable to open" in text:
        return "Look at the owner and the rights of the state's folder."
    return None

"""`mainstay.db`: one file, one pool, for the state and the ledger."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from mainstay.inventory.errors import MainstayError

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # a sealed record outlives a power cut
    "busy_timeout=30000",
    "foreign_keys=ON",
    "recursive_triggers=ON",  # without it INSERT OR REPLACE goes round the delete trigger
    "trusted_schema=OFF",
)


class StateUnusable(MainstayError):
    """The database can't be opened or written."""

    kind = "state"


class Database:
    """Connections to one SQLite file. `read` sees one moment; `write` is one short transaction, alone in its time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StateUnusable(f"{path} can't be opened: {error.strerror}") from error
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)), pool_size=8, max_overflow=24, pool_timeout=60
        )
        # SQLite lets waiting writers sleep and try again; threads of one process can queue instead.
        self._writer = threading.Lock()
        event.listen(self._engine, "connect", _connected)
        event.listen(self._engine, "begin", _begun)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        with self._translated(), self._writer, self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            if type(error) not in (sa.exc.DatabaseError, sa.exc.OperationalError):
                raise  # a constraint, or a fault of ours
            raise StateUnusable(f"{self.path}: {error.orig}", hint=_hint(error)) from error

    def close(self) -> None:
        self._engine.dispose()


def _connected(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # BEGIN is said by us
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begun(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    # IMMEDIATE: a transaction that reads before it writes would fail where another one writes in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _hint(error: sa.exc.DatabaseError) -> str | None:
    text = str(error.orig)
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

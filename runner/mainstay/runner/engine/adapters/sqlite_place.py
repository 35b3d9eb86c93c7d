"""The engine's store in a file of this machine: `engine.db`, and beside it the locks of whoever lives."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mainstay.runner.engine.adapters.place import ROWS, TAKE_OVER, Row
from mainstay.runner.engine.contract import EngineUnusable
from mainstay.runner.engine.liveness import FileLiveness, Timing

FILE = "engine.db"
EXECUTORS = "executors"
WAIT = 30.0
"""Seconds that another process may hold the file for writing."""


class SqlitePlace:
    """Implements Place. The folder is made where it is not (0700), by `liveness`; the file by `prepare`."""

    shared = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE
        self.url = f"sqlite:///{self._path.absolute()}"

    def exists(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    def prepare(self) -> None:
        """Make `engine.db` (0600, write-ahead log)."""
        check_library()
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(self._path, timeout=WAIT)) as connection:
                (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise EngineUnusable(f"{self._path} can't be opened: {error}") from error
        if mode != "wal":
            raise EngineUnusable(
                f"{self._path}: SQLite refuses its write-ahead log here (it says {mode!r})",
                hint="Put the state on a local file system.",
            )

    def starting(self) -> AbstractContextManager[None]:
        return nullcontext()  # DBOS makes its tables in one transaction here

    def settings(self) -> dict[str, Any]:
        return {}

    def liveness(self, timing: Timing) -> FileLiveness:
        return FileLiveness(self._directory / EXECUTORS, timing)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=WAIT, isolation_level=None)) as connection:
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def rows(self) -> list[Row]:
        with self._transaction("BEGIN") as connection:
            return [Row(*row) for row in connection.execute(ROWS)]

    def take_over(self, rows: Sequence[Row], queue: Callable[[Row], str]) -> list[str]:
        now, taken = int(time.time() * 1000), list[str]()
        with self._transaction("BEGIN IMMEDIATE") as connection:
            for row in rows:
                values = {"to": queue(row), "now": now, **row.seen()}
                if connection.execute(TAKE_OVER, values).rowcount:
                    taken.append(row.id)
        return taken

    def close(self) -> None:
        """Nothing is held between two questions."""

    def unusable(self, error: BaseException) -> EngineUnusable | None:
        at: BaseException | None = getattr(error, "orig", error)  # SQLAlchemy wraps it
        return self._failed(at) if isinstance(at, sqlite3.Error) else None

    def _failed(self, error: sqlite3.Error) -> EngineUnusable:
        hint = None
        if "locked" in str(error):
            hint = "Another process holds it for writing; is one stopped, or in a debugger?"
        return EngineUnusable(f"{self._path}: {error}", hint=hint)


def check_library() -> None:
    """DBOS picks its time function by Python's version where SQLite's matters: 3.12 with SQLite before 3.42 fails."""
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise EngineUnusable(
            f"the engine needs SQLite 3.42 or newer under Python {sys.version_info.major}.{sys.version_info.minor}; "
            f"this one brings {sqlite3.sqlite_version}",
            hint="Run mainstay with Python 3.11, or with a Python built against a newer SQLite.",
        )

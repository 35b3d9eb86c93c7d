"""SQLite: the file is opened, checked as a whole, and asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from mainstay.recovery.proving import asserting
from mainstay.recovery.proving.attempt import Attempt, NotProved, Tried
from mainstay.recovery.words import counted, sized
from mainstay.runner.verdict import Verdict

OFTEN = 100_000
"""Steps of SQLite's machine between two looks at the clock."""


def prove_sqlite(attempt: Attempt) -> Tried:
    brought = attempt.dump()
    attempt.phase("recover")
    database = _open(brought.path)
    try:
        database.set_progress_handler(lambda: int(attempt.clock() > attempt.until), OFTEN)
        tables = _checked(attempt, database)
        attempt.phase("verify")
        for one in attempt.checks:
            if why := asserting.judge(one, _answer(attempt, database, one.query), attempt.at):
                raise NotProved(why)
    finally:
        database.close()
    asked = f", {counted(len(attempt.checks), 'assertion')} held" if attempt.checks else ""
    scope = f"{brought.path.name}: {counted(tables, 'table')}, {sized(brought.size)}{asked}"
    return Tried(Verdict.SUCCEEDED, scope=scope, bytes=brought.size)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    return database


def _checked(attempt: Attempt, database: sqlite3.Connection) -> int:
    """How many tables it has."""
    try:
        said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(5)")]
        (count,) = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
    except sqlite3.Error as error:
        attempt.left()
        raise NotProved(f"SQLite can't read it: {error}") from None
    if said != ["ok"]:
        raise NotProved(f"its integrity check found: {'; '.join(said)[:300]}")
    return int(count)


def _answer(attempt: Attempt, database: sqlite3.Connection, query: str) -> str | None:
    try:
        row = database.execute(query).fetchone()
    except sqlite3.Error as error:
        attempt.left()
        raise NotProved(f"`{query}` could not be asked: {error}") from None
    return None if row is None or row[0] is None else str(row[0])

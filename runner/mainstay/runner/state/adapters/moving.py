"""What a backup of a state in SQLite holds, as the rows that PostgreSQL reads: for a site that has outgrown one machine.

The engine's part stays behind, so no run may be in flight.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from ulid import ULID

from mainstay.inventory.errors import UsageError
from mainstay.runner.artifacts.adapters.shared import CHUNK
from mainstay.runner.ledger.adapters.sql import record
from mainstay.runner.state.adapters import tables
from mainstay.runner.state.adapters.dump import Dumped
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.adapters.migrations import REVISIONS
from mainstay.runner.state.adapters.postgres import SCHEMA
from mainstay.runner.state.adapters.sqlite import SqliteDatabase

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\\\x00"})
"""Of COPY's text format. A NUL, which PostgreSQL takes in no text, is written as what a state has kept for it since."""


def rows_of(database: Path, artifacts: Path, rows: Path) -> Dumped:
    """A file for each table into `rows`, from the state's file and its artifacts' folder. An older state is brought up first.

    Raises UsageError where a run is in flight, StateUnusable, LedgerBehind, sqlite3.Error.
    """
    opened = SqliteDatabase(database)
    try:
        ready(opened)
    finally:
        opened.close()
    columns: dict[str, list[str]] = {}
    with closing(sqlite3.connect(database)) as of:
        unfinished = [id for (id,) in of.execute("SELECT id FROM run WHERE state != 'ended' ORDER BY number")]
        if unfinished:
            raise UsageError(
                f"run {unfinished[0]} was in flight when the backup was made, and can't go on in another database",
                hint="Let runs end (mainstay runs), back up again, and start no other before the state has moved.",
            )
        for table in (*tables.metadata.sorted_tables, record):
            columns[f"{SCHEMA}.{table.name}.copy"] = list(table.c.keys())
            _write(rows / f"{SCHEMA}.{table.name}.copy", _lines(of, table))
    columns |= _artifacts(artifacts, rows)
    return Dumped(REVISIONS[-1], columns)


def _lines(of: sqlite3.Connection, table: sa.Table) -> Iterator[bytes]:
    query = sa.select(*table.c).order_by(*table.primary_key).compile(dialect=sqlite.dialect())
    for row in of.execute(str(query)):
        yield ("\t".join("\\N" if value is None else str(value).translate(_ESCAPES) for value in row) + "\n").encode()


def _artifacts(folder: Path, rows: Path) -> dict[str, list[str]]:
    """As they lie in their files: `packing` makes the same for both stores."""
    now, kept = time.time(), sorted(folder.glob("*/[0-9a-f][0-9a-f]/*"))
    uploads = {place: str(ULID()) for place in kept}

    def lines() -> Iterator[bytes]:
        for place in kept:
            words = (
                place.parent.parent.name,
                place.parent.name + place.name,
                uploads[place],
                place.stat().st_size,
                now,
            )
            yield ("\t".join(map(str, words)) + "\n").encode()

    def chunks() -> Iterator[bytes]:
        yield _SIGNATURE
        for place in kept:
            with place.open("rb") as file:
                for number, data in enumerate(iter(lambda: file.read(CHUNK), b"")):  # used up in its round
                    fields = (uploads[place].encode(), struct.pack("!i", number), data)
                    yield struct.pack("!h", len(fields)) + b"".join(struct.pack("!i", len(one)) + one for one in fields)
        yield struct.pack("!h", -1)

    written = {tables.artifact: lines(), tables.artifact_chunk: chunks()}
    for table, content in written.items():
        _write(rows / f"{SCHEMA}.{table.name}.copy", content)
    return {f"{SCHEMA}.{table.name}.copy": list(table.c.keys()) for table in written}


def _write(path: Path, content: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        path.chmod(0o600)
        file.writelines(content)

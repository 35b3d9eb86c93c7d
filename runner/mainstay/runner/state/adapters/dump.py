"""All rows of a state in PostgreSQL into files and back, table by table, as COPY writes them
(https://www.postgresql.org/docs/current/sql-copy.html): of one moment, with the engine's tables, without anybody's rights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from mainstay.inventory.errors import UsageError
from mainstay.runner.engine.adapters.place import SCHEMA as ENGINE_SCHEMA
from mainstay.runner.engine.adapters.place import TABLE as ENGINE_TABLE
from mainstay.runner.ledger.adapters.guards import TABLE as LEDGER
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.runner.state.adapters.migrating import current, migrate
from mainstay.runner.state.adapters.migrations import REVISIONS
from mainstay.runner.state.adapters.postgres import SCHEMA, PostgresDatabase, engine_url, has_relation
from mainstay.runner.state.adapters.tables import artifact_chunk, meta

LEFT_OUT = {(SCHEMA, "alembic_version"), (ENGINE_SCHEMA, "dbos_migrations")}
"""What says how the tables are made, which the one who makes them again writes himself."""
BINARY = {(SCHEMA, artifact_chunk.name)}
"""Twice as large as text."""
FILE = re.compile(rf"({SCHEMA}|{ENGINE_SCHEMA})\.([a-z0-9_]{{1,63}})\.copy")
_PIECE = 256 * 1024

_TABLES = sa.text(
    "SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum) AS columns "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
    "WHERE n.nspname IN (:ours, :engines) AND c.relkind = 'r' GROUP BY c.oid, n.nspname, c.relname "
    # What another table is referred to by comes after it.
    "ORDER BY n.nspname, EXISTS (SELECT 1 FROM pg_catalog.pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'), "
    "c.relname"
)
_SEQUENCES = sa.text(
    "SELECT c.relname, a.attname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "WHERE n.nspname = :ours AND c.relkind = 'r' AND pg_get_serial_sequence(:ours || '.' || quote_ident(c.relname), "
    "a.attname) IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class Dumped:
    """columns: file → its columns. In the order in which they are read in again."""

    revision: str
    columns: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """records: how many the ledger holds. in_flight: ids of unfinished runs. index: their hashes by seq, asked in time."""

    records: int
    in_flight: tuple[str, ...]
    index: Callable[[], dict[int, str]]


def dump(database: PostgresDatabase, folder: Path) -> Dumped:
    """A file for each table into `folder`. Raises StateUnusable."""
    columns: dict[str, list[str]] = {}
    with _told(database), database.snapshot() as of:
        revision = current(database, of)
        assert revision is not None, "the state is open"
        for schema, table, names in of.execute(_TABLES, {"ours": SCHEMA, "engines": ENGINE_SCHEMA}).all():
            if (schema, table) in LEFT_OUT:
                continue
            file = f"{schema}.{table}.copy"
            columns[file] = names
            _copy_out(of, folder / file, schema, table, names)
    return Dumped(revision, columns)


def load(
    database: PostgresDatabase, folder: Path, dumped: Dumped, *, leap: int, before_commit: Callable[[Loaded], None]
) -> Loaded:
    """Make the state of the files in an empty database. before_commit: called when all is in; what it raises undoes it.

    Raises UsageError where the database holds a state, or the files are a newer version's; StateUnusable.
    """
    if dumped.revision not in REVISIONS:
        hint = "Restore it with that version, or a newer one."
        raise UsageError(f"the backup was written by a newer mainstay (revision {dumped.revision})", hint=hint)
    revision = database.persist(lambda: _check_empty(database))
    if revision is None:
        migrate(database, to=dumped.revision)
    elif revision != dumped.revision:
        hint = "Restore with that version of mainstay into an empty database, then: mainstay state migrate"
        raise UsageError(f"the backup is of revision {dumped.revision}, {database.name} of {revision}", hint=hint)
    if any(file.startswith(f"{ENGINE_SCHEMA}.") for file in dumped.columns):
        _make_engine(database)
    with _told(database), database.write(long=True) as to:
        there = {(row.nspname, row.relname) for row in to.execute(_TABLES, {"ours": SCHEMA, "engines": ENGINE_SCHEMA})}
        for file, names in dumped.columns.items():
            schema, table = file.split(".")[:2]
            if (schema, table) not in there:
                raise UsageError(f"the backup holds {schema}.{table}, which this version does not know")
            _copy_in(to, folder / file, schema, table, names)
        for table, column in to.execute(_SEQUENCES, {"ours": SCHEMA}).all():
            _advance(to, table, column)
        fence = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + leap, sa.Text)
        to.execute(sa.update(meta).where(meta.c.name == "fence").values(value=fence))
        records: int = to.execute(sa.select(sa.func.count()).select_from(sa.table(LEDGER))).scalar_one()
        runs = to.exec_driver_sql("SELECT id FROM run WHERE state != 'ended' ORDER BY number").scalars().all()
        loaded = Loaded(records, tuple(runs), lambda: _hashes(to))
        before_commit(loaded)
    if dumped.revision != REVISIONS[-1]:
        migrate(database)
    return loaded


@contextmanager
def _told(database: PostgresDatabase) -> Iterator[None]:
    """COPY goes past SQLAlchemy, and so do its errors."""
    try:
        yield
    except psycopg.Error as error:
        told = error.diag.message_primary or str(error).strip().partition("\n")[0]
        raise StateUnusable(f"{database.name}: {told}", hint="Nothing was changed there.") from error


def _hashes(of: sa.Connection) -> dict[int, str]:
    table = sa.table(LEDGER, sa.column("seq"), sa.column("hash"))
    return {row.seq: row.hash for row in of.execute(sa.select(table))}


def _check_empty(database: PostgresDatabase) -> str | None:
    hint = "Name an empty database, or drop what is in that one: mainstay state sql prints how one is made."
    with database.read() as of:
        revision = current(database, of)
        if revision is not None and of.execute(sa.select(meta).limit(1)).first() is not None:
            raise UsageError(f"{database.name} holds a state already", hint=hint)
        engines = sa.table(ENGINE_TABLE, schema=ENGINE_SCHEMA)
        there = has_relation(of, ENGINE_SCHEMA, ENGINE_TABLE)
        if there and of.execute(sa.select(sa.literal(1)).select_from(engines).limit(1)).first() is not None:
            raise UsageError(f"{database.name} holds an engine's rows already", hint=hint)
    return revision


def _make_engine(database: PostgresDatabase) -> None:
    """The engine's own tables, as its library makes them."""
    from dbos import DBOS

    from mainstay.runner.engine.adapters.dbos_store import quiet

    quiet()
    DBOS.migrate(engine_url(database.address, database.password), schema=ENGINE_SCHEMA)


def _copy_out(of: sa.Connection, path: Path, schema: str, table: str, names: list[str]) -> None:
    # Records in their order: they go in again through the guard that demands it.
    order = sql.SQL(" ORDER BY seq") if table == LEDGER else sql.SQL("")
    query = sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT {})").format(
        _list(names), sql.Identifier(schema, table), order, _format(schema, table)
    )
    with path.open("xb") as file, _cursor(of).copy(query) as copy:
        path.chmod(0o600)
        for data in copy:
            file.write(data)


def _copy_in(to: sa.Connection, path: Path, schema: str, table: str, names: list[str]) -> None:
    query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        sql.Identifier(schema, table), _list(names), _format(schema, table)
    )
    with path.open("rb") as file, _cursor(to).copy(query) as copy:
        while data := file.read(_PIECE):
            copy.write(data)


def _advance(to: sa.Connection, table: str, column: str) -> None:
    """The next number is past the highest that came in."""
    query = sql.SQL(
        "SELECT setval(pg_get_serial_sequence({}, {}), greatest(coalesce(max({}), 0), 1), max({}) IS NOT NULL) FROM {}"
    )
    name = sql.Identifier(column)
    _cursor(to).execute(
        query.format(f"{SCHEMA}.{sql.Identifier(table).as_string()}", column, name, name, sql.Identifier(SCHEMA, table))
    )


def _list(names: list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _format(schema: str, table: str) -> sql.SQL:
    return sql.SQL("binary") if (schema, table) in BINARY else sql.SQL("text")


def _cursor(of: sa.Connection) -> psycopg.Cursor[Any]:
    driver = of.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver.cursor()

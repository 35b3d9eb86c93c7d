"""Brings a database to the tables of this version, and refuses one that a newer version made.

A SQLite state is brought up when it is opened, with a copy of it kept. A state in PostgreSQL is made when it is first
opened, and brought up on purpose alone (`mainstay state migrate`): workers of the older version may be at work.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mainstay.runner.ledger.adapters import guards
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.state.adapters.database import Database, StateUnusable
from mainstay.runner.state.adapters.migrations import REVISIONS
from mainstay.runner.state.adapters.sqlite import SqliteDatabase

HERE = Path(__file__).parent / "migrations"
VERSIONS = HERE / "versions"


def ready(database: Database) -> None:
    """The tables of this version are there: made, or brought up where that may be done in passing.

    Raises StateUnusable, LedgerBehind.
    """
    found = database.persist(lambda: _look(database))
    if found == REVISIONS[-1]:
        return
    if found is not None and database.dialect == "postgresql":
        raise StateUnusable(
            f"{database.name} was made by an older mainstay (revision {found})",
            hint="When no worker of that version is left: mainstay state migrate",
        )
    migrate(database)


def migrate(
    database: Database, *, to: str = "head", versions: Sequence[Path] = (VERSIONS,)
) -> tuple[str | None, str | None]:
    """In one transaction, alone in its time. Returns the revisions before and after.

    Raises StateUnusable where a newer version made the database, LedgerBehind where a guard of the ledger is missing
    before or after: making it anew would hide that somebody was at the table.
    """
    known = _revisions(versions)
    with database.write(long=True) as connection:
        before = current(database, connection)
        _check_known(database, before, known)
        if before is not None:
            _guarded(connection)
        if isinstance(database, SqliteDatabase) and before is not None and before != known[-1]:
            _keep_copy(database, known[-1])
        if database.dialect == "postgresql" and before is None:
            _check_server(connection)
            _make_schema(connection)
        _upgrade(database, connection, to, versions)
        if current(database, connection) is not None:
            _guarded(connection)
        return before, current(database, connection)


def revision(database: Database) -> str | None:
    """As `current`, asked on its own."""

    def look() -> str | None:
        with database.read() as of:
            return current(database, of)

    return database.persist(look)


def current(database: Database, of: sa.Connection) -> str | None:
    """The database's revision; None where it holds no state."""
    if database.has_table(of, "alembic_version"):
        found = of.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
        if found is not None:
            return str(found)
    return REVISIONS[0] if database.has_table(of, "maintenance_record") else None


def _look(database: Database) -> str | None:
    with database.read() as of:
        found = current(database, of)
        if database.dialect == "postgresql":
            _check_server(of)
    _check_known(database, found, REVISIONS)
    return found


def _check_known(database: Database, found: str | None, known: Sequence[str]) -> None:
    if found is not None and found not in known:
        raise StateUnusable(
            f"{database.name} was written by a newer mainstay (revision {found})",
            hint="Use that version, or a newer one.",
        )


def _guarded(connection: sa.Connection) -> None:
    for name in guards.missing(connection):
        raise LedgerBehind(
            f"the table's guard {name} is missing or another: records could have been changed or removed",
            hint="`mainstay records verify` says what is wrong; bring the state back from its backup.",
        )


def _check_server(connection: sa.Connection) -> None:
    from mainstay.runner.state.adapters.postgres import check_server  # and its driver: not for a state in SQLite

    check_server(connection)


def _make_schema(connection: sa.Connection) -> None:
    from mainstay.runner.state.adapters.postgres import SCHEMA

    # IF NOT EXISTS asks for the right to make one also where there is one.
    there = sa.text("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :name")
    if connection.execute(there, {"name": SCHEMA}).first() is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")


def _keep_copy(database: SqliteDatabase, target: str) -> None:
    """What there was, beside it: no other process writes now, and readers may."""
    kept = database.path.with_name(f"{database.path.name}.before-{target}")
    draft = kept.with_name(f".{kept.name}")
    draft.unlink(missing_ok=True)
    database.copy(draft)
    number = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
    draft.rename(kept)


def _revisions(versions: Sequence[Path]) -> list[str]:
    """Oldest first."""
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config(versions))
    return [each.revision for each in reversed(list(script.walk_revisions()))]


def _upgrade(database: Database, connection: sa.Connection, to: str, versions: Sequence[Path]) -> None:
    from alembic import command

    def after(**applied: Any) -> None:
        # Where a revision copied the table, its triggers stayed behind.
        guards.make(connection)
        _guarded(connection)

    config = _config(versions)
    config.attributes["connection"] = connection
    config.attributes["after"] = after
    if not database.has_table(connection, "alembic_version") and database.has_table(connection, guards.TABLE):
        command.stamp(config, REVISIONS[0])
    command.upgrade(config, to)


def _config(versions: Sequence[Path]) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(str(place) for place in versions).replace("%", "%%"))
    return config

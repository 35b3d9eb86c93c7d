"""States in PostgreSQL for tests: each in a database of its own, copied from one whose tables are made once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dbos import DBOS

from mainstay.inventory.postgres import PostgresAddress, postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.ledger.adapters import guards
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from tests.servers.postgres import Postgres

_templates: dict[tuple[int, bool], str] = {}
_free: dict[int, list[str]] = {}
"""Databases that can be used again, by the server's port: each is three hundred files to make and to remove."""

_EMPTY = """
ALTER TABLE mainstay.maintenance_record DISABLE TRIGGER ALL;
DO $$ BEGIN EXECUTE (
  SELECT 'TRUNCATE ' || string_agg(format('mainstay.%I', tablename), ', ') || ' RESTART IDENTITY'
  FROM pg_tables WHERE schemaname = 'mainstay' AND tablename <> 'alembic_version'
); END $$
"""


def opened(server: Postgres, name: str, *, user: str = "mainstay", patience: float = 30.0) -> PostgresDatabase:
    return PostgresDatabase(address(server, name, user), Secret(server.PASSWORD), patience=patience)


def address(server: Postgres, name: str, user: str = "mainstay") -> PostgresAddress:
    return postgres_address(server.url(name, user))


@contextmanager
def lent(server: Postgres) -> Iterator[str]:
    """As `with_tables`, given back at the end: for tests that change rows, or the ledger's triggers, and nothing else."""
    free = _free.setdefault(server.port, [])
    name = free.pop() if free else with_tables(server)
    yield name
    server.execute(_EMPTY, database=name)
    database = opened(server, name)
    with database.write() as to:
        guards.make(to)
        assert guards.missing(to) == []
    database.close()
    free.append(name)


def with_tables(server: Postgres, *, engine: bool = False) -> str:
    """A new database with the tables of a state, which is not one yet. engine: with the engine's too, whose making takes a
    second. Returns its name."""
    if (server.port, engine) not in _templates:
        _templates[server.port, engine] = _template(server, engine)
    template = _templates[server.port, engine]
    name = f"{template}_{server.made()}"
    server.execute(f"CREATE DATABASE {name} OWNER mainstay TEMPLATE {template}")
    return name


def _template(server: Postgres, engine: bool) -> str:
    if engine:
        name = with_tables(server)
        DBOS.migrate(server.url(name).replace("mainstay@", f"mainstay:{server.PASSWORD}@"))
        return name
    name = server.database()
    database = opened(server, name)
    ready(database)
    database.close()
    return name

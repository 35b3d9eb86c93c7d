"""States in PostgreSQL for tests: each in a database of its own, copied from one whose tables are made once."""

from __future__ import annotations

from mainstay.inventory.postgres import PostgresAddress, postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from tests.servers.postgres import Postgres

_templates: dict[int, str] = {}


def opened(server: Postgres, name: str, *, user: str = "mainstay", patience: float = 30.0) -> PostgresDatabase:
    return PostgresDatabase(address(server, name, user), Secret(server.PASSWORD), patience=patience)


def address(server: Postgres, name: str, user: str = "mainstay") -> PostgresAddress:
    return postgres_address(server.url(name, user))


def with_tables(server: Postgres) -> str:
    """A new database with the tables of a state, which is not one yet. Returns its name."""
    if server.port not in _templates:
        template = server.database()
        database = opened(server, template)
        ready(database)
        database.close()
        _templates[server.port] = template
    name = f"{_templates[server.port]}_{server.made()}"
    server.execute(f"CREATE DATABASE {name} OWNER mainstay TEMPLATE {_templates[server.port]}")
    return name

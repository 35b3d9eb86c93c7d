"""Who may do what to a state in PostgreSQL: a role that owns the tables, and one that works and can't change a record.

One role for both works too. What that means is said by `weakness`: whoever has its password can take the guards of the
ledger away, and only `records verify` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql

from mainstay.inventory.postgres import PostgresAddress
from mainstay.runner.engine.adapters.place import SCHEMA as ENGINE_SCHEMA
from mainstay.runner.ledger.adapters.guards import TABLE as LEDGER
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.postgres import SCHEMA

OWNER = "mainstay_owner"


@dataclass(frozen=True, slots=True)
class Rights:
    """Of the role that works, over the ledger's table. changes: what it may do to a record, of UPDATE, DELETE, TRUNCATE."""

    role: str
    superuser: bool
    owner: bool
    changes: tuple[str, ...]

    def weakness(self) -> str | None:
        if self.superuser:
            return f"works as {self.role}, a superuser, who can take the ledger's guards away"
        if self.owner:
            return f"works as {self.role}, who owns the ledger's table and can take its guards away"
        if self.changes:
            return f"works as {self.role}, who may {' and '.join(self.changes)} records but for the guards"
        return None


HINT = "`mainstay state sql` prints how a role of its own owns the tables; `mainstay records verify` finds what was changed."


def rights(database: Database) -> Rights:
    query = sa.text(
        "SELECT current_user AS role, "
        "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser, "
        "pg_has_role(c.relowner, 'USAGE') AS owner, "
        "has_table_privilege(c.oid, 'UPDATE') AS may_update, has_table_privilege(c.oid, 'DELETE') AS may_delete, "
        "has_table_privilege(c.oid, 'TRUNCATE') AS may_truncate "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relname = :name"
    )

    def look() -> Rights:
        with database.read() as of:
            row = of.execute(query, {"schema": SCHEMA, "name": LEDGER}).one()
        may = {"update": row.may_update, "delete": row.may_delete, "truncate": row.may_truncate}
        return Rights(row.role, row.superuser, row.owner, tuple(name for name, allowed in may.items() if allowed))

    return database.persist(look)


def grant(database: Database, role: str) -> None:
    """What the role that works needs, and no more. By the owner of the tables; again is success."""
    with database.write() as to:
        driver = to.connection.driver_connection
        assert driver is not None, "it was connected just now"
        query = sa.text("SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = :schema ORDER BY tablename")
        tables = list(to.execute(query, {"schema": SCHEMA}).scalars())
        for statement in _grants(tables, role):
            to.exec_driver_sql(statement.as_string(driver).replace("%", "%%"))


def _grants(tables: list[str], role: str) -> list[sql.Composed]:
    schema, name = sql.Identifier(SCHEMA), sql.Identifier(role)
    made = [
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name),
        sql.SQL("GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA {} TO {}").format(schema, name),
    ]
    special = {LEDGER: sql.SQL("SELECT, INSERT"), "alembic_version": sql.SQL("SELECT")}
    for table in tables:
        place = sql.Identifier(SCHEMA, table)
        allowed = special.get(table, sql.SQL("SELECT, INSERT, UPDATE, DELETE"))
        made.append(sql.SQL("REVOKE ALL ON {} FROM {}").format(place, name))
        made.append(sql.SQL("GRANT {} ON {} TO {}").format(allowed, place, name))
    return made


def script(address: PostgresAddress, owner: str = OWNER) -> str:
    """What a superuser runs once, in psql: roles, database, schemas. It holds no password."""

    def quoted(name: str) -> str:
        return sql.Identifier(name).as_string()

    user, database = quoted(address.user or "mainstay"), quoted(address.database)
    return f"""\
-- In psql, as a superuser. What is there already is said to be; that is no harm.
CREATE ROLE {quoted(owner)} LOGIN;  -- owns the tables; used by `mainstay state migrate` alone
CREATE ROLE {user} LOGIN;  -- works: may add records, and never change one
CREATE DATABASE {database} OWNER {quoted(owner)} ENCODING 'UTF8' TEMPLATE template0;
\\connect {database}
CREATE SCHEMA {SCHEMA} AUTHORIZATION {quoted(owner)};
GRANT USAGE ON SCHEMA {SCHEMA} TO {user};
CREATE SCHEMA {ENGINE_SCHEMA} AUTHORIZATION {user};  -- the engine's own tables
-- Give both a password: \\password {quoted(owner)}  \\password {user}
-- Then: mainstay state migrate --as {quoted(owner)} --password file:PATH
"""

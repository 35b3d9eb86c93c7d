"""PostgreSQL as the state of several machines: schema `mainstay` of the database that the site names.

Nothing waits without an end: a connection is made within CONNECT seconds, the server ends a statement, a wait for a lock
and a transaction that its client left alone, and a server that says nothing at all is given up by `Watch`.
Works with a connection pooler in session mode only: advisory locks belong to sessions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql

from mainstay.inventory.postgres import PostgresAddress
from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.database import PATIENCE, ConnectionLost, Database, StateUnusable
from mainstay.runner.state.adapters.watch import Watch

SCHEMA = "mainstay"
OLDEST = 130000
"""PostgreSQL 13, as `server_version_num` says it."""

POOL = 8
"""Connections of one process at most, opened as they are needed: a server has a hundred by default."""
CONNECT = 5
LOCK = 30.0
STATEMENT = 40.0
IDLE = 5.0
"""Seconds after which the server ends a transaction whose process is stopped: others wait for its locks."""
SILENT = 60.0
"""Seconds after which a transaction is given up by this side."""

WRITERS = 0x6D61696E73746179
"""Of the advisory lock that makes writers take turns: `mainstay` in ASCII. Advisory locks are per database."""

_SESSION = {
    "search_path": f"{SCHEMA}, pg_temp",
    "lock_timeout": f"{LOCK * 1000:.0f}",
    "statement_timeout": f"{STATEMENT * 1000:.0f}",
    "idle_in_transaction_session_timeout": f"{IDLE * 1000:.0f}",
    "client_encoding": "UTF8",
}
_TROUBLE = re.compile("53|58|XX")
"""Out of resources, an error of the system, of the server itself (PostgreSQL, appendix A): never a fault of ours."""
_LOST = re.compile(r"08|57P0[1-5]|25P03|40001|40P01|53300|25006")
"""SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html): connection, shutdown, start, too many
connections, ended as idle, lost against another, a standby that is not promoted yet."""
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|(role|database) .* does not exist"
    r"|certificate verify failed|root certificate|certificate file|does not support SSL|server certificate for"
    r"|service .* not found|Peer authentication failed|is not permitted to log in"
)
"""What a server or libpq says to a connection that it will never take."""

T = TypeVar("T")


class PostgresDatabase(Database):
    """One pool for one process; opens nothing before it is asked. password: None leaves it to libpq to find one."""

    dialect = "postgresql"

    def __init__(self, address: PostgresAddress, password: Secret | None = None, *, patience: float = PATIENCE) -> None:
        self.address = address
        self.password = password
        self.patience = patience
        self._watch = Watch()
        engine = sa.create_engine(
            sa.URL.create("postgresql+psycopg"),
            pool_size=POOL,
            max_overflow=0,  # what overflows is closed after each use, and a new one costs as much as ten writes
            pool_timeout=30,
            pool_use_lifo=True,
            hide_parameters=True,
            isolation_level="READ COMMITTED",
        )
        self._snapshot = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        super().__init__(str(address), engine)
        event.listen(engine, "do_connect", self._given)
        event.listen(engine, "connect", _connected)

    def _given(self, dialect: Any, record: Any, args: Any, given: dict[str, Any]) -> None:
        """What libpq is told; the password is handed over here and kept in no URL."""
        given.clear()
        given |= connecting() | self.address.connection()
        if self.password is not None:
            given["password"] = self.password.reveal()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._translated(), self._snapshot.connect() as connection, self._begun(connection):
            yield connection

    @contextmanager
    def write(self, *, long: bool = False) -> Iterator[sa.Connection]:
        # The connection first: where none can be had, threads don't wait for each other to find out.
        with self._translated(), self._engine.connect() as connection, self._writer, self._begun(connection, long):
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))
            yield connection

    @contextmanager
    def apart(self) -> Iterator[sa.Connection]:
        """A short transaction beside the others, for rows that nobody else writes."""
        with self._translated(), self._engine.connect() as connection, self._begun(connection):
            yield connection

    @contextmanager
    def noting(self) -> Iterator[sa.Connection]:
        with self.apart() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """As `read`, for as long as a backup takes."""
        with self._translated(), self._snapshot.connect() as connection, self._begun(connection, long=True):
            yield connection

    @contextmanager
    def _begun(self, connection: sa.Connection, long: bool = False) -> Iterator[None]:
        if long:
            with connection.begin():
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield
            return
        driver = connection.connection.driver_connection
        assert driver is not None, "it was connected just now"
        with self._watch.over(driver.fileno(), SILENT), connection.begin():
            yield

    def persist(self, work: Callable[[], T]) -> T:
        began: float | None = None
        pause = 0.05
        while True:
            try:
                return work()
            except ConnectionLost:
                now = time.monotonic()
                began = now if began is None else began
                if now - began >= self.patience:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def insert(self, table: sa.Table) -> Any:
        return postgresql.insert(table)

    def greatest(self, *values: Any) -> sa.ColumnElement[Any]:
        return sa.func.greatest(*values)

    def least(self, *values: Any) -> sa.ColumnElement[Any]:
        return sa.func.least(*values)

    def bytes_of(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bytes]:
        return sa.func.convert_to(column, "UTF8", type_=sa.LargeBinary)

    def has_table(self, of: sa.Connection, name: str) -> bool:
        return has_relation(of, SCHEMA, name)

    def close(self) -> None:
        super().close()
        self._watch.close()

    def _told(self, error: sa.exc.DBAPIError) -> StateUnusable | None:
        code = getattr(error.orig, "sqlstate", None)
        text = _plain(error.orig)
        if error.connection_invalidated or _LOST.match(code or "") or (code is None and _unheard(error)):
            if code is None and not error.connection_invalidated and _REFUSED.search(text):
                return StateUnusable(f"{self.name}: {text}", hint=_hint(None, text))
            return ConnectionLost(f"{self.name}: {text}", hint=_hint(code, text))
        if isinstance(error, (sa.exc.IntegrityError, sa.exc.DataError)):
            return None
        hint = _hint(code, text)
        known = hint or code is None or _TROUBLE.match(code)
        return StateUnusable(f"{self.name}: {text}", hint=hint) if known else None


def connecting() -> dict[str, Any]:
    """What every connection of mainstay's to PostgreSQL is made with, so that a silent network is noticed."""
    return {
        "application_name": "mainstay",
        "connect_timeout": CONNECT,
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }


def engine_url(address: PostgresAddress, password: Secret | None) -> str:
    """For another library on SQLAlchemy: the same connection, password and all. Never shown, never logged."""
    query = {key: str(value) for key, value in (connecting() | address.connection()).items()}
    user, database = query.pop("user", None), query.pop("dbname", None)
    # Hosts and ports each behind a key of their own: of `host=a:1` SQLAlchemy reads plain names alone, no `::1` and no `a_1`.
    url = sa.URL.create(
        "postgresql+psycopg",
        username=user,
        password=password.reveal() if password is not None else None,
        database=database,
        query=query,
    )
    # SQLAlchemy leaves spaces in a password as they are; libpq takes no URL with one.
    credentials, at, rest = url.render_as_string(hide_password=False).rpartition("@")
    return credentials.replace(" ", "%20") + at + rest


def has_relation(of: sa.Connection, schema: str, name: str) -> bool:
    """Asked of the catalog, which every role may read."""
    query = sa.text(
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = :schema AND c.relname = :name AND c.relkind IN ('r', 'p')"
    )
    return of.execute(query, {"schema": schema, "name": name}).first() is not None


def check_server(of: sa.Connection) -> None:
    """Raises StateUnusable where this server can't hold a state."""
    query = (
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
        "current_setting('server_encoding'), pg_is_in_recovery()"
    )
    number, version, encoding, standby = of.exec_driver_sql(query).one()
    if number < OLDEST:
        raise StateUnusable(f"the server is PostgreSQL {version}", hint="mainstay needs 13 or newer.")
    if encoding != "UTF8":
        hint = "Make one: CREATE DATABASE mainstay ENCODING 'UTF8' TEMPLATE template0"
        raise StateUnusable(f"the database's encoding is {encoding}", hint=hint)
    if standby:
        hint = "Name the primary, or all of them with ?target_session_attrs=read-write"
        raise StateUnusable("the server is a standby: it can only be read", hint=hint)


def _connected(connection: psycopg.Connection[Any], record: Any) -> None:
    settings = ", ".join("set_config(%s, %s, false)" for _ in _SESSION)
    values = [word for pair in _SESSION.items() for word in pair]
    connection.autocommit = True
    connection.execute(f"SELECT {settings}".encode(), values)
    # An acknowledged record outlives a power cut, whatever the server's default is.
    connection.execute(
        b"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = False


def _unheard(error: sa.exc.DBAPIError) -> bool:
    return isinstance(error.orig, (psycopg.OperationalError, psycopg.InterfaceError))


def _plain(error: BaseException | None) -> str:
    """The first line: what follows may quote a row."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.endswith("?")] or lines  # libpq asks what the hint asks
    return "; ".join(told[:3]) or "the connection broke"


def _hint(code: str | None, text: str) -> str | None:
    if code is None:
        if "password" in text:
            return (
                "Say where the password is to be found: state_password: file:PATH, or $PGPASSFILE; of --as, --password."
            )
        if "does not exist" in text or "pg_hba" in text:
            return "`mainstay state sql` prints what makes the roles and the database."
        return "Does the server run, and can this machine reach it? Unfinished runs go on with `mainstay runs resume`."
    hints = {
        "42501": "Its rights are not enough. Make the tables as their owner: mainstay state migrate --as ROLE. "
        "`mainstay state sql` prints what the roles need.",
        "42P01": "A table is missing: `mainstay state migrate` makes it, `mainstay state restore` brings it back.",
        "42703": "A column is missing: `mainstay state migrate` makes it.",
        "53100": "The database's disk is full: make room, then go on with `mainstay runs resume RUN`.",
        "53200": "The database has no memory left.",
        "53300": "It has no connection left: raise max_connections, or run fewer workers.",
        "55P03": "Another process has held the database for half a minute; is it stopped, or is somebody at work in it?",
        "57014": "The database took too long: is it overloaded, or is somebody at work in it?",
        "25006": "The server can only be read: is it a standby?",
        "58030": "The database's disk fails.",
        "XX001": "The database is damaged: bring the state back with `mainstay state restore`.",
        "XX002": "The database is damaged: bring the state back with `mainstay state restore`.",
    }
    if code in hints:
        return hints[code]
    if code[:2] in ("57", "08"):
        return "The server was stopped or restarted. Unfinished runs go on with `mainstay runs resume`."
    return None

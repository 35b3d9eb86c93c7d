"""The engine's store in a PostgreSQL database, schema `dbos`: any number of processes on any number of machines."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.rows import TupleRow

from mainstay.runner.engine.adapters.place import ROWS, SCHEMA, TAKE_OVER, Row
from mainstay.runner.engine.adapters.postgres_liveness import (
    KEEP_ALIVE,
    Connection,
    PostgresLiveness,
    connect,
    failed,
)
from mainstay.runner.engine.contract import EngineUnusable
from mainstay.runner.engine.liveness import Timing

POOL = 10
"""Connections that DBOS may open, beside two of ours."""
START = 60.0
"""Seconds for others that start at the same time."""
STARTING = 7_205_759_403_792_793
"""The advisory lock around the start of an engine; a number of our own."""


def for_libpq(url: str) -> str:
    """The same address as a URL of libpq's: SQLAlchemy names its driver, and writes a space behind the `?` as `+`."""
    parts = urlsplit(url)
    query = urlencode(parse_qsl(parts.query, keep_blank_values=True), quote_via=quote)
    return urlunsplit(("postgresql", parts.netloc, parts.path, query, ""))


class PostgresPlace:
    """Implements Place. url: `postgresql://…`, with the password in it or in the environment."""

    shared = True

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = for_libpq(url)
        self._session: Connection | None = None
        self._alone = threading.RLock()

    def exists(self) -> bool:
        (row,) = self._ask("SELECT to_regclass('dbos.workflow_status') IS NOT NULL")
        return bool(row[0])

    def prepare(self) -> None:
        self._ask("SELECT 1")

    @contextmanager
    def starting(self) -> Iterator[None]:
        with self._connected("mainstay starts") as session:
            # Asked again and again: one who waits in the server has a snapshot, for whose end DBOS's CREATE INDEX
            # CONCURRENTLY would wait in turn, and no deadlock is seen across two sessions of one process.
            deadline = time.monotonic() + START
            while session.execute("SELECT pg_try_advisory_lock(%s)", (STARTING,)).fetchone() != (True,):
                if time.monotonic() > deadline:
                    raise EngineUnusable(
                        f"another process has been starting an engine on this database for {START:g} s",
                        hint="Is one of them stopped? A session named `mainstay starts` is its.",
                    )
                time.sleep(0.1)
            yield

    @contextmanager
    def _connected(self, name: str) -> Iterator[Connection]:
        try:
            session = connect(self._address, name)
        except psycopg.Error as error:
            raise failed(error) from error
        try:
            yield session
        finally:
            session.close()

    def settings(self) -> dict[str, Any]:
        at_server = {
            **KEEP_ALIVE,
            "tcp_user_timeout": 10_000,
            "connect_timeout": 10,
            "application_name": "mainstay engine",
        }
        return {
            "dbos_system_schema": SCHEMA,
            "sys_db_pool_size": POOL,
            # A process that is frozen in the midst of writing keeps its rows locked for so long, and no longer.
            "sys_db_idle_transaction_timeout_sec": 5.0,
            "db_engine_kwargs": {"connect_args": at_server},
        }

    def liveness(self, timing: Timing) -> PostgresLiveness:
        return PostgresLiveness(self._address, timing, self._ask)

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        """The one session for questions, opened again where it broke."""
        with self._alone:
            try:
                if self._session is None or self._session.closed:
                    self._session = connect(self._address, "mainstay asks")
                    self._session.execute("SET statement_timeout = '10s'")
                    self._session.execute("SET idle_in_transaction_session_timeout = '5s'")
                yield self._session
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) and self._session is not None:
                    with suppress(psycopg.Error):
                        self._session.close()
                raise failed(error) from error

    def _ask(self, query: str) -> list[TupleRow]:
        try:
            return self._asked(query)
        except EngineUnusable:
            if self._session is not None and not self._session.closed:
                raise
        return self._asked(query)  # the server may have been restarted since the last question

    def _asked(self, query: str) -> list[TupleRow]:
        with self._asking() as session:
            return session.execute(query).fetchall()

    def rows(self) -> list[Row]:
        return [Row(*row) for row in self._ask(ROWS)]

    def take_over(self, rows: Sequence[Row], queue: Callable[[Row], str]) -> list[str]:
        now, taken = int(time.time() * 1000), list[str]()
        query = re.sub(r":(\w+)", r"%(\1)s", TAKE_OVER)
        with self._asking() as session, session.transaction():
            for row in rows:
                if session.execute(query, {"to": queue(row), "now": now, **row.seen()}).rowcount:
                    taken.append(row.id)
        return taken

    def unusable(self, error: BaseException) -> EngineUnusable | None:
        at: BaseException | None = getattr(error, "orig", error)  # SQLAlchemy wraps it
        return failed(at) if isinstance(at, psycopg.Error) else None

    def close(self) -> None:
        if self._alone.acquire(timeout=1.0):  # somebody may wait for a database that does not answer
            try:
                if self._session is not None:
                    self._session.close()
            finally:
                self._alone.release()

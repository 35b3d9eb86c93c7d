"""Whether an executor lives, by a session of its own with the database: it holds an advisory lock, which the server lets
go of when the session ends, and it asks something every second.

The session ends with its process, with the server, and after `CUT_OFF` seconds without a word from its machine. An
executor whose session has ended never opens another one: somebody may have taken its work over.
"""

from __future__ import annotations

import hashlib
import logging
import select
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import TupleRow

from mainstay.runner.engine.contract import EngineUnusable
from mainstay.runner.engine.liveness import Timing

log = logging.getLogger("mainstay.runner.engine")

CUT_OFF = 7
"""Seconds after which the server ends the session of a machine that does not answer: 3 idle, then 2 questions of 2 each."""
KEEP_ALIVE: dict[str, Any] = {"keepalives": 1, "keepalives_idle": 3, "keepalives_interval": 2, "keepalives_count": 2}
OF_SERVER = (
    f"SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 2; "
    f"SET tcp_user_timeout = {CUT_OFF}000; SET search_path = dbos"
)
HELD = (
    "SELECT (l.classid::bigint << 32) | l.objid::bigint, a.application_name, a.pid, "
    "EXTRACT(epoch FROM clock_timestamp() - a.state_change)::float8 "
    "FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

Connection = psycopg.Connection[TupleRow]


def lock_of(executor: str) -> int:
    """The advisory lock's number: 64 bits of a hash, signed."""
    return int.from_bytes(hashlib.sha256(f"mainstay executor {executor}".encode()).digest()[:8], "big", signed=True)


def connect(url: str, name: str) -> Connection:
    """A session of ours, committing each statement. Raises psycopg.Error."""
    session = psycopg.connect(
        url, autocommit=True, connect_timeout=10, tcp_user_timeout=5000, application_name=name, **KEEP_ALIVE
    )
    session.execute(OF_SERVER)
    return session


class PostgresLiveness:
    """Implements Liveness. Needs the server itself, not a pool of sessions in between."""

    def __init__(self, url: str, timing: Timing, ask: Callable[[str], list[TupleRow]]) -> None:
        self._url = url
        self._timing = timing
        self._ask = ask
        self._session: Connection | None = None
        self._known = 0.0
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._when_lost: Callable[[], None] = lambda: None
        self._missed: dict[str, float] = {}

    @property
    def lost(self) -> threading.Event:
        return self._lost

    def hold(self, executor: str, version: str, serve: bool, when_lost: Callable[[], None]) -> None:
        self._when_lost = when_lost
        self._known = time.monotonic()
        try:
            session = connect(self._url, f"mainstay {'serves' if serve else 'runs'} {version} {executor}")
            row = session.execute("SELECT pg_try_advisory_lock(%s)", (lock_of(executor),)).fetchone()
        except psycopg.Error as error:
            raise failed(error) from error
        assert row is not None and row[0], "executor ids are never used twice"
        self._session = session
        threading.Thread(target=self._beat, args=(session,), name="sign-of-life", daemon=True).start()

    def _beat(self, session: Connection) -> None:
        while not self._stop.wait(self._timing.beat):
            now = time.monotonic()
            try:
                answer(session.pgconn, self._timing.answer)
            except Exception as error:  # whatever it is: nobody knows any more whether the lock is held
                if not self._stop.is_set():
                    self._lose(error)
                return
            with self._changed:
                self._known = now
                self._changed.notify_all()

    def _lose(self, error: Exception) -> None:
        with self._changed:
            self._lost.set()
            self._changed.notify_all()
        log.error("the session that proves this process alive is lost, and its work is not its own any more: %s", error)
        self._when_lost()

    def sure(self) -> bool:
        with self._changed:
            while not self._lost.is_set() and time.monotonic() - self._known > self._timing.fresh:
                if self._stop.is_set():
                    return False
                self._changed.wait(self._timing.beat)  # the thread that asks will know
            return not self._lost.is_set()

    def release(self) -> None:
        self._stop.set()
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def alive(self, executor: str) -> bool:
        about = self._held().get(lock_of(executor))
        return about is not None and about[2] <= self._timing.lease

    def _held(self) -> dict[int, tuple[str, int, float]]:
        """lock → (the session's name, its process on the server, seconds since it last asked something)."""
        # Another role's session shows no time: it is taken for a living one.
        return {lock: (name, pid, age if age is not None else 0.0) for lock, name, pid, age in self._ask(HELD)}

    def gone(self, executors: Collection[str], patient: bool) -> set[str]:
        """Free for `grace` seconds, so that the one whose session it was has noticed. One that is frozen past its lease has
        its session ended first, in the same way."""
        while True:
            held, now = self._held(), time.monotonic()
            gone, doubtful = set[str](), set[str]()
            for executor in executors:
                about = held.get(lock_of(executor))
                if about is not None and about[2] <= self._timing.lease:
                    self._missed.pop(executor, None)
                    continue
                doubtful.add(executor)
                if now - self._missed.setdefault(executor, now) < self._timing.grace:
                    continue
                if about is None:
                    gone.add(executor)
                else:
                    log.warning("executor %s has been frozen for %.0f s: its session is ended", executor, about[2])
                    self._ask(f"SELECT pg_terminate_backend({int(about[1])})")
                    del self._missed[executor]
            if not patient or doubtful == gone:
                return gone
            time.sleep(self._timing.grace / 5)

    def serving(self) -> dict[str, str]:
        found = {}
        for lock, (name, _, age) in self._held().items():
            words = name.split()
            ours = words[:2] == ["mainstay", "serves"] and len(words) == 4 and lock_of(words[3]) == lock
            if ours and age <= self._timing.lease:
                found[words[3]] = words[2]
        return found

    def sweep(self, owners: Collection[str]) -> None:
        """Nothing is left of a session."""
        self._missed = {executor: at for executor, at in self._missed.items() if executor in owners}


def answer(session: pq.abc.PGconn, seconds: float) -> None:
    """Ask the least and wait so long for the answer. Raises TimeoutError, psycopg.Error."""
    deadline = time.monotonic() + seconds
    session.send_query(b"SELECT 1")
    while True:
        # What has arrived counts, also where this process itself was stopped meanwhile.
        ready, _, _ = select.select([session.socket], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"the database did not answer within {seconds:g} s")
        session.consume_input()
        while not session.is_busy():
            result = session.get_result()
            if result is None:
                return
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace").strip())


def failed(error: psycopg.Error) -> EngineUnusable:
    # psycopg's words name the server and the role, never the password.
    return EngineUnusable(f"the engine's database: {' '.join(str(error).split())}")

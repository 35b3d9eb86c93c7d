"""Engines for the suite that all of them pass: on SQLite, on PostgreSQL, and in memory. Real deaths are in tests/faults."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from dbos import DBOS
from tests.servers.postgres import Postgres

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.adapters.dbos_store import quiet
from mainstay.runner.engine.contract import VERSION, Context, Engine, JsonValue
from mainstay.runner.engine.liveness import Timing
from mainstay.runner.engine.memory import Crash, MemoryEngine, MemoryStore

Body = Callable[[Context, JsonValue], JsonValue]
WAIT = 60.0
QUICK = Timing(beat=0.1, fresh=0.3, grace=0.5, look=0.3)


class Makes(Protocol):
    def engine(self, *, serve: bool = False, version: str = VERSION, **workflows: Body) -> Engine: ...
    def kill(self, engine: Engine) -> None: ...
    def lose(self, engine: Engine) -> None:
        """Take from it what proves that it is alive, while it goes on."""

    def kept(self, workflow: str) -> int:
        """How many checkpoints the store holds of it."""


class MakesDbos:
    """One at a time, as DBOS is one per process; the next one works on the same store."""

    def __init__(self, directory: Path, url: str = "") -> None:
        self.directory = directory
        self.url = url
        self.engines: list[DbosEngine] = []

    def engine(self, *, serve: bool = False, version: str = VERSION, **workflows: Body) -> DbosEngine:
        engine = DbosEngine(self.directory, self.url, version=version, timing=QUICK)
        for name, body in workflows.items():
            engine.register(name, body)
        engine.launch(serve=serve)
        self.engines.append(engine)
        return engine

    def kill(self, engine: Engine) -> None:
        engine.close()

    def lose(self, engine: Engine) -> None:
        assert isinstance(engine, DbosEngine)
        if self.url:
            name = f"%{engine.executor}"
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
            with psycopg.connect(self.url, autocommit=True) as database:
                assert database.execute(query, (name,)).fetchall() == [(True,)]
        else:
            engine._liveness._told -= 1000.0  # type: ignore[attr-defined]  # as if it had stood still so long

    def kept(self, workflow: str) -> int:
        query = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = "
        if self.url:
            with psycopg.connect(self.url, options="-c search_path=dbos") as server:
                row = server.execute(query + "%s", (workflow,)).fetchone()
                assert row is not None
                return int(row[0])
        with closing(sqlite3.connect(self.directory / "engine.db")) as database:
            return int(database.execute(query + "?", (workflow,)).fetchone()[0])


class MakesMemory:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.engines: list[MemoryEngine] = []

    def engine(self, *, serve: bool = False, version: str = VERSION, **workflows: Body) -> MemoryEngine:
        engine = MemoryEngine(self.store, threads=True, version=version)
        for name, body in workflows.items():
            engine.register(name, body)
        engine.launch(serve=serve)
        self.engines.append(engine)
        return engine

    def kill(self, engine: Engine) -> None:
        assert isinstance(engine, MemoryEngine)
        with pytest.raises(Crash):
            engine.die()

    def lose(self, engine: Engine) -> None:
        assert isinstance(engine, MemoryEngine)
        engine.lose()

    def kept(self, workflow: str) -> int:
        return len(self.store.workflows[workflow].checkpoints)


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def makes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Makes]:
    one: MakesDbos | MakesMemory = MakesMemory()
    if request.param == "postgres":
        one = MakesDbos(tmp_path / "state", database(request.getfixturevalue("postgres")))
    elif request.param == "sqlite":
        one = MakesDbos(tmp_path / "state")
    yield one
    for engine in one.engines:
        engine.close()


_numbers = itertools.count()
_templates: dict[int, str] = {}
"""A server's port → a database with the engine's tables."""


def database(postgres: Postgres, *, new: bool = False) -> str:
    """The URL of one with nothing in it, password and all. new: without the engine's tables too, whose making takes a second."""

    def url(name: str) -> str:
        return postgres.url(name).replace("mainstay@", f"mainstay:{postgres.PASSWORD}@")

    if new:
        return url(postgres.database())
    if postgres.port not in _templates:
        template = postgres.database()
        quiet()
        DBOS.migrate(url(template), schema="dbos")
        _templates[postgres.port] = template
    name = f"{_templates[postgres.port]}_{next(_numbers)}"
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE {_templates[postgres.port]} OWNER mainstay")
    return url(name)


class Deeds(list[str]):
    """What was really done, in order."""

    def step(self, ctx: Context, name: str) -> JsonValue:
        return ctx.step(name, lambda: self.do(name))

    def do(self, name: str) -> str:
        self.append(name)
        return f"{name} done"

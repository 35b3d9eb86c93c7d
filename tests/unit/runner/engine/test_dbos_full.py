"""What the engine on DBOS does where its store fails: the disk is full, the database can't be asked."""

from __future__ import annotations

import sqlite3
import threading

import pytest
import sqlalchemy
from sqlalchemy import event
from tests.unit.runner.engine.conftest import WAIT, Makes
from tests.waiting import until

from mainstay.runner.engine.adapters import dbos_ends
from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, EngineStopped, EngineUnusable, JsonValue, Unkept
from mainstay.runner.engine.liveness import Timing

pytestmark = [pytest.mark.thorough]


def test_a_full_disk_leaves_the_run_unfinished_and_it_goes_on_when_there_is_room(makes: Makes) -> None:
    done = Deeds()

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        return len([ctx.step(f"s{number}", lambda number=number: done.do(number)) for number in range(40)])  # type: ignore[misc]

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()

    makes(child=child, parent=parent).close()
    pages = (makes.directory / "engine.db").stat().st_size // 4096

    def small(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 40}")

    event.listen(sqlalchemy.Engine, "connect", small)
    try:
        first = makes(child=child, parent=parent)
        with pytest.raises(EngineStopped, match="disk is full"):
            first.start("parent", "p1", None).result(WAIT)
        assert sorted(first.unfinished()) == ["p1", "p1/c"]
        first.close()
    finally:
        event.remove(sqlalchemy.Engine, "connect", small)
    before = len(done)
    assert 0 < before < 40
    second = makes(child=child, parent=parent)
    assert sorted(second.recover()) == ["p1", "p1/c"]
    assert second.start("parent", "p1", None).result(WAIT) == 40
    assert done == [*range(before), *range(before - 1, 40)]  # only the step whose end could not be kept was done again


def test_one_that_serves_takes_up_again_what_its_store_made_it_let_go(makes: Makes) -> None:
    """The disk was full for a while. Nobody dies, and nobody has to ask."""
    done, full = Deeds(), threading.Event()
    makes(work=lambda ctx, argument: 1).close()
    pages = (makes.directory / "engine.db").stat().st_size // 4096

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        return len([ctx.step(f"s{number}", lambda number=number: done.do(number)) for number in range(40)])  # type: ignore[misc]

    def allow(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 40 if full.is_set() else 2**30}")

    full.set()
    event.listen(sqlalchemy.pool.Pool, "checkout", allow)
    try:
        engine = DbosEngine(makes.directory, timing=Timing(look=0.1))
        engine.register("work", work)
        engine.launch(serve=True)
        makes.engines.append(engine)
        handle = engine.start("work", "w1", None)
        with pytest.raises(EngineStopped, match="disk is full"):
            handle.result(WAIT)
        before = len(done)
        full.clear()
        until(lambda: engine.unfinished() == {})
    finally:
        event.remove(sqlalchemy.pool.Pool, "checkout", allow)
    assert engine.start("work", "w1", None).result(WAIT) == 40
    assert 0 < before < 40
    assert [*dict.fromkeys(done)] == [*range(40)]


def test_what_it_let_go_is_taken_up_also_where_a_thread_of_its_own_waits_for_its_end(makes: Makes) -> None:
    """As a parent's does, for a child that another thread has begun."""
    begun, full = threading.Event(), threading.Event()
    tries: list[str] = []

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        tries.append(ctx.id)
        begun.set()
        assert full.wait(WAIT)
        if len(tries) == 1:
            raise Unkept("the disk is full")
        return len(tries)

    engine = DbosEngine(makes.directory, timing=Timing(look=0.1))
    engine.register("work", work)
    engine.launch(serve=True)
    makes.engines.append(engine)
    engine.submit("work", "w1", None)
    assert begun.wait(WAIT)
    follows = engine.start("work", "w1", None)
    full.set()
    assert follows.result(WAIT) == 2


def test_an_engine_closes_where_nobody_can_be_woken(makes: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: no message can be written to those who wait for one."""
    waits = threading.Event()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        waits.set()
        return ctx.wait("go", 2.0)

    def full(id: str, topic: str, message: JsonValue) -> None:
        raise EngineUnusable("database or disk is full")

    engine = makes(work=work)
    engine.start("work", "w1", None)
    assert waits.wait(WAIT)
    until(lambda: bool(engine._topics))
    monkeypatch.setattr(engine, "signal", full)
    engine.close(wait=5.0)
    assert not engine.alive(engine.executor), "somebody else can take its work over"
    makes(work=work)  # its place in the process is free


def test_a_disk_that_is_full_from_the_start_is_told_as_that(makes: Makes) -> None:
    makes(work=lambda ctx, argument: 1).close()
    pages = (makes.directory / "engine.db").stat().st_size // 4096

    def small(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(sqlalchemy.Engine, "connect", small)
    try:
        engine = makes(work=lambda ctx, argument: 1)
        with pytest.raises(EngineStopped, match="disk is full"):
            engine.start("work", "w1", "x" * 100_000).result(WAIT)
        engine.close()
    finally:
        event.remove(sqlalchemy.Engine, "connect", small)


class Deeds(list[int]):
    def do(self, number: int) -> str:
        self.append(number)
        return "x" * 8000


def test_where_the_store_fails_before_a_run_is_seen_in_it_the_run_is_said_to_be_unfinished(
    makes: Makes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have begun: whoever asked for it is told how it goes on, and not what a library says of a database."""
    go = threading.Event()
    engine = makes(run=lambda ctx, argument: go.wait(WAIT))
    real, asked = dbos_ends.status, list[str]()

    def status(id: str) -> object:
        asked.append(id)
        raise sqlalchemy.exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr(dbos_ends, "status", status)
    with pytest.raises(EngineStopped, match=r"r1 is unfinished: the engine's store failed: disk I/O error") as told:
        engine.start("run", "r1", None)
    assert asked == ["r1"] and "runs resume" in (told.value.hint or "")
    monkeypatch.setattr(dbos_ends, "status", real)
    go.set()
    until(lambda: engine.unfinished() == {})

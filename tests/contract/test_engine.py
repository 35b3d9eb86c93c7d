"""What every engine promises. The real one and its fake pass the same suite; real deaths are in tests/faults."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, Engine, EngineStopped, JsonValue, StepFailed, WorkflowFailed
from mainstay.runner.engine.memory import Crash, MemoryEngine, MemoryStore

Body = Callable[[Context, JsonValue], JsonValue]
WAIT = 20.0


class Makes(Protocol):
    def engine(self, **workflows: Body) -> Engine: ...
    def kill(self, engine: Engine) -> None: ...
    def kept(self, workflow: str) -> int:
        """How many checkpoints the store holds of it."""


class MakesDbos:
    """One at a time, as DBOS is one per process; the next one works on the same files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engines: list[DbosEngine] = []

    def engine(self, **workflows: Body) -> DbosEngine:
        engine = DbosEngine(self.directory)
        for name, body in workflows.items():
            engine.register(name, body)
        engine.launch()
        self.engines.append(engine)
        return engine

    def kill(self, engine: Engine) -> None:
        engine.close()

    def kept(self, workflow: str) -> int:
        query = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = ?"
        with closing(sqlite3.connect(self.directory / "engine.db")) as database:
            return int(database.execute(query, (workflow,)).fetchone()[0])


class MakesMemory:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.engines: list[MemoryEngine] = []

    def engine(self, **workflows: Body) -> MemoryEngine:
        engine = MemoryEngine(self.store, threads=True)
        for name, body in workflows.items():
            engine.register(name, body)
        engine.launch()
        self.engines.append(engine)
        return engine

    def kill(self, engine: Engine) -> None:
        assert isinstance(engine, MemoryEngine)
        with pytest.raises(Crash):
            engine.die()

    def kept(self, workflow: str) -> int:
        return len(self.store.workflows[workflow].checkpoints)


@pytest.fixture(params=["dbos", "memory"])
def makes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Makes]:
    one: MakesDbos | MakesMemory = MakesDbos(tmp_path / "state") if request.param == "dbos" else MakesMemory()
    yield one
    for engine in one.engines:
        engine.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, and fail where it does not come true."""
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


class Deeds(list[str]):
    """What was really done, in order."""

    def step(self, ctx: Context, name: str) -> JsonValue:
        return ctx.step(name, lambda: self.do(name))

    def do(self, name: str) -> str:
        self.append(name)
        return f"{name} done"


def test_returns_what_the_body_returns(makes: Makes) -> None:
    engine = makes.engine(echo=lambda ctx, argument: {"got": argument, "id": ctx.id})
    handle = engine.start("echo", "e1", {"a": [1, 2.5, None, True, "ü\ud800"]})
    assert handle.id == "e1"
    assert handle.result(WAIT) == {"got": {"a": [1, 2.5, None, True, "ü\ud800"]}, "id": "e1"}
    assert handle.done()


def test_starting_again_takes_hold_of_the_same(makes: Makes) -> None:
    deeds = Deeds()
    engine = makes.engine(work=lambda ctx, argument: deeds.step(ctx, str(argument)))
    assert engine.start("work", "w1", "first").result(WAIT) == "first done"
    assert engine.start("work", "w1", "second").result(WAIT) == "first done"
    assert deeds == ["first"]


def test_two_starts_at_once_are_one(makes: Makes) -> None:
    deeds = Deeds()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.wait("go", WAIT)
        return deeds.step(ctx, "it")

    engine = makes.engine(work=work)
    handles = [engine.start("work", "w1", None) for _ in range(5)]
    engine.signal("w1", "go", 1)
    assert [handle.result(WAIT) for handle in handles] == ["it done"] * 5
    assert deeds == ["it"]


def test_an_unknown_workflow_is_refused(makes: Makes) -> None:
    engine = makes.engine()
    with pytest.raises(WorkflowFailed, match="nowhere"):
        engine.start("nowhere", "n1", None)
    assert engine.unfinished() == {}


def test_finished_steps_are_not_repeated_after_a_death(makes: Makes) -> None:
    deeds = Deeds()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        first = deeds.step(ctx, "a")
        ctx.wait("go", 60)
        return [first, deeds.step(ctx, "b")]

    first = makes.engine(work=work)
    handle = first.start("work", "w1", None)
    until(lambda: deeds == ["a"])
    makes.kill(first)
    with pytest.raises(EngineStopped):
        handle.result(WAIT)
    second = makes.engine(work=work)
    assert second.recover() == ["w1"]
    second.signal("w1", "go", "now")
    assert second.start("work", "w1", None).result(WAIT) == ["a done", "b done"]
    assert deeds == ["a", "b"]


def test_launching_recovers_nothing(makes: Makes) -> None:
    deeds = Deeds()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        deeds.step(ctx, "a")
        ctx.wait("go", 60)
        return deeds.step(ctx, "b")

    first = makes.engine(work=work)
    first.start("work", "w1", None)
    until(lambda: deeds == ["a"])
    makes.kill(first)
    second = makes.engine(work=work)
    second.signal("w1", "go", 1)
    time.sleep(1.5)  # longer than every interval at which the engine looks for work
    assert deeds == ["a"]
    assert second.unfinished() == {"w1": first.executor}
    assert not second.alive(first.executor)
    assert second.alive(second.executor)


def test_a_living_executor_keeps_its_workflows(makes: Makes) -> None:
    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.wait("go", 60)

    engine = makes.engine(work=work)
    handle = engine.start("work", "w1", None)
    assert engine.unfinished() == {"w1": engine.executor}
    assert engine.recover() == []
    engine.signal("w1", "go", "on")
    assert handle.result(WAIT) == "on"
    assert engine.unfinished() == {}


def test_a_failed_step_says_what_failed_and_says_the_same_on_a_replay(makes: Makes) -> None:
    told: list[tuple[str, str, str, object]] = []

    def fails() -> JsonValue:
        raise Refused("the disk is full", hint="make room")

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        try:
            ctx.step("space", fails)
        except StepFailed as error:
            told.append((error.step, error.error_type, error.message, error.data))
        return ctx.wait("go", 60)

    first = makes.engine(work=work)
    first.start("work", "w1", None)
    until(lambda: len(told) == 1)
    makes.kill(first)
    second = makes.engine(work=work)
    second.recover()
    second.signal("w1", "go", 1)
    second.start("work", "w1", None).result(WAIT)
    data = {"kind": "refused", "exit_code": 4, "hint": "make room"}
    assert told == [("space", "Refused", "the disk is full", data)] * 2


def test_the_first_time_sees_what_a_replay_will_see(makes: Makes) -> None:
    engine = makes.engine(work=lambda ctx, argument: repr(ctx.step("it", lambda: {1: ("a", "b")})))
    assert engine.start("work", "w1", None).result(WAIT) == "{'1': ['a', 'b']}"


@pytest.mark.parametrize("value", [object(), b"bytes", float("nan"), {"a": {1, 2}}])
def test_a_result_that_is_no_json_is_a_failed_step(makes: Makes, value: object) -> None:
    engine = makes.engine(work=lambda ctx, argument: ctx.step("it", lambda: value))
    with pytest.raises(WorkflowFailed) as caught:
        engine.start("work", "w1", None).result(WAIT)
    assert caught.value.error_type in ("TypeError", "ValueError")


def test_a_failed_body_is_told_to_whoever_asks(makes: Makes) -> None:
    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        raise MainstayError("nobody knows")

    engine = makes.engine(work=work)
    for _ in range(2):
        with pytest.raises(WorkflowFailed, match="w1: MainstayError: nobody knows") as caught:
            engine.start("work", "w1", None).result(WAIT)
    assert caught.value.data["kind"] == "error"
    assert engine.unfinished() == {}


def test_the_clock_is_read_once(makes: Makes) -> None:
    read: list[datetime] = []

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        read.append(ctx.now())
        ctx.wait("go", 60)
        return None

    first = makes.engine(work=work)
    first.start("work", "w1", None)
    until(lambda: len(read) == 1)
    assert read[0].tzinfo is not None
    assert abs(read[0] - datetime.now(UTC)) < timedelta(seconds=WAIT)
    makes.kill(first)
    second = makes.engine(work=work)
    second.recover()
    second.signal("w1", "go", 1)
    second.start("work", "w1", None).result(WAIT)
    assert read[0] == read[1]


def test_what_is_left_of_a_sleep_is_slept_after_a_death(makes: Makes) -> None:
    deeds = Deeds()
    slept: list[tuple[float, float]] = []

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        began = time.time()
        deeds.step(ctx, "before")
        ctx.sleep(2.0)
        slept.append((began, time.time()))
        return None

    began = time.time()
    first = makes.engine(work=work)
    first.start("work", "w1", None)
    until(lambda: makes.kept("w1") == 2)
    makes.kill(first)
    until(lambda: time.time() - began > 1.2)
    second = makes.engine(work=work)
    second.recover()
    second.start("work", "w1", None).result(WAIT)
    again, woke = slept[0]
    assert woke - began >= 2.0
    assert woke - again < 1.5  # not two seconds once more


def test_a_signal_sent_before_the_wait_is_not_lost(makes: Makes) -> None:
    sent = threading.Event()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        assert sent.wait(WAIT)
        return [ctx.wait("approve", 60), ctx.wait("approve", 60)]

    engine = makes.engine(work=work)
    handle = engine.start("work", "w1", None)
    engine.signal("w1", "other", "not this")
    engine.signal("w1", "approve", {"by": "alice"})
    engine.signal("w1", "approve", {"by": "bob"})
    sent.set()
    assert handle.result(WAIT) == [{"by": "alice"}, {"by": "bob"}]


def test_a_wait_ends_at_its_time(makes: Makes) -> None:
    engine = makes.engine(work=lambda ctx, argument: ctx.wait("approve", 0.2))
    assert engine.start("work", "w1", None).result(WAIT) is None


def test_a_signal_to_nobody_is_an_error(makes: Makes) -> None:
    with pytest.raises(WorkflowFailed, match="nobody"):
        makes.engine().signal("nobody", "go", 1)


def test_waiting_for_a_result_ends_at_its_time(makes: Makes) -> None:
    engine = makes.engine(work=lambda ctx, argument: ctx.wait("go", 60))
    handle = engine.start("work", "w1", None)
    with pytest.raises(TimeoutError):
        handle.result(0.05)
    assert not handle.done()


@pytest.mark.parametrize("parallel", [1, 3])
def test_children_run_so_many_at_once_in_their_order(makes: Makes, parallel: int) -> None:
    busy, most, begun, lock = [0], [0], list[int](), threading.Lock()
    together = threading.Barrier(parallel)

    def one(argument: JsonValue) -> JsonValue:
        with lock:
            begun.append(argument)
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        together.wait(WAIT)  # so many do run beside each other
        time.sleep(0.03)  # and one too many would have the time to be seen
        with lock:
            busy[0] -= 1
        return argument

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.step("it", lambda: one(argument))

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        enqueue = ctx.enqueue
        handles = [enqueue("child", f"{ctx.id}/{n}", n, queue=ctx.id, parallel=parallel) for n in range(9)]
        return [handle.result() for handle in handles]

    engine = makes.engine(child=child, parent=parent)
    assert engine.start("parent", "p1", None).result(WAIT) == list(range(9))
    assert most[0] == parallel
    if parallel == 1:
        assert begun == list(range(9))


def test_a_parent_ends_after_its_children(makes: Makes) -> None:
    deeds = Deeds()

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.wait("go", 60)
        return deeds.step(ctx, "child")

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1)
        raise MainstayError("the parent gave up")

    engine = makes.engine(child=child, parent=parent)
    handle = engine.start("parent", "p1", None)
    until(lambda: "p1/c" in engine.unfinished())
    assert not handle.done()
    engine.signal("p1/c", "go", 1)
    with pytest.raises(WorkflowFailed, match="gave up"):
        handle.result(WAIT)
    assert deeds == ["child"]


def test_a_failed_child_is_told_to_its_parent(makes: Makes) -> None:
    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        raise Refused("not this one")

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        try:
            return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()
        except WorkflowFailed as error:
            return [error.error_type, error.data["exit_code"]]

    engine = makes.engine(child=child, parent=parent)
    assert engine.start("parent", "p1", None).result(WAIT) == ["Refused", 4]


def test_after_a_death_every_child_is_brought_to_its_end_once(makes: Makes) -> None:
    """Two of six in hand, two waiting in the queue and two done when the process dies."""
    deeds, lock = Deeds(), threading.Lock()

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        with lock:
            deeds.step(ctx, f"{argument}a")
        if argument >= 2:
            ctx.wait("go", 60)
        with lock:
            return deeds.step(ctx, f"{argument}b")

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        handles = [ctx.enqueue("child", f"{ctx.id}/{n}", n, queue=ctx.id, parallel=2) for n in range(6)]
        return [handle.result() for handle in handles]

    first = makes.engine(child=child, parent=parent)
    first.start("parent", "p1", None)
    until(lambda: {"0b", "1b", "2a", "3a"} <= set(deeds))
    makes.kill(first)
    second = makes.engine(child=child, parent=parent)
    assert sorted(second.recover()) == ["p1", "p1/2", "p1/3"]
    for number in (2, 3):
        second.signal(f"p1/{number}", "go", 1)
    for number in (4, 5):
        until(lambda number=number: f"p1/{number}" in second.unfinished())  # type: ignore[misc]  # bound now
        second.signal(f"p1/{number}", "go", 1)
    assert second.start("parent", "p1", None).result(WAIT) == [f"{n}b done" for n in range(6)]
    assert sorted(deeds) == sorted(f"{n}{step}" for n in range(6) for step in "ab")
    assert second.unfinished() == {}


def test_the_limit_holds_for_children_that_were_taken_over(makes: Makes) -> None:
    busy, most, lock = [0], [0], threading.Lock()

    def one() -> JsonValue:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        time.sleep(0.05)
        with lock:
            busy[0] -= 1
        return None

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step("a", lambda: None)
        ctx.wait("go", 60)
        for number in range(3):
            ctx.step(f"b{number}", one)
        return None

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        handles = [ctx.enqueue("child", f"{ctx.id}/{n}", n, queue=ctx.id, parallel=2) for n in range(5)]
        return [handle.result() for handle in handles]

    first = makes.engine(child=child, parent=parent)
    first.start("parent", "p1", None)
    until(lambda: len(first.unfinished()) == 3)
    makes.kill(first)
    second = makes.engine(child=child, parent=parent)
    second.recover()
    for number in range(5):
        until(lambda number=number: f"p1/{number}" in second.unfinished())  # type: ignore[misc]  # bound now
        second.signal(f"p1/{number}", "go", 1)
    second.start("parent", "p1", None).result(WAIT)
    assert 1 <= most[0] <= 2


def test_a_body_that_catches_everything_does_not_outlive_its_engine(makes: Makes) -> None:
    deeds = Deeds()

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        deeds.step(ctx, "child")
        ctx.wait("go", 60)
        return "child done"

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        handle = ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1)
        try:
            return handle.result()
        except Exception as error:  # what careless code does
            return f"caught {type(error).__name__}"

    first = makes.engine(child=child, parent=parent)
    first.start("parent", "p1", None)
    until(lambda: deeds == ["child"])
    makes.kill(first)
    second = makes.engine(child=child, parent=parent)
    assert sorted(second.unfinished()) == ["p1", "p1/c"]
    second.recover()
    second.signal("p1/c", "go", 1)
    assert second.start("parent", "p1", None).result(WAIT) == "child done"

"""The fake engine's own abilities: it dies where it is told to, and everything happens in the caller's thread."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from mainstay.runner.engine.contract import Context, EngineUnusable, JsonValue
from mainstay.runner.engine.memory import Crash, FakeClock, MemoryEngine, MemoryStore

HOSTS = 3


class Fleet:
    """What a run does to its hosts; survives the engines."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.done: list[str] = []
        self.threads: set[int] = set()

    def engine(self, crash: tuple[int, Literal["before", "after"]] | None = None) -> MemoryEngine:
        engine = MemoryEngine(self.store, crash=crash)
        engine.register("run", self.run)
        engine.register("host", self.host)
        engine.launch()
        return engine

    def run(self, ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step("plan", lambda: self.do("plan"))
        names = [f"{ctx.id}/h{number}" for number in range(HOSTS)]
        handles = [ctx.enqueue("host", name, None, queue="q", parallel=1) for name in names]
        ends = [handle.result() for handle in handles]
        ctx.step("seal", lambda: self.do("seal"))
        return ends

    def host(self, ctx: Context, argument: JsonValue) -> JsonValue:
        for step in ("launch", "collect"):
            ctx.step(step, lambda step=step: self.do(f"{ctx.id} {step}"))  # type: ignore[misc]  # bound now
        ctx.sleep(3600)
        return ctx.id

    def do(self, what: str) -> None:
        self.done.append(what)
        self.threads.add(threading.get_ident())


def test_everything_happens_in_the_callers_thread_in_order() -> None:
    fleet = Fleet()
    assert fleet.engine().start("run", "r1", None).result(0) == ["r1/h0", "r1/h1", "r1/h2"]
    steps = [f"r1/h{number} {step}" for number in range(HOSTS) for step in ("launch", "collect")]
    assert fleet.done == ["plan", *steps, "seal"]
    assert fleet.threads == {threading.get_ident()}


def test_sleeping_moves_the_clock_and_takes_no_time() -> None:
    clock = FakeClock(datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
    engine = MemoryEngine(clock=clock)

    def nap(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.sleep(7200)
        return [ctx.now().isoformat(), ctx.wait("go", 60)]

    engine.register("nap", nap)
    engine.launch()
    assert engine.start("nap", "n1", None).result(0) == ["2026-03-29T02:30:00+00:00", None]
    assert clock.now() - datetime(2026, 3, 29, 0, 30, tzinfo=UTC) == timedelta(hours=2, minutes=1)


def checkpoints() -> int:
    fleet = Fleet()
    fleet.engine().start("run", "r1", None)
    return fleet.store.checkpoints


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, checkpoints() + 1))
def test_a_death_at_any_checkpoint_costs_at_most_the_step_in_hand(at: int, when: Literal["before", "after"]) -> None:
    fleet = Fleet()
    first = fleet.engine(crash=(at, when))
    with pytest.raises(Crash):
        first.start("run", "r1", None)
    assert not first.alive(first.executor)
    done = list(fleet.done)
    second = fleet.engine()
    assert "r1" in second.recover()
    assert second.start("run", "r1", None).result(0) == ["r1/h0", "r1/h1", "r1/h2"]
    again = fleet.done[len(done) :]
    repeated = set(done) & set(again)
    assert len(repeated) <= (1 if when == "before" else 0)
    assert set(fleet.done) == {"plan", "seal"} | {
        f"r1/h{n} {step}" for n in range(HOSTS) for step in ("launch", "collect")
    }
    assert fleet.store.checkpoints == checkpoints()


def test_a_dead_engine_does_nothing_more() -> None:
    fleet = Fleet()
    first = fleet.engine(crash=(2, "after"))
    with pytest.raises(Crash):
        first.start("run", "r1", None)
    done = list(fleet.done)
    with pytest.raises(Crash):
        first.start("host", "other", None)
    assert fleet.done == done


def test_a_signal_is_not_lost_in_a_death_while_it_is_taken() -> None:
    store = MemoryStore()

    def body(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.wait("go", 60)

    def engine(crash: tuple[int, Literal["before", "after"]] | None = None) -> MemoryEngine:
        one = MemoryEngine(store, crash=crash)
        one.register("work", body)
        one.launch()
        return one

    first = engine(crash=(1, "before"))
    with pytest.raises(Crash):
        first.start("work", "w1", None)
    second = engine(crash=(2, "before"))
    second.signal("w1", "go", "yes")
    with pytest.raises(Crash):
        second.recover()
    third = engine()
    third.recover()
    assert third.start("work", "w1", None).result(0) == "yes"


def test_a_replay_that_takes_another_way_is_noticed() -> None:
    store = MemoryStore()
    names = iter(["one", "another"])

    def body(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step(next(names), lambda: None)
        return ctx.step("last", lambda: None)

    for crash in ((2, "before"), None):
        engine = MemoryEngine(store, crash=crash)
        engine.register("work", body)
        engine.launch()
        if crash:
            with pytest.raises(Crash):
                engine.start("work", "w1", None)
    engine.recover()
    with pytest.raises(Exception, match="another way"):
        engine.start("work", "w1", None).result(0)


def test_it_is_launched_once() -> None:
    engine = MemoryEngine()
    engine.launch()
    with pytest.raises(EngineUnusable):
        engine.launch()

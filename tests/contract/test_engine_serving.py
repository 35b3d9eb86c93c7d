"""What every engine promises of work that is put down for others, of versions, of what is lost, and of what is forgotten."""

from __future__ import annotations

import threading
import time

import pytest
from tests.contract.engine_suite import WAIT, Deeds, Makes, makes
from tests.waiting import until

from mainstay.runner.engine.contract import Context, EngineStopped, JsonValue, WorkflowFailed

__all__ = ["makes"]  # a fixture is used by its name


class Work:
    """A parent whose children wait to be told to go on."""

    def __init__(self, children: int = 6, parallel: int = 2) -> None:
        self.deeds = Deeds()
        self.children = children
        self.parallel = parallel
        self.busy, self.most, self.lock = 0, 0, threading.Lock()
        self.go = threading.Event()

    def child(self, ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.step("it", lambda: self._one(argument))

    def _one(self, argument: JsonValue) -> JsonValue:
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        assert self.go.wait(WAIT)
        time.sleep(0.02)  # and one too many would have the time to be seen
        with self.lock:
            self.busy -= 1
            self.deeds.append(str(argument))
        return argument

    def parent(self, ctx: Context, argument: JsonValue) -> JsonValue:
        enqueue, parallel = ctx.enqueue, self.parallel
        handles = [enqueue("child", f"{ctx.id}/{n}", n, queue=ctx.id, parallel=parallel) for n in range(self.children)]
        return [handle.result() for handle in handles]


def test_submitted_work_waits_until_somebody_serves(makes: Makes) -> None:
    deeds = Deeds()
    first = makes.engine(work=lambda ctx, argument: deeds.step(ctx, str(argument)))
    first.submit("work", "w1", "a")
    handle = first.submit("work", "w1", "b")
    assert handle.id == "w1"
    assert first.unfinished() == {"w1": ""}
    assert first.serving() == []
    assert not handle.done()
    assert deeds == []
    makes.kill(first)
    second = makes.engine(serve=True, work=lambda ctx, argument: deeds.step(ctx, str(argument)))
    assert second.serving() == [second.executor]
    until(lambda: second.unfinished() == {})
    assert second.start("work", "w1", "c").result(WAIT) == "a done"
    assert deeds == ["a"]


def test_who_submits_may_serve_itself_and_is_told_the_end(makes: Makes) -> None:
    engine = makes.engine(serve=True, work=lambda ctx, argument: {"got": argument})
    handle = engine.submit("work", "w1", [1])
    assert handle.result(WAIT) == {"got": [1]}
    assert handle.done()
    assert engine.submit("work", "w1", [2]).result(WAIT) == {"got": [1]}


def test_what_is_submitted_has_to_be_known(makes: Makes) -> None:
    engine = makes.engine(serve=True)
    with pytest.raises(WorkflowFailed, match="nowhere"):
        engine.submit("nowhere", "n1", None)
    assert engine.unfinished() == {}


def test_waiting_for_submitted_work_ends_at_its_time(makes: Makes) -> None:
    engine = makes.engine(work=lambda ctx, argument: None)
    with pytest.raises(TimeoutError):
        engine.submit("work", "w1", None).result(0.05)


def test_where_nobody_serves_what_was_submitted_can_be_taken_over(makes: Makes) -> None:
    deeds = Deeds()
    engine = makes.engine(work=lambda ctx, argument: deeds.step(ctx, "it"))
    handle = engine.submit("work", "w1", None)
    assert engine.recover() == ["w1"]
    assert handle.result(WAIT) == "it done"
    assert engine.recover() == []
    assert deeds == ["it"]


def test_a_serving_engine_leaves_alone_what_waits_for_whoever_serves(makes: Makes) -> None:
    """It is taken in its turn, not taken over."""
    engine = makes.engine(serve=True, work=lambda ctx, argument: ctx.wait("go", WAIT))
    engine.submit("work", "w1", None)
    assert engine.recover() == []
    until(lambda: engine.unfinished() == {"w1": engine.executor})
    assert engine.recover() == []
    engine.signal("w1", "go", 1)
    until(lambda: engine.unfinished() == {})


def test_children_of_one_that_serves_keep_to_the_limit(makes: Makes) -> None:
    work = Work(children=9, parallel=3)
    engine = makes.engine(serve=True, child=work.child, parent=work.parent)
    handle = engine.submit("parent", "p1", None)
    until(lambda: work.busy == 3)
    assert set(engine.unfinished()) >= {"p1", "p1/0", "p1/1", "p1/2"}
    work.go.set()
    assert handle.result(WAIT) == list(range(9))
    assert work.most == 3
    assert sorted(work.deeds) == [str(n) for n in range(9)]


def test_a_failed_child_of_one_that_serves_is_told_to_its_parent(makes: Makes) -> None:
    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        raise KeyError("nobody")

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        try:
            return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()
        except WorkflowFailed as error:
            return error.error_type

    engine = makes.engine(serve=True, child=child, parent=parent)
    assert engine.submit("parent", "p1", None).result(WAIT) == "KeyError"


def test_one_that_serves_takes_over_by_itself_and_repeats_nothing(makes: Makes) -> None:
    deeds, lock = Deeds(), threading.Lock()

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        with lock:
            deeds.step(ctx, f"{argument}a")
        if argument >= 2:
            ctx.wait("go", WAIT)
        with lock:
            return deeds.step(ctx, f"{argument}b")

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        handles = [ctx.enqueue("child", f"{ctx.id}/{n}", n, queue=ctx.id, parallel=2) for n in range(6)]
        return [handle.result() for handle in handles]

    first = makes.engine(serve=True, child=child, parent=parent)
    first.submit("parent", "p1", None)
    until(lambda: {"0b", "1b", "2a", "3a"} <= set(deeds))
    makes.kill(first)
    second = makes.engine(serve=True, child=child, parent=parent)
    until(lambda: second.unfinished().get("p1") == second.executor)
    for number in range(2, 6):
        until(lambda number=number: f"{number}a" in deeds)  # type: ignore[misc]  # bound now
        second.signal(f"p1/{number}", "go", 1)
    assert second.start("parent", "p1", None).result(WAIT) == [f"{n}b done" for n in range(6)]
    assert sorted(deeds) == sorted(f"{n}{step}" for n in range(6) for step in "ab")
    assert second.unfinished() == {}


def test_work_of_another_version_is_left_to_that_version(makes: Makes) -> None:
    deeds = Deeds()

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        deeds.step(ctx, "a")
        ctx.wait("go", WAIT)
        return deeds.step(ctx, "b")

    old = makes.engine(version="1", work=work)
    old.start("work", "w1", None)
    old.submit("work", "w2", None)
    until(lambda: deeds == ["a"])
    makes.kill(old)
    new = makes.engine(version="2", serve=True, work=work)
    assert new.version == "2"
    new.submit("work", "w3", None)
    until(lambda: deeds == ["a", "a"])
    assert new.recover() == []
    assert new.versions() == {"w1": "1", "w2": "1", "w3": "2"}
    assert new.unfinished() == {"w1": old.executor, "w2": "", "w3": new.executor}
    makes.kill(new)
    again = makes.engine(version="1", serve=True, work=work)
    for id in ("w1", "w2"):
        until(lambda id=id: again.unfinished().get(id) == again.executor)  # type: ignore[misc]  # bound now
        again.signal(id, "go", 1)
        assert again.start("work", id, None).result(WAIT) == "b done"
    assert sorted(deeds) == ["a", "a", "a", "b", "b"]
    assert again.versions() == {"w3": "2"}


def test_an_engine_that_lost_its_hold_begins_no_step(makes: Makes) -> None:
    deeds, inside, go = Deeds(), threading.Event(), threading.Event()

    def long() -> str:
        inside.set()
        assert go.wait(WAIT)
        return deeds.do("a")

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step("a", long)
        return deeds.step(ctx, "b")

    engine = makes.engine(serve=True, work=work)
    handle = engine.start("work", "w1", None)
    assert inside.wait(WAIT)
    assert not engine.lost.is_set()
    makes.lose(engine)
    assert engine.lost.wait(WAIT)
    go.set()
    with pytest.raises(EngineStopped):
        handle.result(WAIT)
    until(lambda: deeds == ["a"])
    late = engine.submit("work", "w2", None)
    with pytest.raises(EngineStopped):
        late.result(WAIT)
    engine.close()
    assert deeds == ["a"]
    other = makes.engine(work=work)
    assert not other.alive(engine.executor)
    assert other.serving() == []
    assert sorted(other.recover()) == ["w1", "w2"]
    assert other.start("work", "w1", None).result(WAIT) == "b done"


def test_what_has_ended_can_be_forgotten_with_its_children(makes: Makes) -> None:
    work = Work(children=3)
    work.go.set()
    engine = makes.engine(child=work.child, parent=work.parent, waits=lambda ctx, argument: ctx.wait("go", WAIT))
    for id in ("p1", "p10", "p_1"):
        engine.start("parent", id, None).result(WAIT)
    waits = engine.start("waits", "w1", None)
    assert engine.forget(["p1", "w1", "nobody"]) == 4
    assert makes.kept("p10/0") == 1
    assert makes.kept("p_1/0") == 1
    assert engine.unfinished() == {"w1": engine.executor}
    assert engine.forget([]) == 0
    engine.signal("w1", "go", 1)
    waits.result(WAIT)
    assert engine.forget(["w1"]) == 1
    with pytest.raises(WorkflowFailed, match="no such"):
        engine.signal("w1", "go", 1)
    assert engine.start("parent", "p1", None).result(WAIT) == [0, 1, 2]  # as if it had never been
    assert sorted(work.deeds) == sorted(["0", "1", "2"] * 4)


def test_what_has_not_ended_keeps_its_children(makes: Makes) -> None:
    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()
        return ctx.wait("go", WAIT)

    engine = makes.engine(child=lambda ctx, argument: 1, parent=parent)
    handle = engine.start("parent", "p1", None)
    until(lambda: engine.unfinished() == {"p1": engine.executor})
    assert engine.forget(["p1"]) == 0
    engine.signal("p1", "go", "on")
    assert handle.result(WAIT) == "on"
    assert engine.forget(["p1"]) == 2

"""What every engine promises of parents and children that run in one process."""

from __future__ import annotations

import threading
import time

import pytest
from tests.contract.engine_suite import WAIT, Deeds, Makes, makes
from tests.waiting import until

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.runner.engine.contract import Context, JsonValue, WorkflowFailed

__all__ = ["makes"]  # a fixture is used by its name


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

"""What every engine promises of one workflow. The real one, on both databases, and its fake pass the same suite."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.engine_suite import WAIT, Deeds, Makes, makes
from tests.waiting import until

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.runner.engine.contract import Context, EngineStopped, JsonValue, StepFailed, Unkept, WorkflowFailed

__all__ = ["makes"]  # a fixture is used by its name


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
        ctx.sleep(4.0)
        slept.append((began, time.time()))
        return None

    began = time.time()
    first = makes.engine(work=work)
    first.start("work", "w1", None)
    until(lambda: makes.kept("w1") == 2)
    makes.kill(first)
    until(lambda: time.time() - began > 3.9)
    second = makes.engine(work=work)
    second.recover()
    second.start("work", "w1", None).result(WAIT)
    again, woke = slept[0]
    assert woke - began >= 4.0
    assert woke - again < 4.0  # not four seconds once more


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


@pytest.mark.parametrize("inside", [True, False])
def test_what_can_not_be_kept_is_no_outcome(makes: Makes, inside: bool) -> None:
    deeds, room = Deeds(), threading.Event()

    def write() -> str:
        if not room.is_set():
            raise Unkept("the disk is full", hint="Make room.")
        return deeds.do("b")

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        deeds.step(ctx, "a")
        return ctx.step("b", write) if inside else write()

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()

    engine = makes.engine(parent=parent, child=child)
    with pytest.raises(EngineStopped):
        engine.start("parent", "w1", None).result(WAIT)
    makes.kill(engine)
    room.set()
    again = makes.engine(parent=parent, child=child)
    again.recover()
    assert again.start("parent", "w1", None).result(WAIT) == "b done"
    assert deeds == ["a", "b"]

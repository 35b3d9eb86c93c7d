"""What a workflow's body gets of the engine without a database: its steps, clock, sleep, messages and children."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from mainstay.inventory.value import Json
from mainstay.runner.engine.answers import answer, plain, read_step, read_workflow
from mainstay.runner.engine.contract import VERSION, EngineStopped, Handle, JsonValue, Unkept, WorkflowFailed
from mainstay.runner.ports import Clock


class Store(Protocol):
    workflows: dict[str, Workflow]
    changed: threading.Condition


class Desk(Protocol):
    """The engine, as a workflow's body and those who wait for it need it."""

    dead: bool

    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def lost(self) -> threading.Event: ...

    def check(self) -> None:
        """Raises Crash where this engine may not go on."""

    def lose(self) -> None:
        """The whole process stops where one of its workflows can't be kept: nothing else is known of it either."""

    def writing(self) -> AbstractContextManager[None]:
        """Around keeping one checkpoint."""

    def enqueue(
        self, parent: str, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int
    ) -> MemoryHandle: ...


class Crash(BaseException):
    """The process died here, as far as the engine is concerned."""


class FakeClock:
    """Stands still until it is told to go on; a workflow's sleep moves it."""

    def __init__(self, at: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._at = at
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self._at

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._at += timedelta(seconds=max(0.0, seconds))


@dataclass(slots=True)
class Workflow:
    """What is kept of one."""

    name: str
    argument: JsonValue
    owner: str
    parent: str | None = None
    queue: str = ""
    parallel: int = 0
    kept: bool = False
    """Begun, so that it outlives its process. A child that waits for its turn is not: its parent will come to it again."""
    outcome: Json | None = None
    checkpoints: list[tuple[str, Json]] = field(default_factory=list)
    signals: list[tuple[str, JsonValue]] = field(default_factory=list)
    version: str = VERSION


class MemoryContext:
    """Implements Context."""

    def __init__(self, engine: Desk, id: str) -> None:
        self._engine = engine
        self._id = id
        self._workflow = engine.store.workflows[id]
        self._next = 0
        self._children: list[Handle] = []

    @property
    def id(self) -> str:
        return self._id

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        self._engine.check()
        at, self._next = self._next, self._next + 1
        kept = self._workflow.checkpoints
        if at < len(kept):
            then, recorded = kept[at]
            assert then == name, f"{self._id}: its replay took another way: {name!r} where {then!r} was"
        else:
            try:
                recorded = answer(work)
            except Unkept:
                self._engine.lose()
                raise Crash from None
            with self._engine.writing():
                kept.append((name, recorded))
        return read_step(name, plain(recorded))

    def stay(self) -> None:
        self._engine.check()

    def now(self) -> datetime:
        return datetime.fromisoformat(self.step("now", lambda: self._engine.clock.now().isoformat()))

    def sleep(self, seconds: float) -> None:
        until = self._deadline("sleep", seconds)
        self._pass_time(until, lambda: False)

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        until = self._deadline("wait", timeout)
        if self._next >= len(self._workflow.checkpoints):
            self._pass_time(until, lambda: any(about == topic for about, _ in self._workflow.signals))
        return self._take(topic)

    def _take(self, topic: str) -> JsonValue | None:
        name = f"take {topic}"
        if self._next >= len(self._workflow.checkpoints):
            with self._engine.writing():  # taken and kept in one go, as in one transaction
                self._workflow.checkpoints.append((name, {"value": self._pop(topic)}))
        return self.step(name, lambda: None)

    def _pop(self, topic: str) -> JsonValue | None:
        for at, (about, message) in enumerate(self._workflow.signals):
            if about == topic:
                del self._workflow.signals[at]
                return message
        return None

    def _deadline(self, name: str, seconds: float) -> datetime:
        work = lambda: (self._engine.clock.now() + timedelta(seconds=seconds)).isoformat()  # noqa: E731 - one use
        return datetime.fromisoformat(self.step(name, work))

    def _pass_time(self, until: datetime, enough: Callable[[], bool]) -> None:
        clock, store = self._engine.clock, self._engine.store
        with store.changed:
            while not enough() and (left := (until - clock.now()).total_seconds()) > 0:
                self._engine.check()
                if isinstance(clock, FakeClock):
                    clock.advance(left)
                else:
                    store.changed.wait(left)
        self._engine.check()

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        self._engine.check()
        child = _Child(self._engine.enqueue(self._id, workflow, id, argument, queue, parallel))
        self._children.append(child)
        return child

    def join(self) -> None:
        for child in self._children:
            try:
                child.result()
            except WorkflowFailed:
                continue  # the parent's matter, where it asked for the result


class MemoryHandle:
    """Implements Handle."""

    def __init__(self, engine: Desk, id: str) -> None:
        self._engine = engine
        self._id = id

    @property
    def id(self) -> str:
        return self._id

    def result(self, timeout: float | None = None) -> JsonValue:
        workflow, store = self._engine.store.workflows[self._id], self._engine.store
        with store.changed:
            ended = lambda: workflow.outcome is not None or self._engine.dead or self._engine.lost.is_set()  # noqa: E731
            if not store.changed.wait_for(ended, timeout):
                raise TimeoutError(f"{self._id} has not ended yet")
            if workflow.outcome is None:
                raise EngineStopped(f"{self._id}: this process no longer works on it; it is unfinished")
        return read_workflow(self._id, plain(workflow.outcome))

    def done(self) -> bool:
        return self._engine.store.workflows[self._id].outcome is not None


class _Child(MemoryHandle):
    """For a parent's body: an engine that died is no fault of the child's that it may catch."""

    def __init__(self, handle: MemoryHandle) -> None:
        super().__init__(handle._engine, handle.id)

    def result(self, timeout: float | None = None) -> JsonValue:
        try:
            return super().result(timeout)
        except EngineStopped:
            raise Crash from None

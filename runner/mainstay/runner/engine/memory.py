"""An engine without a database, held to the suite that the real one passes. It can be told to die at any checkpoint,
and another one over the same store goes on from there: what a crash-point sweep needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from mainstay.inventory.value import Json
from mainstay.runner.engine.answers import answer, describe, plain, read_step, read_workflow
from mainstay.runner.engine.contract import Context, EngineStopped, EngineUnusable, Handle, JsonValue, WorkflowFailed
from mainstay.runner.engine.lanes import Lanes
from mainstay.runner.ports import Clock, SystemClock

Body = Callable[[Context, JsonValue], JsonValue]


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
class _Workflow:
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


class MemoryStore:
    """What survives an engine: the workflows and their checkpoints. One per imagined state."""

    def __init__(self) -> None:
        self.workflows: dict[str, _Workflow] = {}
        self.alive: set[str] = set()
        self.changed = threading.Condition()
        self.engines = 0
        self.checkpoints = 0
        """Written so far, over all engines: a sweep runs once without a crash to learn how many there are."""


class MemoryEngine:
    """Implements Engine. threads=False: everything runs in the caller's thread, children in the order in which they
    are enqueued, at once. threads=True: as the real engine does.

    crash: (n, "before" | "after"): die when this engine writes its n-th checkpoint, counted from 1, before it is kept
    (the work is done and forgotten) or after it. `Crash` then comes out of `start`, `recover` or (with threads) is told
    by handles as EngineStopped.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        threads: bool = False,
        clock: Clock | None = None,
        crash: tuple[int, Literal["before", "after"]] | None = None,
    ) -> None:
        self.store = store or MemoryStore()
        self.clock = clock or (SystemClock() if threads else FakeClock())
        self._threads = threads
        self._crash = crash
        self._written = 0
        self._bodies: dict[str, Body] = {}
        self._lanes = Lanes()
        self._running: set[str] = set()
        self._launched = False
        self.dead = False
        with self.store.changed:
            self.store.engines += 1
            self._executor = f"memory-{self.store.engines}"

    @property
    def executor(self) -> str:
        return self._executor

    def register(self, workflow: str, body: Body) -> None:
        assert not self._launched, "every workflow is registered before launch"
        self._bodies[workflow] = body

    def launch(self) -> None:
        if self._launched:
            raise EngineUnusable("this engine has been launched already")
        self._launched = True
        self.store.alive.add(self._executor)

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        self._add(id, workflow, argument)
        self._go(id)
        return MemoryHandle(self, id)

    def enqueue(self, parent: str, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int) -> Handle:
        self._add(id, workflow, argument, parent=parent, queue=queue, parallel=parallel)
        self._go(id)
        return MemoryHandle(self, id)

    def _add(
        self, id: str, name: str, argument: JsonValue, parent: str | None = None, queue: str = "", parallel: int = 0
    ) -> None:
        if name not in self._bodies:
            raise WorkflowFailed(f"{id}: no workflow {name!r} is registered")
        with self.store.changed:
            there = self.store.workflows.get(id)
            if there is None or (not there.kept and there.owner not in self.store.alive):
                new = _Workflow(name, plain(argument), self._executor, parent, queue, parallel, kept=not queue)
                self.store.workflows[id] = new

    def _go(self, id: str) -> None:
        """Work on it, where it is ours, unfinished and not being worked on."""
        workflow = self.store.workflows[id]
        with self.store.changed:
            if workflow.outcome is not None or workflow.owner != self._executor or id in self._running:
                return
            self._running.add(id)
        if not self._threads:
            self._run(id)
        elif workflow.queue:
            self._lanes.get(workflow.queue, workflow.parallel).submit(lambda: self._run_in_thread(id))
        else:
            threading.Thread(target=self._run_in_thread, args=(id,), name=f"workflow-{id}", daemon=True).start()

    def _run_in_thread(self, id: str) -> None:
        try:
            self._run(id)
        except Crash:
            return  # the engine is dead, and its handles say so

    def _run(self, id: str) -> None:
        workflow = self.store.workflows[id]
        lane = self._lanes.get(workflow.queue, workflow.parallel) if workflow.queue and self._threads else nullcontext()
        context = MemoryContext(self, id)
        try:
            with lane:
                self.check()
                workflow.kept = True
                try:
                    outcome: Json = {"value": plain(self._bodies[workflow.name](context, workflow.argument))}
                except Exception as error:
                    outcome = {"error": describe(error)}
            context.join()
            self.check()
            with self.store.changed:
                if workflow.owner == self._executor:  # otherwise somebody took it over from a dead engine: its now
                    workflow.outcome = outcome
        finally:
            with self.store.changed:
                self._running.discard(id)
                self.store.changed.notify_all()

    def check(self) -> None:
        if self.dead:
            raise Crash

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around keeping one checkpoint: where this engine may have been told to die."""
        with self.store.changed:
            self.check()
            self._written += 1
            here = self._crash is not None and self._written == self._crash[0]
            when = self._crash[1] if self._crash else ""
            if here and when == "before":
                self.die()
            yield
            self.store.checkpoints += 1
            if here and when == "after":
                self.die()

    def die(self) -> None:
        """As SIGKILL would: from now on this engine writes nothing, and its executor is dead. Raises Crash."""
        self._end()
        raise Crash

    def _end(self) -> None:
        with self.store.changed:
            self.dead = True
            self.store.alive.discard(self._executor)
            self.store.changed.notify_all()

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        with self.store.changed:
            if id not in self.store.workflows or not self.store.workflows[id].kept:
                raise WorkflowFailed(f"{id}: there is no such workflow")
            self.store.workflows[id].signals.append((topic, plain(message)))
            self.store.changed.notify_all()

    def recover(self) -> list[str]:
        with self.store.changed:
            lost = {
                id: workflow
                for id, workflow in self._unfinished().items()
                if workflow.name in self._bodies and workflow.owner not in self.store.alive
            }
            for workflow in lost.values():
                workflow.owner = self._executor
        for id, workflow in lost.items():
            if workflow.parent is None:  # children go on as their parents come to them again
                self._go(id)
        return list(lost)

    def unfinished(self) -> dict[str, str]:
        with self.store.changed:
            return {id: workflow.owner for id, workflow in self._unfinished().items()}

    def _unfinished(self) -> dict[str, _Workflow]:
        workflows = self.store.workflows.items()
        return {id: workflow for id, workflow in workflows if workflow.kept and workflow.outcome is None}

    def alive(self, executor: str) -> bool:
        return executor in self.store.alive

    def close(self) -> None:
        if self._launched and not self.dead:
            self._end()
            deadline = time.monotonic() + 10.0
            with self.store.changed:
                while self._running and (left := deadline - time.monotonic()) > 0:
                    for job in self._lanes.clear():
                        threading.Thread(target=job, daemon=True).start()
                    self.store.changed.wait(min(left, 0.1))


class MemoryContext:
    """Implements Context."""

    def __init__(self, engine: MemoryEngine, id: str) -> None:
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
            recorded = answer(work)
            with self._engine.writing():
                kept.append((name, recorded))
        return read_step(name, plain(recorded))

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

    def __init__(self, engine: MemoryEngine, id: str) -> None:
        self._engine = engine
        self._id = id

    @property
    def id(self) -> str:
        return self._id

    def result(self, timeout: float | None = None) -> JsonValue:
        workflow, store = self._engine.store.workflows[self._id], self._engine.store
        with store.changed:
            if not store.changed.wait_for(lambda: workflow.outcome is not None or self._engine.dead, timeout):
                raise TimeoutError(f"{self._id} has not ended yet")
            if workflow.outcome is None:
                raise EngineStopped(f"{self._id}: this process no longer works on it; it is unfinished")
        return read_workflow(self._id, plain(workflow.outcome))

    def done(self) -> bool:
        return self._engine.store.workflows[self._id].outcome is not None


class _Child(MemoryHandle):
    """For a parent's body: an engine that died is no fault of the child's that it may catch."""

    def __init__(self, handle: Handle) -> None:
        assert isinstance(handle, MemoryHandle), "this engine's own"
        super().__init__(handle._engine, handle.id)

    def result(self, timeout: float | None = None) -> JsonValue:
        try:
            return super().result(timeout)
        except EngineStopped:
            raise Crash from None

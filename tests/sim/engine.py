"""The engine's port in simulated time: any number of processes over one store, each of which may die or freeze anywhere.

What it stands for is the port's contract, not DBOS: a step's result is kept once and by the owner alone; children run on
the owner or, where the store is shared, on any that serves; whoever is dead (or frozen past its lease) is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from threading import Event
from typing import Protocol

from mainstay.inventory.value import Json
from mainstay.runner.engine.answers import answer, describe, plain, read_step, read_workflow
from mainstay.runner.engine.contract import Context, Handle, JsonValue, WorkflowFailed
from mainstay.runner.ports import Clock
from tests.sim.schedule import Killed, Schedule

Body = Callable[[Context, JsonValue], JsonValue]
Tell = Callable[..., None]


class Left(Killed):
    """Somebody else owns the workflow by now: this process's hands are off it."""


class Process(Protocol):
    name: str
    dead: bool
    frozen_until: float
    last_beat: float


@dataclass(slots=True)
class Flow:
    """One workflow in the store."""

    id: str
    name: str
    argument: JsonValue
    parent: str | None
    queue: str
    parallel: int
    owner: str | None
    """None while it waits in a queue."""
    outcome: Json | None = None
    kept: list[tuple[str, Json]] = field(default_factory=list)
    signals: list[tuple[str, JsonValue]] = field(default_factory=list)


class Store:
    """What outlives the processes. shared: children may run on any process that serves, and so may what was submitted."""

    def __init__(self, schedule: Schedule, chance: Random, tell: Tell, *, shared: bool, lease: float) -> None:
        self.schedule = schedule
        self.chance = chance
        self.tell = tell
        self.shared = shared
        self.lease = lease
        self.changed_at = 0.0
        self.flows: dict[str, Flow] = {}
        self.engines: dict[str, SimEngine] = {}

    def alive(self, executor: str) -> bool:
        engine = self.engines.get(executor)
        return engine is not None and engine.is_alive()

    def dispatch(self) -> None:
        """Hand what waits in queues to processes that have room for it."""
        for flow in list(self.flows.values()):
            if flow.owner is not None or flow.outcome is not None:
                continue
            running = sum(
                other.queue == flow.queue and other.owner is not None and other.outcome is None
                for other in self.flows.values()
            )
            if flow.queue and running >= flow.parallel:
                continue
            able = [engine for engine in self.engines.values() if self._may_take(engine, flow)]
            if able:
                engine = self.chance.choice(able)
                flow.owner = engine.executor
                engine.work_on(flow, after=self.chance.uniform(0.0, 0.2))

    def _may_take(self, engine: SimEngine, flow: Flow) -> bool:
        if engine.process.dead or not engine.launched or engine.lost.is_set() or flow.name not in engine.bodies:
            return False
        if self.shared and engine.serves:
            return True
        parent = self.flows.get(flow.parent or "")
        return parent is not None and parent.owner == engine.executor

    def changed(self) -> None:
        self.changed_at = self.schedule.now
        self.dispatch()
        self.schedule.changed()


class SimEngine:
    """Implements Engine."""

    def __init__(self, store: Store, process: Process, clock: Clock) -> None:
        self.store = store
        self.process = process
        self.clock = clock
        self.bodies: dict[str, Body] = {}
        self.launched = False
        self.serves = False
        self.lost = Event()
        self._at_work: set[str] = set()
        store.engines[process.name] = self

    @property
    def executor(self) -> str:
        return self.process.name

    def register(self, workflow: str, body: Body) -> None:
        assert not self.launched, "every workflow is registered before launch"
        self.bodies[workflow] = body

    def launch(self, *, serve: bool = False) -> None:
        self.launched, self.serves = True, serve
        self.store.changed()

    def is_alive(self) -> bool:
        """A frozen process lives as long as its lease where the store is shared; on one machine its lock is a file's."""
        expired = self.store.shared and self.store.schedule.now - self.process.last_beat > self.store.lease
        return self.launched and not self.process.dead and not self.lost.is_set() and not expired

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        if id not in self.store.flows:
            self.store.flows[id] = Flow(id, workflow, plain(argument), None, "", 0, self.executor)
            self.work_on(self.store.flows[id])
        return SimHandle(self, id)

    def submit(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        self.store.flows.setdefault(id, Flow(id, workflow, plain(argument), None, "", 0, None))
        self.store.changed()
        return SimHandle(self, id)

    def add_child(self, parent: str, flow: Flow) -> Handle:
        there = self.store.flows.setdefault(flow.id, flow)
        there.parallel = flow.parallel
        self.store.changed()
        return SimHandle(self, flow.id)

    def work_on(self, flow: Flow, after: float = 0.0) -> None:
        if flow.id not in self._at_work:
            self._at_work.add(flow.id)
            name = f"{self.executor} {flow.id}"
            self.store.schedule.spawn(name, lambda: self._run(flow), self.process, after, about=flow.id)

    def _run(self, flow: Flow) -> None:
        try:
            context = SimContext(self, flow)
            try:
                outcome: Json = {"value": plain(self.bodies[flow.name](context, flow.argument))}
            except Exception as error:
                outcome = {"error": describe(error)}
            context.join()
            context.mine()
            flow.outcome = outcome
            self.store.tell("flow-ended", id=flow.id, error=str(outcome.get("error", "")))
            self.store.changed()
        finally:
            self._at_work.discard(flow.id)

    @property
    def version(self) -> str:
        return "1"

    def versions(self) -> dict[str, str]:
        return dict.fromkeys(self.unfinished(), self.version)

    def serving(self) -> list[str]:
        return sorted(name for name, engine in self.store.engines.items() if engine.serves and engine.is_alive())

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        if id not in self.store.flows:
            raise WorkflowFailed(f"{id}: there is no such workflow")
        self.store.flows[id].signals.append((topic, plain(message)))
        self.store.changed()

    def forget(self, ids: Sequence[str]) -> int:
        flows = self.store.flows
        gone = [id for id in ids if id in flows and flows[id].outcome is not None]
        gone += [flow.id for flow in flows.values() if flow.parent in gone]
        for id in gone:
            del flows[id]
        return len(gone)

    def recover(self) -> list[str]:
        lost = [
            flow
            for flow in self.store.flows.values()
            if flow.outcome is None and flow.owner is not None and not self.store.alive(flow.owner)
        ]
        lost = [flow for flow in lost if flow.name in self.bodies]
        for flow in lost:
            self.store.tell("taken-over", id=flow.id, of=flow.owner)
            flow.owner = self.executor
        for flow in lost:
            self.work_on(flow)
        return [flow.id for flow in lost]

    def unfinished(self) -> dict[str, str]:
        return {flow.id: flow.owner or "" for flow in self.store.flows.values() if flow.outcome is None}

    def alive(self, executor: str) -> bool:
        return self.store.alive(executor)

    def close(self) -> None:
        self.launched = False


class SimContext:
    """Implements Context."""

    def __init__(self, engine: SimEngine, flow: Flow) -> None:
        self._engine = engine
        self._flow = flow
        self._next = 0
        self._children: list[Handle] = []

    @property
    def id(self) -> str:
        return self._flow.id

    def stay(self) -> None:
        """Not a turn of its own: what it answers holds until the next one."""
        if self._engine.lost.is_set():
            raise Left
        self.mine()

    def mine(self) -> None:
        if self._flow.owner != self._engine.executor:
            self._engine.store.tell("left", id=self.id)
            raise Left

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        at, self._next = self._next, self._next + 1
        store = self._engine.store
        if at >= len(self._flow.kept):
            store.schedule.pause()  # in which another owner may come and keep it
        if at < len(self._flow.kept):
            then, recorded = self._flow.kept[at]
            assert then == name, f"{self.id}: its replay took another way: {name!r} where {then!r} was"
            return read_step(name, plain(recorded))
        if self._engine.lost.is_set():
            raise Left
        task = store.schedule.current
        assert task is not None
        task.naps = 0
        store.tell("begin", id=self.id, at=at, step=name)
        recorded = answer(work)
        store.schedule.pause(store.chance.uniform(0.0, 0.02))
        self.mine()
        self.keep(at, name, recorded)
        store.schedule.pause()
        return read_step(name, plain(recorded))

    def keep(self, at: int, name: str, recorded: Json) -> None:
        assert at == len(self._flow.kept), f"{self.id}: {name} would be kept at {at}, and {len(self._flow.kept)} are"
        self._flow.kept.append((name, recorded))
        store = self._engine.store
        store.tell(
            "kept", id=self.id, at=at, step=name, value=recorded.get("value"), error=str(recorded.get("error", ""))
        )

    def now(self) -> datetime:
        return datetime.fromisoformat(self.step("now", lambda: self._engine.clock.now().isoformat()))

    def sleep(self, seconds: float) -> None:
        clock = self._engine.clock
        until = self.step("sleep", lambda: (clock.now() + timedelta(seconds=seconds)).isoformat())
        left = (datetime.fromisoformat(until) - clock.now()).total_seconds()
        if left > 0:
            self._engine.store.schedule.pause(left)

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        clock, flow = self._engine.clock, self._flow
        until = self.step("wait", lambda: (clock.now() + timedelta(seconds=timeout)).isoformat())
        while self._next >= len(flow.kept) and datetime.fromisoformat(until) > clock.now():
            if any(about == topic for about, _ in flow.signals):
                break
            self._engine.store.schedule.pause(5.0)
        return self.step(f"take {topic}", lambda: self._take(topic))

    def _take(self, topic: str) -> JsonValue | None:
        for at, (about, message) in enumerate(self._flow.signals):
            if about == topic:
                del self._flow.signals[at]
                return message
        return None

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        self._engine.store.schedule.pause()
        flow = Flow(id, workflow, plain(argument), self.id, queue, max(1, parallel), None)
        child = self._engine.add_child(self.id, flow)
        self._children.append(child)
        return child

    def join(self) -> None:
        for child in self._children:
            try:
                child.result()
            except WorkflowFailed:
                continue  # the parent's matter, where it asked for the result


class SimHandle:
    """Implements Handle."""

    def __init__(self, engine: SimEngine, id: str) -> None:
        self._engine = engine
        self._flow = engine.store.flows[id]

    @property
    def id(self) -> str:
        return self._flow.id

    def result(self, timeout: float | None = None) -> JsonValue:
        schedule = self._engine.store.schedule
        until = None if timeout is None else schedule.now + timeout
        while not self.done():
            if until is None:
                schedule.wait(self.done)
            elif schedule.now >= until:
                raise TimeoutError(f"{self.id} has not ended yet")
            else:
                schedule.pause(min(1.0, until - schedule.now))
        assert self._flow.outcome is not None
        return read_workflow(self.id, plain(self._flow.outcome))

    def done(self) -> bool:
        return self._flow.outcome is not None

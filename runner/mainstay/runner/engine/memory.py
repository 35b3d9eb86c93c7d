"""An engine without a database, held to the suite that the real one passes. It can be told to die at any checkpoint,
and another one over the same store goes on from there: what a crash-point sweep needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

from mainstay.inventory.value import Json
from mainstay.runner.engine.answers import describe, plain
from mainstay.runner.engine.contract import (
    VERSION,
    Context,
    EngineUnusable,
    Handle,
    JsonValue,
    Unkept,
    WorkflowFailed,
)
from mainstay.runner.engine.lanes import Lanes
from mainstay.runner.engine.memory_context import Crash, FakeClock, MemoryContext, MemoryHandle, Workflow
from mainstay.runner.ports import Clock, SystemClock

__all__ = ["Crash", "FakeClock", "MemoryEngine", "MemoryHandle", "MemoryStore"]

Body = Callable[[Context, JsonValue], JsonValue]


class MemoryStore:
    """What survives an engine: the workflows and their checkpoints. One per imagined state."""

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow] = {}
        self.alive: set[str] = set()
        self.servers: list[MemoryEngine] = []
        """Living engines that serve, in the order in which they began to."""
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
        version: str = VERSION,
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
        self._version = version
        self._lost = threading.Event()
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

    @property
    def version(self) -> str:
        return self._version

    @property
    def lost(self) -> threading.Event:
        return self._lost

    def launch(self, *, serve: bool = False) -> None:
        if self._launched:
            raise EngineUnusable("this engine has been launched already")
        self._launched = True
        with self.store.changed:
            self.store.alive.add(self._executor)
            if serve:
                self.store.servers.append(self)
            waiting = [id for id, workflow in self._unfinished().items() if not workflow.owner]
        if serve:
            for id in waiting:
                self._take(id)
            self._recover_beside()

    def submit(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        self._add(id, workflow, argument, owner="")
        for server in tuple(self.store.servers):
            server._take(id)
        return MemoryHandle(self, id)

    def _take(self, id: str) -> None:
        """Serve: begin what nobody has begun."""
        workflow = self.store.workflows[id]
        with self.store.changed:
            if workflow.owner or workflow.version != self._version or workflow.name not in self._bodies:
                return
            workflow.owner = self._executor
        self._go(id)

    def serving(self) -> list[str]:
        with self.store.changed:
            return [server.executor for server in self.store.servers if server.version == self._version]

    def forget(self, ids: Sequence[str]) -> int:
        with self.store.changed:
            workflows = self.store.workflows
            ended = [id for id in ids if id in workflows and workflows[id].outcome is not None]
            under = tuple(f"{id}/" for id in ended)
            gone = {*ended, *(id for id, one in workflows.items() if one.outcome is not None and id.startswith(under))}
            for id in gone:
                del workflows[id]
        return len(gone)

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        self._add(id, workflow, argument)
        self._go(id)
        return MemoryHandle(self, id)

    def enqueue(
        self, parent: str, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int
    ) -> MemoryHandle:
        assert id.startswith(f"{parent}/") and "/" not in parent, f"{id} is no child's id of {parent}"
        self._add(id, workflow, argument, parent=parent, queue=queue, parallel=parallel)
        self._go(id)
        return MemoryHandle(self, id)

    def _add(
        self,
        id: str,
        name: str,
        argument: JsonValue,
        parent: str | None = None,
        queue: str = "",
        parallel: int = 0,
        owner: str | None = None,
    ) -> None:
        if name not in self._bodies:
            raise WorkflowFailed(f"{id}: no workflow {name!r} is registered")
        by = self._executor if owner is None else owner
        with self.store.changed:
            there = self.store.workflows.get(id)
            if there is None or (not there.kept and there.owner not in self.store.alive):
                self.store.workflows[id] = Workflow(
                    name, plain(argument), by, parent, queue, parallel, kept=not queue, version=self._version
                )

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
                except Unkept:
                    self.lose()
                    raise Crash from None
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
        if self.dead or self._lost.is_set():
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

    def lose(self) -> None:
        """As a process that was frozen past its lease and wakes, or whose hold on the store broke: from now on it starts
        no step and writes nothing, but it is still there."""
        self._lost.set()
        self._leave()

    def _end(self) -> None:
        self.dead = True
        self._leave()

    def _leave(self) -> None:
        with self.store.changed:
            self.store.alive.discard(self._executor)
            self.store.servers = [server for server in self.store.servers if server is not self]
            servers = tuple(self.store.servers)
            self.store.changed.notify_all()
        for server in servers:
            server._recover_beside()

    def _recover_beside(self) -> None:
        """Serve: take over from the dead. Without threads whoever drives the engine calls `recover` when it wants to."""
        if self._threads:
            threading.Thread(target=self.recover, name=f"recover-{self._executor}", daemon=True).start()

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        with self.store.changed:
            if id not in self.store.workflows or not self.store.workflows[id].kept:
                raise WorkflowFailed(f"{id}: there is no such workflow")
            self.store.workflows[id].signals.append((topic, plain(message)))
            self.store.changed.notify_all()

    def recover(self) -> list[str]:
        with self.store.changed:
            if self._executor not in self.store.alive:
                return []
            served = any(server.version == self._version for server in self.store.servers)
            lost = {
                id: workflow
                for id, workflow in self._unfinished().items()
                if workflow.name in self._bodies
                and workflow.version == self._version
                and (workflow.owner not in self.store.alive if workflow.owner else not served)
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

    def versions(self) -> dict[str, str]:
        with self.store.changed:
            return {id: workflow.version for id, workflow in self._unfinished().items()}

    def _unfinished(self) -> dict[str, Workflow]:
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

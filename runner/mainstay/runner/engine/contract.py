"""The engine's port: start, submit, enqueue, step, sleep, now, wait, signal, recover, forget. There is no cancel: pausing
and cancelling are flags that a step reads between hosts.

A process that serves is a worker: it takes what others submitted and, where the store is shared, children of any run. One
that does not serves itself alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event
from typing import Any, Protocol

from mainstay.inventory.errors import MainstayError

JsonValue = Any
"""None, bool, int, float, str, list or dict of the same. Nothing else goes through the engine (never pickle)."""


VERSION = "1"
"""What a workflow was begun by, and is gone on with by nothing else. Raised by hand, only when workflows that are under
way can't be replayed by this program any more (their steps come in another order, or are named otherwise)."""


class Handle(Protocol):
    @property
    def id(self) -> str: ...

    def result(self, timeout: float | None = None) -> JsonValue:
        """Wait for the workflow's return value. Raises WorkflowFailed, TimeoutError."""

    def done(self) -> bool: ...


class Context(Protocol):
    """What a workflow's body may do. Its calls must come in the same order each time it is replayed."""

    @property
    def id(self) -> str: ...

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        """Run once, checkpoint the result. Replayed: the result, without the work. What `work` raises is
        checkpointed as a failure and raised as StepFailed, also when replayed; but Unkept leaves the workflow unfinished."""

    def stay(self) -> None:
        """Returns only where this process is still the owner of its work; otherwise lets go, as a step would. Asked within a
        step's work after a number has been drawn: the number is then lower than any that a later owner draws."""

    def now(self) -> datetime:
        """A checkpointed reading of the clock, aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Durable: what is left of it is slept after a restart."""

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        """A signal's message, or None after `timeout` seconds."""

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        """Start a child in a queue that runs at most `parallel` of this parent's children at once, on this process or on
        any that serves. Idempotent by id, which begins with this workflow's own and "/"; no other id has a "/". A child has
        no children of its own: it would hold a thread that they wait for.

        A workflow does not end before its children have ended, whether it waits for them or not."""


class Engine(Protocol):
    """One process's hold on the durable store. Each process has an executor id of its own, and launching recovers nothing.

    Register every workflow before `launch`."""

    @property
    def executor(self) -> str: ...

    def register(self, workflow: str, body: Callable[[Context, JsonValue], JsonValue]) -> None: ...

    def launch(self, *, serve: bool = False) -> None:
        """serve: take work that others put down, from now until `close`. Raises EngineUnusable."""

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        """Start, or take hold of the one that has this id already."""

    def submit(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        """Put down for whichever process serves, this one included; idempotent by id. It waits where nobody does."""

    def serving(self) -> list[str]:
        """Executors that are alive, serve, and run this engine's version."""

    @property
    def lost(self) -> Event:
        """Set once this process can't be sure any more that it is the owner of its work (its hold on the store broke, or
        it was frozen past its lease). It starts no further step then; whoever runs it ends the process."""

    def signal(self, id: str, topic: str, message: JsonValue) -> None: ...

    def forget(self, ids: Sequence[str]) -> int:
        """Delete these ended workflows and their children from the store; what has not ended stays, with all its children.
        Returns how many were deleted, children included."""

    def recover(self) -> list[str]:
        """Take over the unfinished workflows of this engine's version whose executor is provably gone (its lock is free,
        or it has been frozen past its lease), and, where nobody serves, those that nobody has begun. Returns their ids.
        A live executor's workflows are never touched. A serving engine does it by itself, every few seconds."""

    def unfinished(self) -> dict[str, str]:
        """id → executor id of every workflow that has not ended; "" for one that waits for whoever serves."""

    def versions(self) -> dict[str, str]:
        """id → the version that can go on with it, of every workflow that has not ended. An engine takes up, and takes
        over, none but its own."""

    @property
    def version(self) -> str: ...

    def alive(self, executor: str) -> bool:
        """Whether that executor's process holds its lock."""

    def close(self) -> None: ...


class WorkflowFailed(MainstayError):
    """What a workflow's body raised, as it was checkpointed: `error_type` is the class's name."""

    kind = "engine"

    def __init__(
        self, message: str, *, hint: str | None = None, error_type: str = "", data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.error_type = error_type
        self.data = data or {}


class EngineStopped(WorkflowFailed):
    """This process no longer works on it; the workflow is unfinished and can be recovered."""


class Unkept(MainstayError):
    """What a step or a body did can't be kept now: the state is full, locked or out of reach. It is no outcome: the
    workflow stays unfinished, and goes on with that step once the state can be written again."""

    kind = "state"


class EngineUnusable(MainstayError):
    """The engine can't start here: the database library, the file or another engine in this process is in the way."""

    kind = "engine"
    exit_code = 2


class StepFailed(MainstayError):
    """What a step raised, as it was checkpointed: `error_type` is the class's name, `message` its text."""

    kind = "step"

    def __init__(self, step: str, error_type: str, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.error_type = error_type
        self.data = data or {}

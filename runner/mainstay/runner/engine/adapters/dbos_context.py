"""What a workflow's body gets: its steps, clock, sleep, messages and children, each kept by DBOS."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from dbos import DBOS

from mainstay.inventory.value import Json
from mainstay.runner.engine.adapters.dbos_ends import DbosHandle, Ends, Left, begun_under
from mainstay.runner.engine.answers import answer, read_step
from mainstay.runner.engine.contract import EngineStopped, Handle, JsonValue, Unkept, WorkflowFailed

T = TypeVar("T")

WAKE = {"mainstay": "wake"}
"""The message with which a closing engine gets a thread out of its wait. Kept like any other, and never handed on."""


class Desk(Protocol):
    """The engine, as a workflow's body needs it."""

    ends: Ends

    def stay(self, id: str) -> None:
        """Raises Left where this process may not go on with it."""

    def step(self) -> AbstractContextManager[None]:
        """Around a step in hand."""

    def pause(self, seconds: float) -> bool:
        """Sleep; True where the engine stopped meanwhile."""

    def waiting(self, id: str, topic: str) -> AbstractContextManager[None]:
        """Around a wait for messages, so that it can be woken."""

    def child(self, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int, new: bool) -> Future[Json]:
        """new: it is not in the store."""


class DbosContext:
    """Implements Context."""

    def __init__(self, desk: Desk, id: str) -> None:
        self._desk = desk
        self._id = id
        self._children: dict[str, Child] = {}
        """Those whose end nobody has taken."""
        self._begun: set[str] | None = None

    @property
    def id(self) -> str:
        return self._id

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        def go() -> JsonValue:
            self._desk.stay(self._id)  # once more: DBOS has looked into its store, and that may have taken its time
            try:
                return work()
            except Unkept as error:  # as Left it passes DBOS, which would keep an exception as the step's outcome
                raise Left(error) from error

        with self._desk.step():
            recorded: Json = self._ask(lambda: DBOS.run_step({"name": name}, lambda: answer(go)))
        return read_step(name, recorded)

    def stay(self) -> None:
        self._desk.stay(self._id)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.step("now", time.time), UTC)

    def sleep(self, seconds: float) -> None:
        # Not DBOS's own sleep: nothing could end it before its time, and the process would hang on it at its end.
        until = self.step("sleep", lambda: time.time() + seconds)
        while (left := until - time.time()) > 0:
            if self._desk.pause(min(left, 3600.0)):  # the wall clock may be set meanwhile: look again
                break
        self._desk.stay(self._id)

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        until = self.step("wait", lambda: time.time() + timeout)
        message: JsonValue = WAKE
        with self._desk.waiting(self._id, topic):
            while message == WAKE:
                message = self._ask(lambda: DBOS.recv(topic, timeout_seconds=max(0.0, until - time.time())))
        return message

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        assert id.startswith(f"{self._id}/") and "/" not in self._id, f"{id} is no child's id of {self._id}"
        self._desk.stay(self._id)
        if self._begun is None:  # one question for all of them; nobody else begins children of this parent
            self._begun = self._ask(lambda: begun_under(self._id))
        future = self._desk.child(workflow, id, argument, queue, parallel, id not in self._begun)
        child = Child(DbosHandle(self._desk.ends, id, future), lambda: self._children.pop(id, None))
        self._children[id] = child
        return child

    def join(self) -> None:
        """Wait until every child has ended, however."""
        for child in list(self._children.values()):
            try:
                child.result()
            except WorkflowFailed:
                continue  # the parent's matter, where it asked for the result

    def _ask(self, call: Callable[[], T]) -> T:
        self._desk.stay(self._id)
        try:
            return call()
        except Exception as error:  # not of the step's work, which is an answer by now: DBOS or its store failed
            raise Left(error) from error


class Child:
    """Implements Handle, for a parent's body: an engine that stops is no fault of the child's that it may catch.

    ended: called once its end is known to the parent, which need not hold it any more."""

    def __init__(self, handle: Handle, ended: Callable[[], object]) -> None:
        self._handle = handle
        self._ended = ended

    @property
    def id(self) -> str:
        return self._handle.id

    def result(self, timeout: float | None = None) -> JsonValue:
        try:
            result = self._handle.result(timeout)
        except EngineStopped as error:
            raise Left(error) from error
        except WorkflowFailed:
            self._ended()
            raise
        self._ended()
        return result

    def done(self) -> bool:
        return self._handle.done()

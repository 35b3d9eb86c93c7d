"""What a workflow's body gets: its steps, clock, sleep, messages and children, each kept by DBOS."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from dbos import DBOS

from mainstay.inventory.value import Json
from mainstay.runner.engine.answers import answer, read_step
from mainstay.runner.engine.contract import EngineStopped, Handle, JsonValue, WorkflowFailed

if TYPE_CHECKING:
    from mainstay.runner.engine.adapters.dbos import DbosEngine

T = TypeVar("T")

WAKE = {"mainstay": "wake"}
"""The message with which a closing engine gets a thread out of its wait. Kept like any other, and never handed on."""


class Left(BaseException):
    """The engine has let go of this workflow: it is closing, its store failed, or another process owns it.

    No Exception, so that a body's `except Exception` can't take it for a fault of its own and go on unrecorded.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class DbosContext:
    """Implements Context."""

    def __init__(self, engine: DbosEngine, id: str) -> None:
        self._engine = engine
        self._id = id
        self._children: list[Handle] = []

    @property
    def id(self) -> str:
        return self._id

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        recorded: Json = self._ask(lambda: DBOS.run_step({"name": name}, lambda: answer(work)))
        return read_step(name, recorded)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.step("now", time.time), UTC)

    def sleep(self, seconds: float) -> None:
        # Not DBOS's own sleep: nothing could end it before its time, and the process would hang on it at its end.
        until = self.step("sleep", lambda: time.time() + seconds)
        while (left := until - time.time()) > 0:
            if self._engine.closing.wait(min(left, 3600.0)):  # the wall clock may be set meanwhile: look again
                break
        self._stay()

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        until = self.step("wait", lambda: time.time() + timeout)
        message: JsonValue = WAKE
        self._engine.waiting.add((self._id, topic))
        try:
            while message == WAKE:
                message = self._ask(lambda: DBOS.recv(topic, timeout_seconds=max(0.0, until - time.time())))
        finally:
            self._engine.waiting.discard((self._id, topic))
        return message

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        self._stay()
        child = Child(self._engine.enqueue(workflow, id, argument, queue, parallel))
        self._children.append(child)
        return child

    def join(self) -> None:
        """Wait until every child has ended, however."""
        for child in self._children:
            try:
                child.result()
            except WorkflowFailed:
                continue  # the parent's matter, where it asked for the result

    def _stay(self) -> None:
        if self._engine.closing.is_set():
            raise Left(EngineStopped(f"{self._id}: the engine is closing"))

    def _ask(self, call: Callable[[], T]) -> T:
        self._stay()
        try:
            return call()
        except Exception as error:  # not of the step's work, which is an answer by now: DBOS or its store failed
            raise Left(error) from error


class Child:
    """Implements Handle, for a parent's body: an engine that stops is no fault of the child's that it may catch."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        return self._handle.id

    def result(self, timeout: float | None = None) -> JsonValue:
        try:
            return self._handle.result(timeout)
        except EngineStopped as error:
            raise Left(error) from error

    def done(self) -> bool:
        return self._handle.done()

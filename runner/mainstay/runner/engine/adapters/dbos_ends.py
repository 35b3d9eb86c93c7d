"""How workflows end that no thread of this process is waiting on the end of: one question for all of them at a time."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

from dbos import DBOS, WorkflowStatus
from sqlalchemy.exc import DBAPIError

from mainstay.inventory.value import Json
from mainstay.runner.engine.adapters.dbos_store import log
from mainstay.runner.engine.adapters.place import ENDED, UNFINISHED
from mainstay.runner.engine.answers import read_workflow
from mainstay.runner.engine.contract import EngineStopped, EngineUnusable, JsonValue, Unkept

POLL = 0.1
"""Seconds between two looks at what others (or a takeover) work on."""
AT_ONCE = 500
"""Workflows that one question asks for."""

T = TypeVar("T")


class Left(BaseException):
    """The engine has let go of this workflow: it is closing, it is not the owner any more, or its store failed.

    No Exception, so that a body's `except Exception` can't take it for a fault of its own and go on unrecorded.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Ends:
    """`future(id)` is settled when the workflow has ended, whoever works on it. One thread, and only while it is needed."""

    def __init__(self) -> None:
        self._awaited: dict[str, Future[Json]] = {}
        self._changed = threading.Condition()
        self._looks = False
        self._stopped: EngineStopped | None = None

    def future(self, id: str) -> Future[Json]:
        with self._changed:
            future = self._awaited.setdefault(id, Future[Json]())
            if self._stopped is not None:
                give(future, error=self._stopped)
            elif not self._looks:
                self._looks = True
                threading.Thread(target=self._look, name="ends", daemon=True).start()
            return future

    def awaited(self) -> set[str]:
        with self._changed:
            return set(self._awaited)

    def stop(self, why: EngineStopped) -> None:
        """Whoever waits is told; from now on at once."""
        with self._changed:
            self._stopped = why
            waiting = [*self._awaited.items()]
            self._changed.notify_all()
        for id, future in waiting:
            give(future, error=stopped(id, why))

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped is not None, POLL)
                ids = [*self._awaited]
                if not ids or self._stopped is not None:
                    self._looks = False
                    return
            try:
                for at in range(0, len(ids), AT_ONCE):
                    self._tell(ended(ids[at : at + AT_ONCE]))
            except Exception as error:  # the store failed; the next look may find it well again
                if self._stopped is None:
                    log.warning("can't see how workflows ended: %r", error)

    def _tell(self, rows: Iterable[WorkflowStatus]) -> None:
        for row in rows:
            with self._changed:
                future = self._awaited.pop(row.workflow_id, None)
            if future is not None:
                give(future, recorded(row))


class DbosHandle:
    """Implements Handle. future: where a thread of this process brings it to its end."""

    def __init__(self, ends: Ends, id: str, future: Future[Json] | None = None) -> None:
        self._ends = ends
        self._id = id
        self._future = future

    @property
    def id(self) -> str:
        return self._id

    def result(self, timeout: float | None = None) -> JsonValue:
        future = self._future
        if future is None:
            row = status(self._id)
            future = self._ends.future(self._id) if row is None or recorded(row) is None else given(recorded(row))
        try:
            return read_workflow(self._id, future.result(timeout))
        except TimeoutError as error:
            raise TimeoutError(f"{self._id} has not ended yet") from error
        except Left as left:
            raise stopped(self._id, left.cause) from left.cause
        except (DBAPIError, EngineUnusable) as error:  # before its first step, where no Left is made
            raise stopped(self._id, error) from error

    def done(self) -> bool:
        if self._future is not None:
            return self._future.done()
        row = status(self._id)
        return row is not None and recorded(row) is not None


def status(id: str) -> WorkflowStatus | None:
    rows = outside(lambda: DBOS.list_workflows(workflow_ids=[id], load_input=False))
    return rows[0] if rows else None


def ended(ids: list[str]) -> list[WorkflowStatus]:
    return outside(lambda: DBOS.list_workflows(workflow_ids=ids, status=[*ENDED], load_input=False))


def begun_under(parent: str) -> set[str]:
    """Children that are in the store already."""
    rows = outside(
        lambda: DBOS.list_workflows(workflow_id_prefix=f"{parent}/", load_input=False, load_output=False),
    )
    return {row.workflow_id for row in rows}


def recorded(row: WorkflowStatus) -> Json | None:
    """How it ended, or None while it has not."""
    if row.status in UNFINISHED:
        return None
    if row.status == "SUCCESS" and isinstance(row.output, dict):
        return row.output
    # Only DBOS itself ends a workflow in another way; ours always end in an answer.
    return {"error": {"type": row.status, "message": str(row.error), "data": {}}}


def stopped(id: str, cause: BaseException | None = None) -> EngineStopped:
    why = "this process no longer works on it"
    if isinstance(cause, DBAPIError):
        why = f"the engine's store failed: {cause.orig}"
    elif isinstance(cause, (EngineStopped, EngineUnusable, Unkept)):
        why = cause.message
    hint = f"{cause.hint} " if isinstance(cause, Unkept) and cause.hint else ""
    return EngineStopped(f"{id} is unfinished: {why}", hint=f"{hint}`mainstay runs resume` takes it up again.")


def give(future: Future[Json], value: Json | None = None, error: BaseException | None = None) -> None:
    """Settle it, unless somebody has: whoever waited has been told then that the engine stopped."""
    with suppress(InvalidStateError):
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value or {})


def given(value: Json | None) -> Future[Json]:
    future = Future[Json]()
    give(future, value)
    return future


def outside(call: Callable[[], T]) -> T:
    """Ask DBOS as if from outside a workflow: inside one it would checkpoint the question as a step of its own."""
    return contextvars.Context().run(call)


def wait_until_kept(id: str, future: Future[Json]) -> None:
    """From then on it is in the store, whatever dies. Raises EngineStopped where the store can't be asked: it may have begun."""
    try:
        while not future.done() and status(id) is None:
            time.sleep(0.005)
    except DBAPIError as error:
        raise stopped(id, error) from error

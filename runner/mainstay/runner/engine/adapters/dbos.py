"""The engine on DBOS Transact, on SQLite.

What DBOS does here: it keeps workflows, step results, timers and messages in `engine.db`. What it does not: its queues
are served by every launched process, and its recovery wants a service of its maker's. So lanes (this process's own
queues) and takeover by liveness lock are ours. The one DBOS queue in use is named after the executor that takes over,
and nobody else listens to it.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from dbos import DBOS, SetWorkflowID, WorkflowStatus
from dbos import error as dbos_errors
from sqlalchemy.exc import DBAPIError
from ulid import ULID

from mainstay.inventory.value import Json
from mainstay.runner.engine.adapters.dbos_client import EXECUTORS, TAKEN_OVER, UNFINISHED, owner
from mainstay.runner.engine.adapters.dbos_context import WAKE, DbosContext, Left
from mainstay.runner.engine.adapters.dbos_store import JsonSerializer, log, prepare, quiet, unusable
from mainstay.runner.engine.answers import describe, plain, read_workflow
from mainstay.runner.engine.contract import (
    Context,
    EngineStopped,
    EngineUnusable,
    Handle,
    JsonValue,
    WorkflowFailed,
)
from mainstay.runner.engine.lanes import Lanes
from mainstay.runner.engine.liveness import Liveness

VERSION = "1"
"""What DBOS takes a workflow up again by. Raised by hand, only when running workflows can't be replayed any more."""

POLL = 0.1
"""Seconds between looks at a workflow that another process (or a takeover) works on."""

Body = Callable[[Context, JsonValue], JsonValue]
T = TypeVar("T")

_in_this_process = threading.Lock()
"""DBOS is one per process."""


class DbosEngine:
    """Implements Engine. `directory` is the state's folder; made where it is not (0700).

    Raises EngineUnusable from `launch`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._executor = str(ULID())
        self._liveness = Liveness(directory / EXECUTORS)
        self._bodies: dict[str, Body] = {}
        self._functions: dict[str, Callable[[Json], Json]] = {}
        self._lanes = Lanes()
        self._work: dict[str, Future[Json]] = {}
        self._inside = 0
        self._changed = threading.Condition()
        self._launched = False
        self._takes_over = False
        self._abandoned = False
        self._thread = threading.local()
        self.waiting: set[tuple[str, str]] = set()
        self.closing = threading.Event()

    @property
    def executor(self) -> str:
        return self._executor

    def register(self, workflow: str, body: Body) -> None:
        assert not self._launched, "every workflow is registered before launch"
        self._bodies[workflow] = body

    def launch(self) -> None:
        if not _in_this_process.acquire(blocking=False):
            raise EngineUnusable("an engine is running in this process already")
        try:
            quiet()
            url = prepare(self._directory)
            self._liveness.hold(self._executor)
            DBOS(
                config={
                    "name": "mainstay",
                    "system_database_url": url,
                    "executor_id": self._executor,
                    "application_version": VERSION,
                    "serializer": JsonSerializer(),
                    "log_level": "WARNING",
                    "notification_listener_polling_interval_sec": POLL,
                }
            )
            for name, body in self._bodies.items():
                self._functions[name] = self._declare(name, body)
            DBOS.listen_queues([TAKEN_OVER + self._executor])
            DBOS.launch()
        except BaseException as error:
            DBOS.destroy(destroy_registry=True)
            self._liveness.release(self._executor)
            _in_this_process.release()
            if isinstance(error, DBAPIError):
                raise unusable(self._directory, error) from error
            raise
        self._launched = True

    def _declare(self, name: str, body: Body) -> Callable[[Json], Json]:
        def run(envelope: Json) -> Json:
            id = DBOS.workflow_id
            assert id is not None, "DBOS calls this inside a workflow"
            if getattr(self._thread, "ours", False):
                return self._run(id, body, envelope)
            return self._beside(id, lambda: self._run(id, body, envelope))

        # Without a limit on recoveries: a run that was interrupted a hundred times is still to be brought to its end.
        return DBOS.workflow(name=name, max_recovery_attempts=None)(run)

    def _beside(self, id: str, run: Callable[[], Json]) -> Json:
        """Run on a thread that the process's end does not wait for. Workflows that are taken over come on one of DBOS's
        pool, which Python waits for at its end, however long their step takes."""
        future, context = Future[Json](), contextvars.copy_context()

        def work() -> None:
            try:
                future.set_result(context.run(run))
            except BaseException as error:  # told to the thread that waits
                future.set_exception(error)
            self._left()

        threading.Thread(target=work, name=f"workflow-{id}", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: future.done() or self._abandoned)
        if not future.done():
            raise Left(stopped(id))
        return future.result()

    def _run(self, id: str, body: Body, envelope: Json) -> Json:
        """A workflow's body between DBOS and ours. What leaves as an exception is not recorded: it stays unfinished."""
        with self._changed:
            self._inside += 1
        try:
            lane = self._lanes.get(envelope["queue"], envelope["parallel"]) if envelope["queue"] else nullcontext()
            context = DbosContext(self, id)
            with lane:
                recorded = self._outcome(id, body, context, envelope["argument"])
            context.join()  # out of the lane, where children may need the slot
            return recorded
        except Left as left:
            if isinstance(left.cause, dbos_errors.DBOSBaseException):
                raise left.cause from None  # DBOS's own: another process owns it now, or it ended elsewhere
            raise
        finally:
            with self._changed:
                self._inside -= 1
            self._left()

    def _outcome(self, id: str, body: Body, context: DbosContext, argument: JsonValue) -> Json:
        try:
            return {"value": plain(body(context, argument))}
        except Exception as error:
            return {"error": describe(error)}
        except Left as left:
            if isinstance(left.cause, dbos_errors.DBOSUnexpectedStepError):
                log.error("%s: its replay took another way: %s", id, left.cause)
                return {"error": {"type": "ReplayDiffers", "message": str(left.cause), "data": {}}}
            if not isinstance(left.cause, (EngineStopped, dbos_errors.DBOSBaseException)):
                log.error("%s: the engine's store failed, the workflow stays unfinished: %r", id, left.cause)
            raise

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        future, work = self._begin(workflow, id, {"argument": plain(argument), "queue": "", "parallel": 0})
        if work is not None:
            threading.Thread(target=work, name=f"workflow-{id}", daemon=True).start()
        while not future.done() and self._status(id) is None:  # from here on it is kept, whatever dies
            self._pause(0.005)
        return DbosHandle(self, id, future)

    def enqueue(self, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int) -> Handle:
        future, work = self._begin(workflow, id, {"argument": plain(argument), "queue": queue, "parallel": parallel})
        if work is not None:
            self._lanes.get(queue, parallel).submit(work)
        return DbosHandle(self, id, future)

    def _begin(self, workflow: str, id: str, envelope: Json) -> tuple[Future[Json], Callable[[], None] | None]:
        """A job that brings the workflow to its end in its thread, or follows it where it runs already; no job where
        this process has one."""
        if workflow not in self._functions:
            raise WorkflowFailed(f"{id}: no workflow {workflow!r} is registered")
        with self._changed:
            if id in self._work:
                return self._work[id], None
            future = self._work[id] = Future[Json]()

        def work() -> None:
            try:
                if self.closing.is_set():
                    raise stopped(id)
                future.set_result(self._here(workflow, id, envelope))
            except BaseException as error:  # a thread has nobody to raise to: whoever waits for the future is told
                future.set_exception(error)
            finally:
                with self._changed:
                    self._work.pop(id, None)
                self._left()

        return future, work

    def _left(self) -> None:
        """Somebody is done here; the last one out of an engine that could not wait for it ends the executor's life."""
        with self._changed:
            self._changed.notify_all()
            last = self._abandoned and self._inside == 0 and not self._work
        if last:
            self._liveness.release(self._executor)

    def _here(self, workflow: str, id: str, envelope: Json) -> Json:
        if self._status(id) is not None:
            return self.follow(id, None)
        self._thread.ours = True
        with SetWorkflowID(id):
            return self._functions[workflow](envelope)

    def follow(self, id: str, deadline: float | None) -> Json:
        """Wait for a workflow that is not worked on by a thread of ours. Raises TimeoutError, EngineStopped."""
        while True:
            recorded = self.recorded(id)
            if recorded is not None:
                return recorded
            if self.closing.is_set():
                raise stopped(id)
            left = POLL if deadline is None else min(POLL, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"{id} has not ended yet")
            self._pause(left)

    def recorded(self, id: str) -> Json | None:
        """How it ended, or None while it has not."""
        status = self._status(id)
        if status is None or status.status in UNFINISHED:
            return None
        if status.status == "SUCCESS" and isinstance(status.output, dict):
            return status.output
        # Only DBOS itself ends a workflow in another way; ours always end in an answer.
        return {"error": {"type": status.status, "message": str(status.error), "data": {}}}

    def _status(self, id: str) -> WorkflowStatus | None:
        rows = outside(lambda: DBOS.list_workflows(workflow_ids=[id], load_input=False))
        return rows[0] if rows else None

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait(seconds)

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        try:
            outside(lambda: DBOS.send(id, plain(message), topic))
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise WorkflowFailed(f"{id}: there is no such workflow") from error

    def unfinished(self) -> dict[str, str]:
        return {row.workflow_id: _owner(row) for row in self._unfinished()}

    def _unfinished(self, **only: Any) -> list[WorkflowStatus]:
        return outside(lambda: DBOS.list_workflows(status=[*UNFINISHED], load_input=False, load_output=False, **only))

    def alive(self, executor: str) -> bool:
        return self._liveness.alive(executor)

    def recover(self) -> list[str]:
        with self._liveness.recovering():
            rows = self._unfinished(app_version=VERSION)
            lost = [row for row in rows if row.name in self._bodies and not self.alive(_owner(row))]
            queue = TAKEN_OVER + self._executor
            if lost and not self._takes_over:
                DBOS.register_queue(queue, polling_interval_sec=POLL, on_conflict="always_update")
                self._takes_over = True
            for row in lost:
                id = row.workflow_id
                outside(lambda id=id: DBOS.resume_workflow(id, queue_name=queue))  # type: ignore[misc]  # bound now
            self._sweep()
        return [row.workflow_id for row in lost]

    def _sweep(self) -> None:
        """Forget the dead: their lock files, and the queues through which they had taken over."""
        owners = {_owner(row) for row in self._unfinished()}
        for executor in self._liveness.seen():
            if executor not in owners and not self.alive(executor):
                self._liveness.forget(executor)
        for queue in DBOS.list_queues():
            executor = queue.name.removeprefix(TAKEN_OVER)
            if executor != queue.name and executor not in owners and not self.alive(executor):
                DBOS.delete_queue(queue.name)

    def close(self, wait: float = 10.0) -> None:
        """Stop at the next step's end; what has not ended stays unfinished and can be recovered.

        A step that is still in hand after `wait` seconds keeps this executor alive until it ends, so that nobody
        repeats it meanwhile.
        """
        if not self._launched or self.closing.is_set():
            return
        self.closing.set()
        for job in self._lanes.clear():
            job()
        for id, topic in tuple(self.waiting):
            self.signal(id, topic, WAKE)
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._inside == 0 and not self._work, wait)
        if self._takes_over and not self._unfinished(queue_name=TAKEN_OVER + self._executor):
            DBOS.delete_queue(TAKEN_OVER + self._executor)
        DBOS.destroy(destroy_registry=True)
        with self._changed:
            self._abandoned = True
        self._left()
        _in_this_process.release()


class DbosHandle:
    """Implements Handle."""

    def __init__(self, engine: DbosEngine, id: str, future: Future[Json] | None = None) -> None:
        self._engine = engine
        self._id = id
        self._future = future

    @property
    def id(self) -> str:
        return self._id

    def result(self, timeout: float | None = None) -> JsonValue:
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._future is None:
            return read_workflow(self._id, self._engine.follow(self._id, deadline))
        try:
            recorded = self._future.result(timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{self._id} has not ended yet") from error
        except Left as left:
            raise stopped(self._id, left.cause) from left.cause
        except DBAPIError as error:  # before its first step, where no Left is made
            raise stopped(self._id, error) from error
        return read_workflow(self._id, recorded)

    def done(self) -> bool:
        if self._future is not None:
            return self._future.done()
        return self._engine.recorded(self._id) is not None


def stopped(id: str, cause: BaseException | None = None) -> EngineStopped:
    why = "this process no longer works on it"
    if isinstance(cause, DBAPIError):
        why = f"the engine's store failed: {cause.orig}"
    elif isinstance(cause, EngineStopped):
        why = cause.message
    return EngineStopped(f"{id} is unfinished: {why}", hint="`mainstay runs resume` takes it up again.")


def _owner(row: WorkflowStatus) -> str:
    return owner(row.status, row.queue_name, row.executor_id)


def outside(call: Callable[[], T]) -> T:
    """Ask DBOS as if from outside a workflow: inside one it would checkpoint the question as a step of its own."""
    return contextvars.Context().run(call)

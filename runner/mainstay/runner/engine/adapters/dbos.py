"""The engine on DBOS Transact, on SQLite or PostgreSQL.

What DBOS does here: it keeps workflows, step results, timers and messages, and hands out what is in a queue. What it does
not: its recovery wants a service of its maker's. So liveness, takeover and the limit of a parent's children are ours.

A child that runs in its parent's process waits in a lane, which is nobody else's. Where processes share the store and one
serves, the lane's job puts the child down in one queue for all, and waits for its end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from dbos import DBOS, SetWorkflowID
from dbos import error as dbos_errors
from sqlalchemy.exc import DBAPIError

from mainstay.inventory.value import Json
from mainstay.runner.engine.adapters.dbos_context import WAKE, DbosContext
from mainstay.runner.engine.adapters.dbos_ends import (
    DbosHandle,
    Ends,
    Left,
    outside,
    recorded,
    status,
    wait_until_kept,
)
from mainstay.runner.engine.adapters.dbos_forget import forget
from mainstay.runner.engine.adapters.dbos_hands import Hands
from mainstay.runner.engine.adapters.dbos_store import NAME, JsonSerializer, log, quiet
from mainstay.runner.engine.adapters.dbos_takeover import Takeover
from mainstay.runner.engine.adapters.place import CHILDREN, ROOTS, TAKEN_OVER, owners
from mainstay.runner.engine.adapters.places import place
from mainstay.runner.engine.answers import describe, plain
from mainstay.runner.engine.contract import (
    VERSION,
    Context,
    EngineStopped,
    EngineUnusable,
    Handle,
    JsonValue,
    Unkept,
    WorkflowFailed,
)
from mainstay.runner.engine.lanes import Lanes
from mainstay.runner.engine.liveness import Timing
from mainstay.runner.engine.naming import executor_id

ROOTS_AT_ONCE = 100
"""Submitted workflows that one serving process works on; each has two threads."""
CHILDREN_AT_ONCE = 50
"""Children, of any parents, that one serving process works on; each has two threads."""

Body = Callable[[Context, JsonValue], JsonValue]

_in_this_process = threading.Lock()
"""DBOS is one per process."""


class DbosEngine:
    """Implements Engine. directory: the state's folder, made where it is not (0700); url: `postgresql://…` where the
    store is there and not in a file of that folder. children: how many a serving process takes at once in PostgreSQL; it
    is kept with the queue there, so that the process that began last says it for all.

    Raises EngineUnusable from `launch`. After `lost` none can be launched in this process while the store is out of reach.
    """

    def __init__(
        self,
        directory: Path,
        url: str = "",
        *,
        version: str = VERSION,
        children: int = CHILDREN_AT_ONCE,
        timing: Timing = Timing(),  # noqa: B008 - frozen
    ) -> None:
        self._place = place(directory, url)
        self._version = version
        self._children = children
        self._timing = timing
        self._executor = executor_id()
        self._liveness = self._place.liveness(timing)
        self._bodies: dict[str, Body] = {}
        self._functions: dict[str, Callable[[Json], Json]] = {}
        self._lanes = Lanes()
        self._hands = Hands(self._liveness.release)
        self._takeover = Takeover(
            self._place, self._liveness, self._executor, version, self._bodies.keys(), self._hands.ids
        )
        self._dbos: DBOS | None = None
        self._topics: set[tuple[str, str]] = set()
        self._served = (0.0, False)
        self._watches = threading.Lock()
        self._thread = threading.local()
        self._closing = threading.Event()
        self._over = threading.Event()  # closing or lost
        self.ends = Ends()

    @property
    def executor(self) -> str:
        return self._executor

    @property
    def version(self) -> str:
        return self._version

    @property
    def lost(self) -> threading.Event:
        return self._liveness.lost

    def register(self, workflow: str, body: Body) -> None:
        assert self._dbos is None, "every workflow is registered before launch"
        self._bodies[workflow] = body

    def launch(self, *, serve: bool = False) -> None:
        if not _in_this_process.acquire(blocking=False):
            raise EngineUnusable("an engine is running in this process already")
        try:
            quiet()
            self._place.prepare()
            self._liveness.hold(self._executor, self._version, serve, self._when_lost)
            with self._place.starting():
                self._launch(serve)
        except BaseException as error:
            DBOS.destroy(destroy_registry=True)
            self._liveness.release()
            _in_this_process.release()
            told = self._place.unusable(error)
            if told is not None:
                raise told from error
            raise
        self._takeover.serve = serve
        if serve:
            self._watch()

    def _launch(self, serve: bool) -> None:
        dbos = DBOS(
            config={
                "name": NAME,
                "system_database_url": self._place.url,
                "executor_id": self._executor,
                "application_version": self._version,
                "serializer": JsonSerializer(),
                "log_level": "WARNING",
                "notification_listener_polling_interval_sec": 0.1,
                **self._place.settings(),  # type: ignore[typeddict-item]  # a part of the same
            }
        )
        for name, body in self._bodies.items():
            self._functions[name] = self._declare(name, body)
        served = {ROOTS: (ROOTS_AT_ONCE, 0.5)}
        if self._place.shared:
            served[CHILDREN] = (self._children, 0.2)
        DBOS.listen_queues([TAKEN_OVER + self._executor, *(served if serve else ())])
        DBOS.launch()
        self._dbos = dbos
        if serve:
            for queue, (most, seconds) in served.items():
                DBOS.register_queue(
                    queue, worker_concurrency=most, polling_interval_sec=seconds, on_conflict="always_update"
                )

    def _declare(self, name: str, body: Body) -> Callable[[Json], Json]:
        def run(envelope: Json) -> Json:
            id = DBOS.workflow_id
            assert id is not None, "DBOS calls this inside a workflow"
            if getattr(self._thread, "ours", False):
                return self._run(id, body, envelope)
            return self._hands.beside(id, lambda: self._run(id, body, envelope))

        # Without a limit on recoveries: a run that was interrupted a hundred times is still to be brought to its end.
        return DBOS.workflow(name=name, max_recovery_attempts=None)(run)

    def _run(self, id: str, body: Body, envelope: Json) -> Json:
        """A workflow's body between DBOS and ours. What leaves as an exception is not recorded: it stays unfinished."""
        lane = self._lanes.get(envelope["queue"], envelope["parallel"]) if envelope["queue"] else nullcontext()
        with self._hands.running(id):
            try:
                context = DbosContext(self, id)
                with lane:
                    self.stay(id)
                    recorded = self._outcome(id, body, context, envelope["argument"])
                context.join()
                return recorded
            except Left as left:
                if isinstance(left.cause, dbos_errors.DBOSBaseException):
                    raise left.cause from None  # DBOS's own: another process owns it now, or it ended elsewhere
                raise

    def _outcome(self, id: str, body: Body, context: DbosContext, argument: JsonValue) -> Json:
        try:
            return {"value": plain(body(context, argument))}
        except Unkept as error:
            log.error("%s: it stays unfinished: %s", id, error)
            raise Left(error) from error
        except Exception as error:
            return {"error": describe(error)}
        except Left as left:
            if isinstance(left.cause, dbos_errors.DBOSUnexpectedStepError):
                log.error("%s: its replay took another way: %s", id, left.cause)
                return {"error": {"type": "ReplayDiffers", "message": str(left.cause), "data": {}}}
            if not isinstance(left.cause, (EngineStopped, dbos_errors.DBOSBaseException)):
                log.error("%s: the engine's store failed, the workflow stays unfinished: %r", id, left.cause)
            raise

    # Beginning

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        future, job = self._work(workflow, id, {"argument": plain(argument), "queue": "", "parallel": 0}, new=False)
        if job is not None:
            threading.Thread(target=job, name=f"workflow-{id}", daemon=True).start()
        wait_until_kept(id, future)
        return DbosHandle(self.ends, id, future)

    def submit(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        self._known(workflow, id)
        with self._in_words():
            self._put_down(ROOTS, workflow, id, {"argument": plain(argument), "queue": "", "parallel": 0})
        return DbosHandle(self.ends, id)

    def child(self, workflow: str, id: str, argument: JsonValue, queue: str, parallel: int, new: bool) -> Future[Json]:
        envelope = {"argument": plain(argument), "queue": queue, "parallel": parallel}
        future, job = self._work(workflow, id, envelope, new)
        if job is not None:
            self._lanes.get(queue, parallel).submit(job)
        return future

    def _work(
        self, workflow: str, id: str, envelope: Json, new: bool
    ) -> tuple[Future[Json], Callable[[], None] | None]:
        self._known(workflow, id)
        return self._hands.work(id, lambda: self._bring_to_its_end(workflow, id, envelope, new))

    def _bring_to_its_end(self, workflow: str, id: str, envelope: Json, new: bool) -> Json:
        """On a thread of ours; or follow it where it runs already. new: nobody has it."""
        self.stay(id)
        if row := None if new else status(id):
            return recorded(row) or self._hands.follow(id, self.ends.future(id))
        if envelope["queue"] and self._place.shared and self._is_served():
            self._put_down(CHILDREN, workflow, id, envelope)
            self._watch()
            return self._hands.follow(id, self.ends.future(id))
        self._thread.ours = True
        with SetWorkflowID(id):
            return self._functions[workflow](envelope)

    def _known(self, workflow: str, id: str) -> None:
        if workflow not in self._functions:
            raise WorkflowFailed(f"{id}: no workflow {workflow!r} is registered")

    def _put_down(self, queue: str, workflow: str, id: str, envelope: Json) -> None:
        def put() -> None:
            with SetWorkflowID(id):
                DBOS.enqueue_workflow(queue, self._functions[workflow], envelope)

        outside(put)

    def _is_served(self) -> bool:
        """Whether anybody serves, as of a second ago: one question for many children."""
        asked, served = self._served
        if time.monotonic() - asked > 1.0:
            served = bool(self.serving())
            self._served = (time.monotonic(), served)
        return served

    # For a workflow's body

    def stay(self, id: str) -> None:
        if self._over.is_set() or not self._liveness.sure():
            why = "the engine is closing" if self._closing.is_set() else "this process is not its owner any more"
            raise Left(EngineStopped(f"{id}: {why}"))

    @contextmanager
    def step(self) -> Iterator[None]:
        with self._hands.step():
            yield

    def pause(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    @contextmanager
    def waiting(self, id: str, topic: str) -> Iterator[None]:
        self._topics.add((id, topic))
        try:
            yield
        finally:
            self._topics.discard((id, topic))

    # Looking, and taking over

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        try:
            with self._in_words():
                outside(lambda: DBOS.send(id, plain(message), topic))
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise WorkflowFailed(f"{id}: there is no such workflow") from error

    def forget(self, ids: Sequence[str]) -> int:
        with self._in_words():
            return forget(ids)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Where the store is what failed, it is said so. Raises EngineUnusable."""
        try:
            yield
        except DBAPIError as error:
            told = self._place.unusable(error)
            if told is not None:
                raise told from error
            raise

    def unfinished(self) -> dict[str, str]:
        return owners(self._place.rows())

    def versions(self) -> dict[str, str]:
        return {row.id: row.version for row in self._place.rows()}

    def alive(self, executor: str) -> bool:
        return self._liveness.alive(executor)

    def serving(self) -> list[str]:
        return self._takeover.serving()

    def recover(self) -> list[str]:
        return self._takeover.once()

    def _watch(self) -> None:
        """From now on look after the dead: all of them where this process serves, otherwise after its own children."""
        if self._watches.acquire(blocking=False):
            threading.Thread(target=self._look, name="takeover", daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(self._timing.look):
            try:
                self._takeover.look(None if self._takeover.serve else self.ends.awaited())
            except Exception as error:  # the store failed; the next look may find it well again
                if not self._over.is_set():
                    log.warning("can't look after the dead: %s", error)

    # The end

    def _when_lost(self) -> None:
        self._over.set()
        self._stop_taking()
        why = EngineStopped("this process is not its owner any more")
        self.ends.stop(why)
        for job in self._lanes.clear():
            job()
        self._hands.stop(why)

    def _stop_taking(self) -> None:
        if self._dbos is not None:
            for stop in self._dbos.background_thread_stop_events:
                stop.set()

    def close(self, wait: float = 10.0) -> None:
        """Stop at the next step's end; what has not ended stays unfinished and can be recovered.

        A step that is still in hand after `wait` seconds keeps this executor alive until it ends, so that nobody
        repeats it meanwhile. Where the engine is `lost` its store may be out of reach: only steps are waited for.
        """
        if self._dbos is None or self._closing.is_set():
            return
        lost = not self._liveness.sure()  # and if its database is away, it is: better known now than waited for later
        self._closing.set()
        self._over.set()
        self._stop_taking()
        for job in self._lanes.clear():
            job()
        if not lost:
            for id, topic in tuple(self._topics):
                with suppress(EngineUnusable, WorkflowFailed):  # it is waited for, and then no more
                    self.signal(id, topic, WAKE)
        self.ends.stop(EngineStopped("the engine is closing"))
        self._hands.wait(wait, steps_only=lost)
        if lost:
            # DBOS would wait for its database, and this process is at its end: it is not waited for.
            ending = threading.Thread(target=self._destroy, name="engine-end", daemon=True)
            ending.start()
            ending.join(1.0)
        else:
            with suppress(EngineUnusable), self._in_words():
                self._takeover.close()
            self._destroy()
        self._hands.abandon()
        self._place.close()
        if lost:
            self._liveness.release()

    @staticmethod
    def _destroy() -> None:
        DBOS.destroy(destroy_registry=True)
        _in_this_process.release()

"""What this process has in hand: workflows that its threads run, and those that wait for them."""

from __future__ import annotations

import contextvars
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from mainstay.inventory.value import Json
from mainstay.runner.engine.adapters.dbos_ends import Left, give, stopped
from mainstay.runner.engine.contract import EngineStopped


class Hands:
    """when_empty: called when the last one leaves an engine that did not wait for it (`abandon`)."""

    def __init__(self, when_empty: Callable[[], None]) -> None:
        self._when_empty = when_empty
        self._changed = threading.Condition()
        self._work: dict[str, Future[Json]] = {}
        self._followed: set[str] = set()
        self._guests: dict[Future[Json], str] = {}
        self._running: Counter[str] = Counter()
        self._steps = 0
        self._abandoned = False

    def work(self, id: str, do: Callable[[], Json]) -> tuple[Future[Json], Callable[[], None] | None]:
        """The workflow's future, and the job that settles it by `do`; no job where there is one already."""
        with self._changed:
            if id in self._work:
                return self._work[id], None
            future = self._work[id] = Future[Json]()

        def job() -> None:
            try:
                give(future, do())
            except BaseException as error:  # a thread has nobody to raise to: whoever waits for the future is told
                give(future, error=error)
            finally:
                with self._changed:
                    self._work.pop(id, None)
                self._left()

        return future, job

    def beside(self, id: str, run: Callable[[], Json]) -> Json:
        """Run on a thread that the process's end does not wait for. What comes from DBOS's queues comes on one of its
        pool, which Python waits for at its end, however long a step takes."""
        future, context = Future[Json](), contextvars.copy_context()
        with self._changed:
            self._guests[future] = id

        def work() -> None:
            try:
                give(future, context.run(run))
            except BaseException as error:  # told to the thread that waits
                give(future, error=error)

        threading.Thread(target=work, name=f"workflow-{id}", daemon=True).start()
        try:
            return future.result()
        finally:
            with self._changed:
                del self._guests[future]

    @contextmanager
    def running(self, id: str) -> Iterator[None]:
        with self._changed:
            self._running[id] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[id] -= 1
                if not self._running[id]:
                    del self._running[id]
            self._left()

    @contextmanager
    def step(self) -> Iterator[None]:
        with self._changed:
            self._steps += 1
        try:
            yield
        finally:
            with self._changed:
                self._steps -= 1
            self._left()

    def follow(self, id: str, end: Future[Json]) -> Json:
        """In a job of `work`: wait for the end that another thread or process brings it to."""
        with self._changed:
            self._followed.add(id)
        try:
            return end.result()
        finally:
            with self._changed:
                self._followed.discard(id)

    def ids(self) -> set[str]:
        """What some thread of this process is busy with. One that only waits for its end is not: nobody else would ever
        take up what was let go of meanwhile."""
        with self._changed:
            return {*(self._work.keys() - self._followed), *self._running, *self._guests.values()}

    def stop(self, why: EngineStopped) -> None:
        """Whoever waits for something here is told."""
        with self._changed:
            waiting = list(self._work.items())
        for id, future in waiting:
            give(future, error=stopped(id, why))

    def wait(self, seconds: float, steps_only: bool) -> None:
        """Until nothing is in hand any more."""
        with self._changed:
            done = lambda: not (self._steps if steps_only else self._running or self._work)  # noqa: E731 - one use
            self._changed.wait_for(done, seconds)

    def abandon(self) -> None:
        """Wait no longer: DBOS's threads are let go, ours go on to the end of their step."""
        with self._changed:
            self._abandoned = True
            guests = list(self._guests.items())
        for future, id in guests:
            give(future, error=Left(stopped(id)))
        self._left()

    def _left(self) -> None:
        with self._changed:
            self._changed.notify_all()
            last = self._abandoned and not self._running and not self._work
        if last:
            self._when_empty()

"""A lane is one queue in this process: so many at once, in the order in which they came.

Queues of the engine's library would be served by every process that has launched; lanes belong to the process that owns
the run and to nobody else.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType


class Lane:
    """`submit` starts jobs first in, first out on at most `limit` threads; `with lane:` holds one of `limit` slots.

    The slot is taken by the work itself, because work that was taken over from a dead process did not come through
    `submit` and counts all the same. Threads are daemons: whoever wants the work to end waits for it.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self._limit = limit
        self._busy = 0
        self._threads = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    def allow(self, limit: int) -> None:
        """So many at once from now on; what runs above it is not stopped."""
        with self._changed:
            self._limit = max(1, limit)
            self._changed.notify_all()

    def submit(self, job: Callable[[], None]) -> None:
        """The job must not raise."""
        with self._changed:
            self._waiting.append(job)
            if self._threads >= self._limit:
                return
            self._threads += 1
        threading.Thread(target=self._serve, name=f"lane-{self.name}", daemon=True).start()

    def clear(self) -> list[Callable[[], None]]:
        """Take out what has not started."""
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
            return left

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or self._threads > self._limit:
                    self._threads -= 1
                    return
                job = self._waiting.popleft()
            job()

    def __enter__(self) -> Lane:
        with self._changed:
            self._changed.wait_for(lambda: self._busy < self._limit)
            self._busy += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()


class Lanes:
    """Every lane by its name."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()

    def get(self, name: str, limit: int) -> Lane:
        """The lane with that name, its limit set to this."""
        with self._lock:
            lane = self._lanes.setdefault(name, Lane(name, max(1, limit)))
        lane.allow(limit)
        return lane

    def clear(self) -> list[Callable[[], None]]:
        with self._lock:
            lanes = list(self._lanes.values())
        return [job for lane in lanes for job in lane.clear()]

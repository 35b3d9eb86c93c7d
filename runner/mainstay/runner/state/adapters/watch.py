"""Gives up connections whose server says nothing: one that is frozen still has its kernel answer for it, so that no
timeout of TCP's ever ends."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TICK = 1.0
"""Seconds between looks: cheaper than a timer for each transaction, and exact enough for limits of a minute."""


class Watch:
    def __init__(self) -> None:
        self._watched: dict[int, tuple[float, int]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._next = 0

    @contextmanager
    def over(self, number: int, seconds: float) -> Iterator[None]:
        """Shut the socket down where the block has not ended by then; whoever reads from it sees a broken connection."""
        mine = os.dup(number)  # the driver may close its own meanwhile, and its number be given to another file
        with self._lock:
            self._next += 1
            key = self._next
            self._watched[key] = (time.monotonic() + seconds, mine)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="database-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                del self._watched[key]
            os.close(mine)

    def _look(self) -> None:
        while not self._closed.wait(TICK):
            now = time.monotonic()
            with self._lock:
                for deadline, number in self._watched.values():
                    if now > deadline:
                        with suppress(OSError), socket.socket(fileno=os.dup(number)) as broken:
                            broken.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed.set()

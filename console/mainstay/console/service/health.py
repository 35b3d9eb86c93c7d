"""Whether the daemon is well: what its parts have said of themselves, and since when one of them is silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.ports import Clock, SystemClock
from mainstay.runner.steps import rfc3339


@dataclass(slots=True)
class _Part:
    within: float
    vital: bool
    said: float
    """When it was last heard of, by the monotonic clock."""
    fault: str = ""

    def silent(self, now: float) -> float:
        """Seconds that it has been silent for longer than it may; 0 where it was heard of in time."""
        return max(0.0, now - self.said - self.within)


class Health:
    """What the parts of a daemon say of themselves. Safe to use from several threads; asking it never waits for anything.

    now: monotonic seconds. clock: what the answer's `since` is told by.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, clock: Clock | None = None) -> None:
        self._now = now
        self._clock = clock or SystemClock()
        self._parts: dict[str, _Part] = {}
        self._busy: dict[int, tuple[str, float, float]] = {}
        self._next = 0
        self._lock = threading.Lock()
        self._state = ("starting", rfc3339(self._clock.now()))

    def expect(self, name: str, *, within: float, vital: bool = False) -> None:
        """A part that has to be heard of every `within` seconds from now on. vital: a loop without which the process does
        nothing, so that a supervisor had better start it again."""
        with self._lock:
            self._parts[name] = _Part(within, vital, self._now())

    def note(self, name: str, fault: str = "") -> None:
        """The part is there; fault: what is wrong with it, empty where it is well. Raises KeyError where it is not expected."""
        with self._lock:
            part = self._parts[name]
            part.said, part.fault = self._now(), fault

    def forget(self, name: str) -> None:
        """It is over with the part, and rightly so."""
        with self._lock:
            self._parts.pop(name, None)

    @contextmanager
    def busy(self, name: str, *, within: float) -> Iterator[None]:
        """Work that has to come to its end within so many seconds; it is called stuck past that."""
        with self._lock:
            self._next += 1
            mine = self._next
            self._busy[mine] = (name, self._now(), within)
        try:
            yield
        finally:
            with self._lock:
                del self._busy[mine]

    def frozen(self) -> tuple[str, ...]:
        """Vital parts that are silent."""
        with self._lock:
            now = self._now()
            return tuple(sorted(name for name, part in self._parts.items() if part.vital and part.silent(now)))

    def faults(self) -> dict[str, str]:
        """part → what is wrong with it; nothing of those that are well."""
        return {name: fault for name, fault in self._all().items() if fault}

    def to_json(self) -> Json:
        """`{status: ok | failing, since, checks: {part: ok | what is wrong}}`. since: RFC 3339 UTC, when it became so.
        No part that has been heard of yet: failing, since nothing is known to be well."""
        found = self._all()
        status = "failing" if not found or any(found.values()) else "ok"
        with self._lock:
            if self._state[0] != status:
                self._state = (status, rfc3339(self._clock.now()))
            since = self._state[1]
        return {"status": status, "since": since, "checks": {name: fault or "ok" for name, fault in found.items()}}

    def _all(self) -> dict[str, str]:
        with self._lock:
            now = self._now()
            found = {name: _told(part, now) for name, part in self._parts.items()}
            for name, began, within in self._busy.values():
                if now - began > within:
                    found[name] = f"stuck for {now - began - within:.0f} s"
        return dict(sorted(found.items()))


def _told(part: _Part, now: float) -> str:
    if part.silent(now):
        return f"silent for {now - part.said:.0f} s"
    return redact(part.fault)

"""How many hosts this process has in hand at once, whatever their runs would allow."""

from __future__ import annotations

import threading


class Hands:
    """limit: None for no limit. who: a workflow's id; one that has a hand already is given no second one."""

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def take(self, who: str) -> bool:
        """Whether there was a free one."""
        with self._lock:
            if who not in self._busy and self._limit is not None and len(self._busy) >= self._limit:
                return False
            self._busy.add(who)
            return True

    def hold(self, who: str) -> None:
        """Also where there is none: what was begun elsewhere goes on at once."""
        with self._lock:
            self._busy.add(who)

    def give_back(self, who: str) -> None:
        with self._lock:
            self._busy.discard(who)

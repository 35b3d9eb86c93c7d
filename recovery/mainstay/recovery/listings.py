"""What points hold, as it was listed moments ago in this process. A snapshot never changes, so that it need not be asked for again:
that takes restic half a second, and longer the more files there are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainstay.recovery.restic.contract import Restic
    from mainstay.recovery.restic.replies import Node

MOST = 50_000
"""Entries that are kept, of all listings together; what holds more is listed anew."""
RECENT = timedelta(seconds=60)
"""So long ago may a point have been seen in its repository: longer, and somebody may have thought about the question."""

Ls = Callable[[str, "Callable[[Node], None]", Sequence[str]], object]
"""`Restic.ls` of one repository, or `Listings.ls` for it."""
Asked = tuple[str, str, tuple[str, ...]]
"""(address of the repository, snapshot, paths)"""


class Listings:
    """Safe for several threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: dict[Asked, tuple[datetime, list[Node]]] = {}

    def keep(
        self, restic: Restic, snapshot: str, each: Callable[[Node], None], paths: Sequence[str], now: datetime
    ) -> None:
        """As `Restic.ls`, which is asked and not patient; what it tells is kept, if it is not too much. Raises ResticError."""
        nodes: list[Node] = []

        def both(node: Node) -> None:
            if len(nodes) <= self._most:
                nodes.append(node)
            each(node)

        restic.ls(snapshot, both, paths, patient=False)
        with self._lock:
            self._kept[_asked(restic, snapshot, paths)] = now, nodes
            while sum(len(kept) for _, kept in self._kept.values()) > self._most:
                self._kept.pop(next(iter(self._kept)))

    def ls(self, restic: Restic, snapshot: str, each: Callable[[Node], None], paths: Sequence[str]) -> None:
        """As `Restic.ls`, which is asked where nothing is kept."""
        with self._lock:
            kept = self._kept.get(_asked(restic, snapshot, paths))
        if kept is None:
            restic.ls(snapshot, each, paths)
            return
        for node in kept[1]:
            each(node)

    def seen(self, restic: Restic, snapshot: str, paths: Sequence[str], now: datetime) -> bool:
        """Whether the repository had it moments ago."""
        with self._lock:
            kept = self._kept.get(_asked(restic, snapshot, paths))
        return kept is not None and timedelta() <= now - kept[0] <= RECENT


def _asked(restic: Restic, snapshot: str, paths: Sequence[str]) -> Asked:
    return restic.access.url, snapshot, tuple(paths)

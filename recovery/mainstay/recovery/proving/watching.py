"""What is written while a point is restored: a repository whose host has made it up may hold more than it lists."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.recovery.proving.attempt import RESERVE, Untried
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.words import sized

SPARE = 32 * 2**20
"""Bytes beyond what is listed that may be written; far less than what is kept free, since it is looked at only now and then."""
EVERY = 0.05
"""Seconds between two looks at least."""


def used(folder: Path) -> int:
    """Bytes of the disk that the content of files takes there, each inode once."""
    found: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                one = (Path(path) / name).lstat()
                if stat.S_ISREG(one.st_mode):
                    # One with holes takes less than its size, and one that grows may be given more in advance.
                    found[one.st_dev, one.st_ino] = min(one.st_blocks * 512, one.st_size)
    return sum(found.values())


@dataclass(slots=True)
class Watch:
    """To be asked again and again while restic restores. listed: bytes."""

    place: Place
    listed: int
    clock: Callable[[], float] = time.monotonic
    _next: float = 0.0
    _found: dict[str, int] = field(default_factory=dict)

    def found(self) -> dict[str, int]:
        """Why it has to end: `free` or `written`, in bytes; empty while it may go on."""
        now = self.clock()
        if self._found or now < self._next:
            return self._found
        if (free := self.place.free(elsewhere=False)) < RESERVE // 2:
            self._found["free"] = free
        elif (there := used(self.place.folder)) > self.listed + SPARE:
            self._found["written"] = there
        # Many files take a while to look at.
        self._next = self.clock() + max(EVERY, 5 * (self.clock() - now))
        return self._found


def overrun(there: int, listed: int) -> Untried:
    return Untried(
        f"more comes out of the point than it lists: {sized(listed)} are listed, and {sized(there)} were written"
    )

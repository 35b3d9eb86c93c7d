"""One point under proof: what it may take, what came of it.

What proves dumps runs on other machines too (`tool`), from the standard library alone: here is nothing of restic or of models.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainstay.inventory.errors import MainstayError
from mainstay.recovery.proving.asserting import Check
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.words import sized
from mainstay.runner.verdict import Verdict

CONTROLLER = "the controller"
RESERVE = 256 * 2**20
"""Bytes that a drill leaves free."""
_FULL = re.compile(
    r"No space left on device|Disk quota exceeded|[Ee]rr(?:code|no): (?:28|122)\b|The table '.*' is full|database or disk is full"
)
_ENDS_FULL = re.compile(r": (?:no space left on device|disk quota exceeded)$")
"""As Go says it."""


class NotProved(MainstayError):
    """The point is not what it should be."""

    kind = "not-proved"


class Untried(MainstayError):
    """Whether the point is good can't be known here: a limit, a program that is missing. Nothing speaks against it."""

    kind = "untried"

    def __init__(self, message: str, *, limit: bool = False) -> None:
        super().__init__(message)
        self.limit = limit


class Late(Untried):
    """Its time is over."""


def against(message: str, words: str, machine: str) -> MainstayError:
    """What a program that failed says of the point: nothing, where it had no room. message: with its words."""
    if _FULL.search(words):
        return Untried(f"the disk of {machine} was full: {message}", limit=True)
    return NotProved(message)


def few(free: int, machine: str) -> Untried:
    """free: bytes that were, in the middle of it."""
    return Untried(f"{machine} had only {sized(free)} free in the middle of it", limit=True)


def out_of_room(words: str, items: Sequence[str]) -> str:
    """What restic said of a full disk, where nothing else went wrong; else empty. words: why it ended. items: of single files. What
    counts is the end: before it come names, which others have chosen."""
    said = items or [words]
    return said[0] if all(_ENDS_FULL.search(one) for one in said) else ""


@dataclass(slots=True, kw_only=True)
class Attempt(ABC):
    """kind: of the source (`postgresql`). unit, item, at (RFC 3339 UTC): the point's. until: seconds of `clock`."""

    kind: str
    unit: str
    item: str
    at: str
    place: Place
    until: float
    made_at: str = ""
    """When the point was complete, RFC 3339 UTC; empty: it holds nothing later than `at`."""
    checks: Sequence[Check] = ()
    roles: Sequence[str] = ()
    """Names of the cluster's roles, where they are known."""
    superuser: str = "postgres"
    """Whom a base backup's cluster takes for its own."""
    machine: str = CONTROLLER
    """Where this runs, as people call it."""
    progress: Callable[[str], None] = lambda line: None
    clock: Callable[[], float] = time.monotonic
    measures: dict[str, Any] = field(default_factory=dict)
    """Seconds of locate, transfer, recover, verify; and bytes, files."""
    _begun: float | None = None

    @abstractmethod
    def dump(self) -> Brought:
        """The one file of the point, restored and compared. Raises NotProved, Untried."""

    def left(self) -> float:
        """Seconds; raises Late where there are none."""
        seconds = self.until - self.clock()
        if seconds <= 0:
            raise Late("max_time was over", limit=True)
        return seconds

    def watch(self) -> None:
        """For as long as somebody writes: a dump, too, can make more of itself than it is. Raises Untried where there is hardly
        room left: it took what was there when it began, or others did."""
        if (free := self.place.free()) < RESERVE // 2:
            raise few(free, self.machine)

    def watched(self) -> float:
        """`left` and `watch`."""
        self.watch()
        return self.left()

    def phase(self, name: str) -> None:
        """What is done from now on; what was done before has ended."""
        now = self.clock()
        if self._begun is not None:
            last = self.measures.pop("_phase")
            self.measures[last] = round(self.measures.get(last, 0.0) + now - self._begun, 3)
        self._begun = now
        self.measures["_phase"] = name
        self.progress(f"{self.unit}: {name}")

    def end(self) -> dict[str, Any]:
        if self._begun is not None:
            self.phase("")
            self.measures.pop("_phase")
            self._begun = None
        return self.measures


@dataclass(frozen=True, slots=True)
class Tried:
    """scope: what is proved, in words. found: for what is tried later."""

    verdict: Verdict
    reason: str = ""
    scope: str = ""
    left_out: tuple[str, ...] = ()
    bytes: int = 0
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Brought:
    """A file of the point, restored and compared."""

    path: Path
    size: int

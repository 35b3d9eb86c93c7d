"""One point under proof: what it may take, what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.value import Json
from mainstay.recovery.plan import Assertion, Source
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.restic.contract import Restic
from mainstay.runner.verdict import Verdict


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


@dataclass(slots=True)
class Attempt:
    """until: monotonic seconds. bytes_left: of what is restored for this host."""

    point: RecoveryPoint
    source: Source
    restic: Restic
    place: Place
    sample: int
    bytes_left: int
    until: float
    checks: Sequence[Assertion] = ()
    may_be_empty: bool = False
    """As it is expected of the source."""
    roles: Sequence[str] = ()
    """Names of the cluster's roles, where they are known."""
    progress: Callable[[str], None] = lambda line: None
    clock: Callable[[], float] = time.monotonic
    measures: Json = field(default_factory=dict)
    """Seconds of locate, transfer, recover, verify; and bytes, files."""
    _begun: float | None = None

    def left(self) -> float:
        """Seconds; raises Late where there are none."""
        seconds = self.until - self.clock()
        if seconds <= 0:
            raise Late("max_time was over", limit=True)
        return seconds

    def phase(self, name: str) -> None:
        """What is done from now on; what was done before has ended."""
        now = self.clock()
        if self._begun is not None:
            last = self.measures.pop("_phase")
            self.measures[last] = round(self.measures.get(last, 0.0) + now - self._begun, 3)
        self._begun = now
        self.measures["_phase"] = name
        self.progress(f"{self.point.unit}: {name}")

    def end(self) -> Json:
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

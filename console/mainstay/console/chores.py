"""What `mainstay serve` does beside its runs, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chore:
    """work: may be done by several daemons at once, and again after a crash in its middle; what it raises is logged, and
    is tried again the next time. every: seconds."""

    name: str
    every: float
    work: Callable[[], None]

"""What the clock does again and again beside its schedules, as it is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Duty(Protocol):
    """work: may be done by several daemons at once; what it raises is logged. every: seconds."""

    @property
    def name(self) -> str: ...
    @property
    def every(self) -> float: ...
    @property
    def work(self) -> Callable[[], None]: ...

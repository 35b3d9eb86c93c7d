"""Waiting in tests: for a condition, and as long as a slow machine may need."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], deadline: float = 90.0) -> None:
    """Look until it holds. Fails where it does not within so many seconds."""
    end = time.monotonic() + deadline
    while not holds():
        assert time.monotonic() < end, f"it did not come true within {deadline:g} s"
        time.sleep(0.005)

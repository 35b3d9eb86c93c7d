"""Waiting for what other processes do: the one place of this room that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE = 0.05
"""Seconds between two looks."""


def until(met: Callable[[], bool], left: Callable[[], float]) -> bool:
    """Look again and again until it is met, or until there are no seconds left (which `left` may also say by raising).
    Returns whether it was met."""
    while not met():
        if left() <= 0:
            return False
        time.sleep(PAUSE)
    return True

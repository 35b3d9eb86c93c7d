"""What carries a notice, and how that goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mainstay.inventory.errors import MainstayError
from mainstay.schedules.store.contract import Notice


class Undelivered(MainstayError):
    """It did not get there, or nobody said that it did. The message holds no secret."""

    kind = "notice"


Carry = Callable[[Notice], None]
"""Returns once it has been taken over there. Raises Undelivered."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to tell somebody something. name: one of its own among all; `ping/PLAN` for a dead man's switch."""

    name: str
    carry: Carry
    seconds: float
    """That one try takes at most."""
    newest_only: bool = False
    """Of several that wait only the newest is worth delivering: each says how it stands, not what happened."""

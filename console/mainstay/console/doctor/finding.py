"""One thing that was looked at."""

from __future__ import annotations

from typing import Literal

from mainstay.inventory.value import Value

Health = Literal["well", "look", "wrong", "unknown"]


class Finding(Value):
    """subject: `controller` or a host's name. topic: one word for what was looked at. hint: what to do."""

    subject: str
    topic: str
    health: Health
    message: str
    hint: str | None = None

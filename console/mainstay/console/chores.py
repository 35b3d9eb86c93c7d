"""What `mainstay serve` does beside its runs, again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


@dataclass(frozen=True, slots=True)
class Chore:
    """work: may be done by several daemons at once, and again after a crash in its middle; what it raises is logged, and
    is tried again the next time. every: seconds."""

    name: str
    every: float
    work: Callable[[], None]


def chores(app: Application) -> tuple[Chore, ...]:
    """All of them, one line each. What one works with is made when it is first its turn."""
    from mainstay.console.approving import refresh
    from mainstay.console.feeding import EVERY, feed
    from mainstay.console.service.observing import observing
    from mainstay.console.tending import tending

    return (
        Chore("calendars", 900.0, lambda: app.freezes.refresh()),
        Chore("feed", EVERY, lambda: feed(app)),
        Chore("approvals", 60.0, lambda: refresh(app)),
        Chore("notices", 30.0, lambda: app.notices.round()),
        tending(app),
        observing(app),
    )

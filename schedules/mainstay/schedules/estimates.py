"""How long a host takes in a plan, from its own past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from mainstay.runner.record import HostPart
from mainstay.runner.verdict import Verdict

DEFAULT = 1800.0
"""Seconds that a host is taken to need where its plan has never been run to the end, but no more than half of the window:
a short one would never begin otherwise, and there would never be a past."""
LAST = 20
"""Of a host's own past."""
LAST_OF_PLAN = 200
"""Of all hosts' past, where this one has none."""
SHARE = 0.95

_WORKED = frozenset({Verdict.SUCCEEDED, Verdict.DEGRADED, Verdict.FAILED, Verdict.ROLLED_BACK})

Span = Literal["whole", "change"]
"""From when it is let in to its end; from the change on."""


class Past(Protocol):
    def recent_parts(self, plan: str, host: str | None, last: int) -> list[HostPart]:
        """As the runner's state tells it."""


@dataclass(frozen=True, slots=True)
class Need:
    seconds: float
    told_by: Literal["host", "plan", "default"]


class Estimates:
    """Made for one run: what all hosts of the plan took is read once."""

    def __init__(self, past: Past, plan: str) -> None:
        self._past = past
        self._plan = plan
        self._of_plan: dict[Span, float | None] = {}

    def of(self, host: str, span: Span, room: float) -> Need:
        """room: seconds that the whole window has."""
        own = percentile([took(part, span) for part in self._past.recent_parts(self._plan, host, LAST)])
        if own is not None:
            return Need(own, "host")
        if span not in self._of_plan:
            parts = self._past.recent_parts(self._plan, None, LAST_OF_PLAN)
            self._of_plan[span] = percentile([took(part, span) for part in parts])
        others = self._of_plan[span]
        return Need(min(DEFAULT, room / 2), "default") if others is None else Need(others, "plan")


def took(part: HostPart, span: Span) -> float | None:
    """Seconds that the work on the host took, without what it waited for before; None where nothing was changed."""
    if part.verdict not in _WORKED or not any(step.name == "apply" for step in part.steps):
        return None
    first = "apply.launch" if span == "change" else "lock"
    begun = next((step.started_at for step in part.steps if step.name == first), None)
    if begun is None:
        return None
    spent = datetime.fromisoformat(part.steps[-1].finished_at) - datetime.fromisoformat(begun)
    return max(0.0, spent.total_seconds())


def percentile(values: Sequence[float | None], share: float = SHARE) -> float | None:
    """The nearest rank: the lowest value that so great a share of them does not exceed. None of none."""
    known = sorted(value for value in values if value is not None)
    return known[math.ceil(share * len(known)) - 1] if known else None

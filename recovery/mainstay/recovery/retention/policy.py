"""`retention:` of a plan, and which of a row of moments it keeps. Pure.

The rules mean what restic documents of `forget --keep-…` (docs/060_forget.rst): the newest point of each of the last n hours,
days, ISO weeks, months or years that have one; where there are fewer than n, the oldest point of all stays too. Each rule
counts by itself, and what any of them keeps is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mainstay.inventory.amounts import Duration
from mainstay.inventory.names import shown
from mainstay.inventory.value import Value


def _count(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100_000):
        return value
    raise ValueError(f"{shown(value)} is neither a number of points (7) nor all")


Count = Annotated[int | Literal["all"], BeforeValidator(_count, json_schema_input_type=int | Literal["all"])]

_PERIODS: dict[str, Callable[[datetime], Hashable]] = {
    "hourly": lambda moment: (moment.date(), moment.hour),
    "daily": lambda moment: moment.date(),
    "weekly": lambda moment: moment.isocalendar()[:2],
    "monthly": lambda moment: (moment.year, moment.month),
    "yearly": lambda moment: moment.year,
}


class Policy(Value):
    """How many points of each source of each host stay. At least one rule has to be given."""

    last: Count = 0
    hourly: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    within: Duration = Field(default=0.0, ge=0, le=200 * 366 * 86400)
    """Seconds: all that are so much older than the newest at most. A day is 24 hours."""

    @model_validator(mode="after")
    def _keeps_something(self) -> Policy:
        if not self.within and not self.counting:
            raise ValueError(
                "would keep nothing; write for example {daily: 7, weekly: 4, monthly: 12} or {within: 30d}"
            )
        return self

    @property
    def counting(self) -> tuple[str, ...]:
        """Rules that count points. Whoever can add points can push good ones out of these with others dated back."""
        return tuple(name for name in ("last", *_PERIODS) if getattr(self, name))


def kept_by(policy: Policy, moments: Sequence[datetime]) -> list[tuple[str, ...]]:
    """For each moment the rules that keep it; none: it may go.

    moments: newest first, in the time zone whose days, weeks and months are meant.
    """
    reasons: list[list[str]] = [[] for _ in moments]
    if policy.within:
        for number, moment in enumerate(moments):
            # timestamps: between two moments of one zone, datetime takes what its clocks showed
            if moment.timestamp() > moments[0].timestamp() - policy.within:
                reasons[number].append("within")
    last = len(moments) if policy.last == "all" else policy.last
    for number in range(min(last, len(moments))):
        reasons[number].append("last")
    for name, period in _PERIODS.items():
        for number, oldest in _newest_of_each(moments, period, getattr(policy, name)):
            reasons[number].append(f"{name}, the oldest there is" if oldest else name)
    return [tuple(words) for words in reasons]


def _newest_of_each(
    moments: Sequence[datetime], period: Callable[[datetime], Hashable], count: int | Literal["all"]
) -> list[tuple[int, bool]]:
    """(number of a moment, whether it is only taken since there are no more)."""
    taken: list[tuple[int, bool]] = []
    before: Hashable = None
    for number, moment in enumerate(moments):
        if count != "all" and len(taken) >= count:
            break
        this = period(moment)
        if this != before:
            taken.append((number, False))
        elif number == len(moments) - 1:
            taken.append((number, True))
        before = this
    return taken

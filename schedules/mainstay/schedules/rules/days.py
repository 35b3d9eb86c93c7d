"""Days of the calendar by rule, and times on them: everything in local time, before any zone is asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import dropwhile, pairwise, takewhile
from typing import Protocol

EPOCH = date(2001, 1, 1)
"""Where INTERVAL is counted from: a Monday that begins a week, a month and a year."""
HORIZON = 100
"""Years that a search looks ahead. The calendar repeats itself after 28 years, or 40 where a century is in between, so that
only an INTERVAL can go past it."""
OVERLAP_YEARS = 29
"""All sorts of years, and all that may follow them."""
_LAST_YEAR = 9900  # so that nobody has to mind the end of datetime
_MINUTE = timedelta(minutes=1)


class Days(Protocol):
    def days(self, first: date) -> Iterator[date]:
        """From `first` on, each once, in order, until HORIZON years later."""


def last_day(first: date) -> date:
    """Where a search from `first` on ends."""
    return date(min(first.year + HORIZON, _LAST_YEAR), 12, 31)


@dataclass(frozen=True, slots=True)
class LocalStarts:
    """When a window opens, in local time: `offset` days after each of `days`, at `times` (sorted, each once)."""

    days: Days
    times: tuple[time, ...]
    offset: int = 0

    def since(self, first: date) -> Iterator[datetime]:
        """Naive local times from the day `first` on, strictly increasing."""
        offset = timedelta(self.offset)
        for day in self.days.days(first - offset):
            for at in self.times:
                yield datetime.combine(day + offset, at)

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Those later than `moment`, naive."""
        return dropwhile(lambda at: at <= moment, self.since(moment.date()))

    def closer_than(self, length: timedelta) -> tuple[datetime, datetime] | None:
        """The first two of OVERLAP_YEARS years between which there is less time than that."""
        minutes = [at.hour * 60 + at.minute for at in self.times]
        around = [*minutes, minutes[0] + 1440]
        if all(other - one >= length / _MINUTE for one, other in pairwise(around)):
            return None
        until = datetime(EPOCH.year + OVERLAP_YEARS, 1, 1)
        found = takewhile(lambda at: at < until, self.since(EPOCH))
        return next(((one, other) for one, other in pairwise(found) if other - one < length), None)

    def opens_on(self, day: date) -> bool:
        wanted = day - timedelta(self.offset)
        return next(self.days.days(wanted), None) == wanted

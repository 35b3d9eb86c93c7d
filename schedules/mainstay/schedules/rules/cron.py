"""cron lines: five fields, crontab(5). Where both day and weekday are given either suffices, as in Debian's cron; where one
of them begins with `*`, both have to hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown
from mainstay.schedules.rules.days import EPOCH, LocalStarts, last_day

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class CronDays:
    """weekdays: 0 is Sunday. both: day and weekday have to hold."""

    month_days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool

    def days(self, first: date) -> Iterator[date]:
        """From `first` on, each once, in order, until HORIZON years later."""
        end = last_day(first)
        year, month = first.year, first.month
        while year <= end.year:
            if month in self.months:
                start = date(year, month, 1).toordinal()
                following = date(year, month, 28).toordinal() + 4
                for number in range(max(start, first.toordinal()), following):
                    day = date.fromordinal(number)
                    if day.month == month and self._holds(day):
                        yield day
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _holds(self, day: date) -> bool:
        of_month, of_week = day.day in self.month_days, day.isoweekday() % 7 in self.weekdays
        return of_month and of_week if self.both else of_month or of_week


def check_cron(text: str) -> str:
    """The line with single blanks. Raises ValueError with the reason."""
    whole = " ".join(text.split())
    if next(cron_starts(whole).since(EPOCH), None) is None:
        raise ValueError(f"never fires: there is no such day before the year {last_day(EPOCH).year + 1}")
    return whole


@lru_cache(maxsize=4096)
def cron_starts(text: str) -> LocalStarts:
    """Raises ValueError with the reason."""
    fields = text.split()
    if text.startswith("@"):
        raise WrongValue(f"{shown(text)} is not taken.", hint="Write on: daily and a start.")
    if len(fields) != 5:
        raise ValueError(f"a cron line has five fields (minute hour day month weekday), this one {len(fields)}")
    minutes = _field(fields[0], "minute", 0, 59)
    hours = _field(fields[1], "hour", 0, 23)
    days = _field(fields[2], "day", 1, 31)
    months = _field(fields[3], "month", 1, 12, _MONTH_NAMES)
    weekdays = frozenset(day % 7 for day in _field(fields[4], "weekday", 0, 7, _DAY_NAMES))
    both = fields[2].startswith("*") or fields[4].startswith("*")
    times = tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes))
    return LocalStarts(CronDays(days, months, weekdays, both), times)


def _field(field: str, what: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 1 <= int(step[:4]) <= high):
            raise ValueError(f"{what}: the step {shown(step)} is no number from 1 to {high}")
        first, dash, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        start = _number(first, what, low, high, names)
        end = _number(last, what, low, high, names) if dash else (high if slash else start)
        if end < start:
            raise ValueError(f"{what}: {shown(part)} ends before it begins")
        found |= set(range(start, end + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:4]) <= high:
        raise ValueError(f"{what}: {shown(text)} is not between {low} and {high}")
    return int(text)

"""RRULE: RFC 5545 section 3.3.10, in days. The time of day is the window's `start`, and there is no DTSTART: what a rule
would take from it has to be said in the rule, and INTERVAL is counted from EPOCH."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean
from mainstay.schedules.rules.days import EPOCH, last_day

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_NUMBERS = {
    "INTERVAL": (1, 1000),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYSETPOS": (-366, 366),
}
_KEYS = ("FREQ", *_NUMBERS, "BYDAY", "WKST")
_TIMES = ("BYHOUR", "BYMINUTE", "BYSECOND")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule that has been read. Weekdays count from 0, Monday; nth: (weekday, n-th of the month or year)."""

    frequency: str
    interval: int = 1
    months: frozenset[int] = frozenset()
    month_days: frozenset[int] = frozenset()
    year_days: frozenset[int] = frozenset()
    weeks: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    positions: frozenset[int] = frozenset()
    week_start: int = 0

    def days(self, first: date) -> Iterator[date]:
        """From `first` on, each once, in order, until HORIZON years later."""
        end = last_day(first)
        for begin, length in self._periods(first, end):
            if not self.positions:
                found = self._matching(begin, length)
            else:
                every = list(self._matching(begin, length))
                found = iter([day for number, day in enumerate(every) if self._placed(number, len(every))])
            for day in found:
                if first <= day <= end:
                    yield day

    def _placed(self, number: int, total: int) -> bool:
        return number + 1 in self.positions or number - total in self.positions

    def _periods(self, first: date, end: date) -> Iterator[tuple[date, int]]:
        """(first day, length) of each day, week, month or year that counts, from the one with `first` in it on."""
        if self.frequency in ("DAILY", "WEEKLY"):
            length = 1 if self.frequency == "DAILY" else 7
            origin = EPOCH.toordinal() - ((EPOCH.weekday() - self.week_start) % 7 if length == 7 else 0)
            step = length * self.interval
            at = origin + (first.toordinal() - origin) // step * step
            while at <= end.toordinal():
                begin = date.fromordinal(max(at, 1))
                yield begin, at + length - begin.toordinal()
                at += step
                at = self._skipped(at, step, length)
            return
        months = 1 if self.frequency == "MONTHLY" else 12
        step = months * self.interval
        origin = EPOCH.year * 12
        number = origin + (first.year * 12 + first.month - 1 - origin) // step * step
        while number <= end.year * 12 + 11:
            if number >= 12 and (months == 12 or not self.months or number % 12 + 1 in self.months):
                begin = date(number // 12, number % 12 + 1, 1)
                yield begin, _month_length(begin) if months == 1 else 365 + _is_leap(begin.year)
            number += step

    def _skipped(self, at: int, step: int, length: int) -> int:
        """The first period at or after `at` that may lie in a month that counts: years without one cost nothing."""
        if not self.months:
            return at
        day = date.fromordinal(max(at, 1))
        if day.month in self.months or date.fromordinal(at + length - 1).month in self.months:
            return at
        wanted = day.replace(day=1)
        while wanted.month not in self.months:
            wanted = (wanted + 31 * _DAY).replace(day=1)
        behind = wanted.toordinal() - at - (length - 1)
        return at + max(0, -(-behind // step)) * step

    def _matching(self, begin: date, length: int) -> Iterator[date]:
        ordinal = begin.toordinal()
        for number in range(ordinal, ordinal + length):
            day = date.fromordinal(number)
            if self.months and day.month not in self.months:
                continue
            if (self.weekdays or self.nth) and not self._weekday(day):
                continue
            if self.month_days and not self._counted(self.month_days, day.day, _month_length(day)):
                continue
            if self.year_days and not self._counted(self.year_days, _year_day(day), 365 + _is_leap(day.year)):
                continue
            if self.weeks and not self._counted(self.weeks, *week_of(day, self.week_start)):
                continue
            yield day

    def _weekday(self, day: date) -> bool:
        weekday = day.weekday()
        if weekday in self.weekdays:
            return True
        if not self.nth:
            return False
        if self.frequency == "MONTHLY" or self.months:
            number, total = day.day, _month_length(day)
        else:
            number, total = _year_day(day), 365 + _is_leap(day.year)
        return (weekday, (number + 6) // 7) in self.nth or (weekday, -((total - number) // 7 + 1)) in self.nth

    @staticmethod
    def _counted(wanted: frozenset[int], number: int, total: int) -> bool:
        """Whether the `number`-th of `total` is meant, counted from either end."""
        return number in wanted or number - total - 1 in wanted


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _month_length(day: date) -> int:
    if day.month == 2:
        return 28 + _is_leap(day.year)
    return 30 if day.month in (4, 6, 9, 11) else 31


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1


def week_of(day: date, week_start: int) -> tuple[int, int]:
    """(number of its week, how many weeks that year has). The first week is the first with four days in the year."""
    middle = date.fromordinal(max(1, min(day.toordinal() - (day.weekday() - week_start) % 7 + 3, date.max.toordinal())))
    first = (middle.weekday() - date(middle.year, 1, 1).weekday()) % 7
    return (_year_day(middle) - 1) // 7 + 1, (365 + _is_leap(middle.year) - 1 - first) // 7 + 1


def check_rrule(text: str) -> str:
    """The rule in capitals. Raises ValueError with the reason."""
    parts = _parts(text)
    _check_whole(parts)
    whole = ";".join(f"{key}={value}" for key, value in parts.items())
    if next(recurrence(whole).days(EPOCH), None) is None:
        raise ValueError(f"never fires: there is no such day before the year {last_day(EPOCH).year + 1}")
    return whole


@lru_cache(maxsize=4096)
def recurrence(checked: str) -> Recurrence:
    """Of a rule as `check_rrule` gives it."""
    parts = dict(part.split("=") for part in checked.split(";"))
    weekdays, nth = set(), set()
    for word in parts.get("BYDAY", "").split(",") if "BYDAY" in parts else ():
        weekday, number = WEEKDAYS.index(word[-2:]), word[:-2]
        if number:
            nth.add((weekday, int(number)))
        else:
            weekdays.add(weekday)
    return Recurrence(
        frequency=parts["FREQ"],
        interval=int(parts.get("INTERVAL", 1)),
        months=_numbers(parts.get("BYMONTH")),
        month_days=_numbers(parts.get("BYMONTHDAY")),
        year_days=_numbers(parts.get("BYYEARDAY")),
        weeks=_numbers(parts.get("BYWEEKNO")),
        weekdays=frozenset(weekdays),
        nth=frozenset(nth),
        positions=_numbers(parts.get("BYSETPOS")),
        week_start=WEEKDAYS.index(parts.get("WKST", "MO")),
    )


def _numbers(value: str | None) -> frozenset[int]:
    return frozenset(int(word) for word in value.split(",")) if value else frozenset()


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        key, equals, value = part.strip().partition("=")
        if not equals or not value:
            hint = "For example FREQ=WEEKLY;BYDAY=TU, or in words with on:."
            raise WrongValue(f"{shown(part)} is no part of a rule: KEY=VALUE.", hint=hint)
        if key in parts:
            raise ValueError(f"{key} is given twice")
        _check_part(key, value)
        parts[key] = value
    return parts


def _check_part(key: str, value: str) -> None:
    if key in _TIMES:
        raise ValueError(f"{key}: the time of day is said with start:")
    if key in ("COUNT", "UNTIL"):
        raise ValueError(f"{key}: a window has no last time; take it out of the site when it is over")
    if key not in _KEYS:
        hint = did_you_mean(key, _KEYS) or f"Known here: {', '.join(_KEYS)}."
        raise WrongValue(f"{shown(key)} is no part of a rule.", hint=hint)
    words = value.split(",")
    if key == "FREQ" and value not in _FREQUENCIES:
        raise ValueError(f"FREQ={value} is none of {', '.join(_FREQUENCIES)}")
    if key == "WKST" and value not in WEEKDAYS:
        raise ValueError(f"WKST={value} is none of {', '.join(WEEKDAYS)}")
    if key == "BYDAY":
        for word in words:
            found = re.fullmatch(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", word, re.ASCII)
            if not found or (found[1] is not None and not 1 <= abs(int(found[1])) <= 53):
                raise ValueError(f"BYDAY: {shown(word)} is no day (MO to SU, 2TU for the second Tuesday)")
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,4}", word, re.ASCII) or not low <= int(word) <= high or int(word) == 0:
                raise ValueError(f"{key}: {shown(word)} is not between {low} and {high}")
        if key == "INTERVAL" and len(words) > 1:
            raise ValueError("INTERVAL takes one number")


_NOT_WITH = {
    "BYMONTHDAY": ("WEEKLY",),
    "BYYEARDAY": ("DAILY", "WEEKLY", "MONTHLY"),
    "BYWEEKNO": ("DAILY", "WEEKLY", "MONTHLY"),
}


def _check_whole(parts: dict[str, str]) -> None:
    frequency = parts.get("FREQ")
    if frequency is None:
        raise ValueError("a rule needs FREQ=DAILY, WEEKLY, MONTHLY or YEARLY")
    numbered = re.search(r"\d", parts.get("BYDAY", ""))
    if numbered and frequency not in ("MONTHLY", "YEARLY"):
        raise ValueError(
            f"BYDAY={parts['BYDAY']}: the second Tuesday is one of a month or year, not of FREQ={frequency}"
        )
    if numbered and "BYWEEKNO" in parts:
        raise ValueError(f"BYDAY={parts['BYDAY']}: a week has each day once; leave out the number beside BYWEEKNO")
    for key, frequencies in _NOT_WITH.items():
        if key in parts and frequency in frequencies:
            raise ValueError(f"{key} is not for FREQ={frequency} (RFC 5545)")
    # RFC 5545 would take what is missing from DTSTART, which a window has not
    if frequency == "WEEKLY" and "BYDAY" not in parts:
        raise WrongValue("FREQ=WEEKLY does not say on which day.", hint="Add for example BYDAY=TU.")
    if frequency in ("MONTHLY", "YEARLY") and not parts.keys() & {"BYDAY", "BYMONTHDAY", "BYYEARDAY"}:
        raise WrongValue(
            f"FREQ={frequency} does not say on which day.", hint="Add for example BYDAY=2TU or BYMONTHDAY=15."
        )

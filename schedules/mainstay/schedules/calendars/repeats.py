"""The rules by which events repeat (RFC 5545 section 3.3.10): checked before anything is made of them, and walked within a
budget. dateutil looks for the next day up to the year 9999, which takes seconds for a rule that never has one, and a
calendar is written by others."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mainstay.inventory.names import shown
from mainstay.schedules.calendars.contract import CalendarFault

MOST_DAYS = 3_000_000
"""Days that the rules of one calendar may look at, one after the other, from their events' start on."""
MOST_STARTS = 200_000
"""Moments that the rules of one calendar may give."""

_FREQUENCIES = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_NUMBERS = {
    "INTERVAL": (1, 10_000),
    "COUNT": (1, 100_000),
    "BYSECOND": (0, 60),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTH": (1, 12),
    "BYMONTHDAY": (-31, 31),
    "BYYEARDAY": (-366, 366),
    "BYWEEKNO": (-53, 53),
    "BYSETPOS": (-366, 366),
}
_SIGNED = ("BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS")
_MOST_TIMES = 24
"""Of a day, by BYHOUR, BYMINUTE and BYSECOND together."""


def check_repeat(text: str) -> str:
    """The rule in capitals, without empty parts. Raises ValueError with the reason."""
    parts: dict[str, str] = {}
    for part in filter(None, text.strip().upper().split(";")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise ValueError(f"{shown(part)} is no part of a rule")
        if key in parts:
            raise ValueError(f"{shown(key)} is given twice")
        _check_part(key, value)
        parts[key] = value
    if "FREQ" not in parts:
        raise ValueError("a rule needs FREQ")
    if "COUNT" in parts and "UNTIL" in parts:
        raise ValueError("a rule ends by COUNT or by UNTIL, not by both")
    times = 1
    for key in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        times *= len(parts[key].split(",")) if key in parts else 1
    if times > _MOST_TIMES:
        raise ValueError(f"{times} times a day are more than {_MOST_TIMES}")
    return ";".join(f"{key}={value}" for key, value in parts.items())


def _check_part(key: str, value: str) -> None:
    if key == "FREQ":
        if value in ("SECONDLY", "MINUTELY"):
            raise ValueError(f"FREQ={value} is too often for a calendar of days and hours")
        if value not in _FREQUENCIES:
            raise ValueError(f"FREQ={shown(value)[1:-1]} is none of {', '.join(_FREQUENCIES)}")
    elif key == "UNTIL":
        if not re.fullmatch(r"\d{8}(T\d{6}Z?)?", value, re.ASCII):
            raise ValueError(f"UNTIL={shown(value)[1:-1]} is neither a date nor a moment")
    elif key == "WKST":
        if not re.fullmatch(r"MO|TU|WE|TH|FR|SA|SU", value):
            raise ValueError(f"WKST={shown(value)[1:-1]} is no day of the week")
    elif key == "BYDAY":
        for word in value.split(","):
            if not re.fullmatch(r"([+-]?([1-9]|[1-4]\d|5[0-3]))?(MO|TU|WE|TH|FR|SA|SU)", word, re.ASCII):
                raise ValueError(f"BYDAY: {shown(word)} is no day")
    elif key in _NUMBERS:
        _check_numbers(key, value)
    else:
        raise ValueError(f"{shown(key)} is no part of a rule")


def _check_numbers(key: str, value: str) -> None:
    low, high = _NUMBERS[key]
    words = value.split(",")
    if key in ("INTERVAL", "COUNT") and len(words) > 1:
        raise ValueError(f"{key} takes one number")
    if len(words) > 400:
        raise ValueError(f"{key} lists more than 400 numbers")
    for word in words:
        fits = re.fullmatch(r"[+-]?\d{1,6}", word, re.ASCII) and low <= int(word) <= high
        if not fits or (key in _SIGNED and int(word) == 0):
            raise ValueError(f"{key}: {shown(word)} is not between {low} and {high}")


class Budget:
    """What the rules of one calendar may still take."""

    def __init__(self, days: int = MOST_DAYS, starts: int = MOST_STARTS) -> None:
        self.days, self.starts = days, starts

    def look(self) -> None:
        self.days -= 1
        if self.days < 0:
            raise CalendarFault("its rules repeat for too long, or have one that never comes about")

    def give(self) -> None:
        self.starts -= 1
        if self.starts < 0:
            raise CalendarFault(f"its rules give more than {MOST_STARTS} events")


class _Counted(frozenset[int]):
    """Months that a rule allows. dateutil asks for the month of each day that it looks at, so that looking is counted."""

    budget: Budget

    def __contains__(self, month: object) -> bool:
        self.budget.look()
        return super().__contains__(month)


class Walk:
    """A rule of dateutil with the one question that is asked of it (`between`), answered within the budget and remembered."""

    def __init__(self, rule: Any, budget: Budget, until: Any) -> None:
        self.until = until
        counted = _Counted(rule._bymonth or range(1, 13))
        counted.budget = budget
        plain = rule.replace(cache=False)
        plain._bymonth = counted
        self._budget = budget
        self._left: Iterator[datetime] = iter(plain)
        self._known: list[datetime] = []
        self._ended = False

    def between(self, after: datetime, before: datetime, inc: bool = False) -> list[datetime]:
        """inc: the ends count as well; it is never asked otherwise."""
        assert inc
        self._go_to(before)
        return self._known[bisect_left(self._known, after) : bisect_right(self._known, before)]

    def _go_to(self, before: datetime) -> None:
        while not self._ended and not (self._known and self._known[-1] > before):
            start = next(self._left, None)
            if start is None:
                self._ended = True
            else:
                self._budget.give()
                self._known.append(start)

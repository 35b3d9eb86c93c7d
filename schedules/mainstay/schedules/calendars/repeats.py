"""The rules by which events repeat (RFC 5545 section 3.3.10): checked before anything is made of them, and walked within a
budget. dateutil looks for the next day up to the year 9999, which takes seconds for a rule that never has one, and a
calendar is written by others."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from dateutil.rrule import DAILY, HOURLY, WEEKLY, YEARLY, rrulestr

from mainstay.inventory.names import shown
from mainstay.schedules.calendars.contract import CalendarFault

MOST_DAYS = 2_000_000
"""That the rules of one calendar may look at, each for itself, to answer one question: some seconds."""
MOST_STARTS = 300_000
"""Moments that the rules of one calendar may give within what is remembered."""
MARGIN = timedelta(days=366)
"""So much more than was asked for is worked out at once, to either side."""

_FREQUENCIES = ("HOURLY", "DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_NUMBERS = {
    "INTERVAL": (1, 10_000),
    "COUNT": (1, 100_000),
    "BYSECOND": (0, 59),
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
    if "BYWEEKNO" in parts and re.search(r"\d", parts.get("BYDAY", "")):
        raise ValueError("BYWEEKNO goes with days of the week, not with the second Tuesday")
    times = 1
    for key in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        times *= len(parts[key].split(",")) if key in parts else 1
    if times > _MOST_TIMES:
        raise ValueError(f"{times} times a day are more than {_MOST_TIMES}")
    return ";".join(f"{key}={value}" for key, value in parts.items())


def check_makes_sense(rule: str, start: datetime) -> None:
    """For one that `check_repeat` has let through. start: of its event, naive. Raises ValueError where it contradicts
    itself (every second hour from midnight on, at one o'clock)."""
    without = ";".join(part for part in rule.split(";") if not part.startswith("UNTIL="))
    try:
        rrulestr(without, dtstart=start)
    except ValueError:
        raise ValueError(f"{shown(rule)} contradicts itself") from None


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
    """What all rules of one calendar together may take: days looked at in one question, moments remembered at all."""

    def __init__(self) -> None:
        self._days = MOST_DAYS
        self._starts = MOST_STARTS

    def renew(self) -> None:
        """Another question."""
        self._days = MOST_DAYS

    def look(self) -> None:
        self._days -= 1
        if self._days < 0:
            raise CalendarFault("has too many rules that repeat for years")

    def hold(self, starts: int) -> None:
        self._starts -= starts
        if self._starts < 0:
            raise CalendarFault(f"has rules that give more than {MOST_STARTS} events")


class _FarEnough(Exception):
    pass


class _Counted(frozenset[int]):
    """Months (or days of the week) that a rule allows. dateutil asks for that of each day that it looks at, before all else:
    so the days are counted, and it is stopped once it must be past what was asked about."""

    budget: Budget
    left: int

    def __contains__(self, one: object) -> bool:
        self.left -= 1
        if self.left < 0:
            raise _FarEnough
        self.budget.look()
        return super().__contains__(one)


class Walk:
    """A rule of dateutil with the one question that is asked of it, answered within the budget and remembered."""

    def __init__(self, rule: Any, budget: Budget, until: Any) -> None:
        self.until = until
        """For the library: what the rule says."""
        self._rule = rule
        self._budget = budget
        self._known: list[datetime] = []
        self._low: datetime | None = None
        self._high: datetime | None = None

    def between(self, after: datetime, before: datetime, inc: bool = False) -> list[datetime]:
        """Starts in [after, before]. inc: that both ends count; the library never asks otherwise."""
        assert inc
        if self._low is None or self._high is None or after < self._low or before > self._high:
            low, high = after - MARGIN, before + MARGIN
            low, high = min(low, self._low or low), max(high, self._high or high)
            known = list(self._walked(low, high))
            self._budget.hold(len(known) - len(self._known))
            self._known, self._low, self._high = known, low, high
        return self._known[bisect_left(self._known, after) : bisect_right(self._known, before)]

    def _walked(self, low: datetime, high: datetime) -> Iterator[datetime]:
        rule = self._near(low)
        hourly = rule._freq == HOURLY
        # a year is looked at as a whole, the first and the last as well
        reach = max(0, (high - rule._dtstart).days) + 800
        self._count(rule, reach * 24 if hourly else reach)
        given = 0
        try:
            for start in rule:
                if start > high:
                    return
                if start >= low:
                    given += 1
                    if given > MOST_STARTS:
                        self._budget.hold(given)
                    yield start
        except _FarEnough:
            return

    def _count(self, rule: Any, most: int) -> None:
        # BYDAY=1MO is the first of a year without BYMONTH, and of each month with it: then the days of the week are asked
        # first (there is no BYWEEKNO beside them, see check_repeat).
        of_the_year = rule._freq == YEARLY and rule._bynweekday and not rule._bymonth
        counted = _Counted((rule._byweekday or range(7)) if of_the_year else (rule._bymonth or range(1, 13)))
        counted.budget, counted.left = self._budget, most
        if of_the_year:
            rule._byweekday = counted
        else:
            rule._bymonth = counted

    def _near(self, low: datetime) -> Any:
        """The rule begun as late as may be, where that changes nothing: whole steps later, and one before `low`."""
        rule, steps = self._rule, 0
        step = timedelta(days=rule._interval * (7 if rule._freq == WEEKLY else 1))
        if rule._count is None and rule._freq in (HOURLY, DAILY, WEEKLY):
            steps = max(0, (low - rule._dtstart) // step - 1)
        return rule.replace(cache=False, dtstart=rule._dtstart + steps * step)

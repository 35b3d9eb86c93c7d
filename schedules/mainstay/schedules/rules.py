"""The two ways to say when a window opens: an RRULE or a cron line. Grammar only; occurrences are computed elsewhere.

RRULE: RFC 5545 section 3.3.10, without a time of day (that is the window's `start`). cron: five fields, crontab(5).
"""

from __future__ import annotations

import calendar
import re

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown

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
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_MONTH = {month: calendar.monthrange(2024, month)[1] for month in range(1, 13)}


def check_rrule(text: str) -> str:
    """The rule in capitals. Raises ValueError with the reason."""
    parts: dict[str, str] = {}
    for part in text.strip().upper().removeprefix("RRULE:").split(";"):
        key, equals, value = part.strip().partition("=")
        if not equals or not value:
            raise WrongValue(
                f"{shown(part)} is no part of a rule: KEY=VALUE.", hint="For example FREQ=WEEKLY;BYDAY=TU."
            )
        if key in parts:
            raise ValueError(f"{key} is given twice")
        _check_part(key, value)
        parts[key] = value
    frequency = parts.get("FREQ")
    if frequency is None:
        raise ValueError("a rule needs FREQ=DAILY, WEEKLY, MONTHLY or YEARLY")
    if re.search(r"\d", parts.get("BYDAY", "")) and frequency not in ("MONTHLY", "YEARLY"):
        raise ValueError(
            f"BYDAY={parts['BYDAY']}: the second Tuesday is one of a month or year, not of FREQ={frequency}"
        )
    months = _numbers(parts.get("BYMONTH")) or set(range(1, 13))
    if _never(months, _numbers(parts.get("BYMONTHDAY"))):
        raise ValueError("never fires: there is no such day in these months")
    return ";".join(f"{key}={value}" for key, value in parts.items())


def _check_part(key: str, value: str) -> None:
    if key in _TIMES:
        raise ValueError(f"{key}: the time of day is said with start:")
    if key in ("COUNT", "UNTIL"):
        raise ValueError(f"{key}: a window has no last time; take it out of the site when it is over")
    if key not in _KEYS:
        raise WrongValue(f"{shown(key)} is no part of a rule.", hint=f"Known here: {', '.join(_KEYS)}.")
    words = value.split(",")
    if key == "FREQ" and value not in _FREQUENCIES:
        raise ValueError(f"FREQ={value} is none of {', '.join(_FREQUENCIES)}")
    if key == "WKST" and value not in _DAYS:
        raise ValueError(f"WKST={value} is none of {', '.join(_DAYS)}")
    if key == "BYDAY":
        for word in words:
            found = re.fullmatch(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", word)
            if not found or (found[1] is not None and not 1 <= abs(int(found[1])) <= 53):
                raise ValueError(f"BYDAY: {shown(word)} is no day (MO to SU, 2TU for the second Tuesday)")
    if key in _NUMBERS:
        low, high = _NUMBERS[key]
        for word in words:
            if not re.fullmatch(r"[+-]?\d{1,4}", word) or not low <= int(word) <= high or int(word) == 0:
                raise ValueError(f"{key}: {shown(word)} is not between {low} and {high}")
        if key == "INTERVAL" and len(words) > 1:
            raise ValueError("INTERVAL takes one number")


def _numbers(value: str | None) -> set[int]:
    return {int(word) for word in value.split(",")} if value else set()


def _never(months: set[int], days: set[int]) -> bool:
    longest = max(_LONGEST_MONTH[month] for month in months)
    return bool(days) and all(abs(day) > longest for day in days)


def check_cron(text: str) -> str:
    """The line with single blanks. Raises ValueError with the reason."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"a cron line has five fields (minute hour day month weekday), this one {len(fields)}")
    limits = (
        ("minute", 0, 59, ()),
        ("hour", 0, 23, ()),
        ("day", 1, 31, ()),
        ("month", 1, 12, _MONTH_NAMES),
        ("weekday", 0, 7, _DAY_NAMES),
    )
    values = [_cron_field(field, *limit) for field, limit in zip(fields, limits, strict=True)]
    if fields[4] == "*" and _never(values[3], values[2]):
        raise ValueError("never fires: there is no such day in these months")
    return " ".join(fields)


def _cron_field(field: str, what: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 1 <= int(step[:4]) <= high):
            raise ValueError(f"{what}: the step {shown(step)} is no number from 1 to {high}")
        first, dash, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        start = _cron_number(first, what, low, high, names)
        end = _cron_number(last, what, low, high, names) if dash else (high if slash else start)
        if end < start:
            raise ValueError(f"{what}: {shown(part)} ends before it begins")
        found |= set(range(start, end + 1, int(step) if slash else 1))
    return found


def _cron_number(text: str, what: str, low: int, high: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if not (text.isascii() and text.isdigit()) or not low <= int(text[:4]) <= high:
        raise ValueError(f"{what}: {shown(text)} is not between {low} and {high}")
    return int(text)

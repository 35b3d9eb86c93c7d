"""`on:`: the days of a window in words. `second tuesday +3 days`, `weekdays`, `mon, wed`, `15th`, `first sunday of january`.

    phrase  = days ["of" months] ["+" | "-" number ("days" | "weeks")]
    days    = "daily" | "weekdays" | "weekends" | weekdays | nths weekdays | nths ["day"]
    nths    = "first" … "fifth" | "last" | "1st" … "31st"

Lists are joined with `,` or `and`; `mon-fri` is a span. A phrase becomes an RRULE and a number of days after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean
from mainstay.schedules.rules.rrule import WEEKDAYS, check_rrule

_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTH_NAMES = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_NTH = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "last": -1}
_DAYS = {name: number for number, name in enumerate(_DAY_NAMES)} | {
    short: number for number, name in enumerate(_DAY_NAMES) for short in (name[:2], name[:3], f"{name}s")
}
_DAYS |= {"tues": 1, "weds": 2, "thur": 3, "thurs": 3}
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_MONTHS |= {name[:3]: number for name, number in list(_MONTHS.items())} | {"sept": 9}
_GROUPS = {"weekday": range(5), "weekdays": range(5), "weekend": range(5, 7), "weekends": range(5, 7)}
_KNOWN = sorted({*_NTH, *_DAYS, *_GROUPS, "daily", "day", "days", "every"})
_EXAMPLES = (
    "For example: daily, weekdays, mon and wed, second tuesday +3 days, last friday, 15th, first sunday of january."
)
_EVERY_OTHER = 'For every other week write rrule: "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU".'
_FURTHEST = 366


@dataclass
class _Item:
    """`first and third` · `monday, friday`: each of these n-ths of each of these days."""

    nths: list[int] = field(default_factory=list)
    bare: str = ""
    """`first`, where it was written in letters: not of what."""
    days: list[int] = field(default_factory=list)
    noun: str = ""
    """`day`, `weekday`, `weekend` where it was said; `every` before anything else was."""


def check_words(text: str) -> str:
    """The phrase with single blanks, in small letters. Raises ValueError with the reason."""
    phrase = " ".join(text.lower().split())
    read_words(phrase)
    return phrase


@lru_cache(maxsize=4096)
def read_words(phrase: str) -> tuple[str, int]:
    """(RRULE as `check_rrule` gives it, days after it). Raises ValueError with the reason."""
    days, offset = _offset(phrase.lower())
    days, of, months = days.partition(" of ")
    if not days.strip():
        raise WrongValue("does not say on which days.", hint=_EXAMPLES)
    items = _items(days)
    which, yearly = _months(months) if of else ([], False)
    return check_rrule(_rule(items, which, yearly)), offset


def _offset(phrase: str) -> tuple[str, int]:
    found = re.search(r"(?:^|[\s\w])\s*([+-])\s*(\d+)\s*([a-z]*)\s*$", phrase, re.ASCII)
    if not found:
        return phrase, 0
    sign, number, unit = found[1], found[2], found[3]
    if unit.rstrip("s") not in ("day", "week"):
        raise WrongValue(f"{shown(sign + number + unit)}: say of what.", hint=f"Write {sign}{number} days.")
    total = int(number[:5]) * (7 if unit.startswith("week") else 1)
    if total > _FURTHEST:
        raise ValueError(f"{shown(sign + number + ' ' + unit)} is more than a year: at most {_FURTHEST} days")
    return phrase[: found.start(1)], total if sign == "+" else -total


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,&]+|\band\b", text) if word]


def _items(text: str) -> list[_Item]:
    items = [_Item()]
    for word in _words(text):
        item = items[-1]
        if word in ("every", "each", "the", "on"):
            if item.nths:
                raise WrongValue(f"{shown(word)} has no meaning behind a number.", hint=_EVERY_OTHER)
            every = word in ("every", "each")
            item.noun = "every" if every and not item.days else item.noun
            continue
        nth = _nth(word)
        if nth is not None:
            if item.noun == "every":
                hint = 'Write second tuesday, or rrule: "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU" for every other week.'
                raise WrongValue(f"every {word}: of a month, or every other week?", hint=hint)
            if item.days or item.noun:
                item = _Item()
                items.append(item)
            item.nths.append(nth)
            item.bare = item.bare or (word if word in _NTH else "")
        else:
            _noun(item, word)
    return items


def _nth(word: str) -> int | None:
    if word in _NTH:
        return _NTH[word]
    found = re.fullmatch(r"(\d{1,2})(st|nd|rd|th)", word, re.ASCII)
    if not found:
        return None
    number = int(found[1])
    if not 1 <= number <= 31:
        raise ValueError(f"{shown(word)} is no day of a month (1st to 31st)")
    return number


def _noun(item: _Item, word: str) -> None:
    first, dash, last = word.partition("-")
    if word in ("day", "days", "daily"):
        item.noun = "day"
    elif word in _DAYS:
        item.days.append(_DAYS[word])
    elif word in _GROUPS:
        item.days += _GROUPS[word]
        item.noun = word.rstrip("s")
    elif dash and first in _DAYS and last in _DAYS:
        item.days += [(_DAYS[first] + more) % 7 for more in range((_DAYS[last] - _DAYS[first]) % 7 + 1)]
    elif word in _MONTHS:
        raise WrongValue(f"{shown(word)} without the day in it.", hint=f"Write for example first sunday of {word}.")
    elif word == "other":
        raise WrongValue(f"{shown(word)} is no word for days.", hint=_EVERY_OTHER)
    elif word.isdigit():
        raise WrongValue(f"{shown(word)} is no day.", hint="The day of the month is written 15th.")
    else:
        raise WrongValue(f"{shown(word)} is no word for days.", hint=did_you_mean(word, _KNOWN) or _EXAMPLES)


def _months(text: str) -> tuple[list[int], bool]:
    """(numbers of months, whether it is the year that is meant)."""
    words = [word for word in _words(text) if word not in ("the", "each", "every", "a")]
    if words in (["month"], ["months"]):
        return [], False
    if words == ["year"]:
        return [], True
    months: list[int] = []
    for word in words:
        first, dash, last = word.partition("-")
        if word in _MONTHS:
            months.append(_MONTHS[word])
        elif dash and first in _MONTHS and last in _MONTHS:
            months += [
                (_MONTHS[first] - 1 + more) % 12 + 1 for more in range((_MONTHS[last] - _MONTHS[first]) % 12 + 1)
            ]
        else:
            hint = did_you_mean(word, [*_MONTHS, "month", "year"]) or "Write for example of january and july."
            raise WrongValue(f"{shown(word)} is no month.", hint=hint)
    if not months:
        raise WrongValue("does not say of which month.", hint="Write for example of january and july.")
    return months, False


def _rule(items: list[_Item], months: list[int], yearly: bool) -> str:
    suffix = f";BYMONTH={_joined(months)}" if months else ""
    if len(items) == 1 and not items[0].nths:
        return _weekly(items[0], suffix, yearly)
    for item in items:
        if item.bare and not item.days and item.noun != "day":
            hint = f"Write for example {item.bare} tuesday or {item.bare} day."
            raise WrongValue(f"{shown(item.bare)} does not say of what.", hint=hint)
    if all(item.nths and not item.days and item.noun in ("", "day") for item in items):
        numbers = [nth for item in items for nth in item.nths]
        frequency, by = ("YEARLY", "BYYEARDAY") if yearly else ("MONTHLY", "BYMONTHDAY")
        return f"FREQ={frequency};{by}={_joined(numbers)}{suffix}"
    frequency = "YEARLY" if yearly else "MONTHLY"
    if any(item.nths and item.noun == "weekend" for item in items):
        raise WrongValue("a weekend is two days.", hint="Write for example first saturday.")
    if len(items) == 1 and items[0].noun == "weekday" and len(set(items[0].days)) == 5:
        # `first weekday`: of all Mondays to Fridays together
        return f"FREQ={frequency};BYDAY={_named(items[0].days)};BYSETPOS={_joined(items[0].nths)}{suffix}"
    if all(item.nths and item.days and item.noun != "weekday" for item in items):
        _at_most_five(items, yearly)
        pairs = [f"{nth}{WEEKDAYS[day]}" for item in items for nth in item.nths for day in item.days]
        return f"FREQ={frequency};BYDAY={','.join(dict.fromkeys(pairs))}{suffix}"
    raise WrongValue(
        "mixes days of the week with days of the month.", hint="Declare two windows; a plan takes several."
    )


def _weekly(item: _Item, suffix: str, yearly: bool) -> str:
    if yearly:
        raise WrongValue("does not say which of the year.", hint="Write for example first monday of the year.")
    if item.noun == "day" and not item.days:
        return f"FREQ=DAILY{suffix}"
    if not item.days or item.noun == "day":
        raise WrongValue("does not say on which days.", hint=_EXAMPLES)
    return f"FREQ=WEEKLY;BYDAY={_named(item.days)}{suffix}"


def _at_most_five(items: list[_Item], yearly: bool) -> None:
    for nth in (nth for item in items for nth in item.nths):
        if nth > 5 and not yearly:
            raise ValueError(f"no month has the same weekday {nth} times: first to fifth, or last")


def _named(days: list[int]) -> str:
    return ",".join(WEEKDAYS[day] for day in sorted(set(days)))


def _joined(numbers: list[int]) -> str:
    return ",".join(str(number) for number in dict.fromkeys(numbers))

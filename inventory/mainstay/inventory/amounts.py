"""Durations and shares as people write them in a site."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from mainstay.inventory.names import shown
from mainstay.inventory.value import Value

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*")


def seconds(text: Any) -> float:
    """`3d`, `2h 30m`, `45m`, `90s`, `0` → seconds. Raises ValueError otherwise (a bare number has no unit)."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        if text == 0:
            return 0.0
        raise ValueError(f"{text} has no unit; write {text}s, {text}m, {text}h or {text}d")
    position, total = 0, 0.0
    source = str(text)
    while position < len(source):
        found = _DURATION.match(source, position)
        if not found:
            raise ValueError(f"{shown(text)} is no duration; write for example 90s, 45m, 24h, 3d or 2h 30m")
        total += float(found[1]) * _UNITS[found[2]]
        position = found.end()
    if not source.strip():
        raise ValueError("a duration can't be empty")
    return total


def _from_site(value: Any, info: Any) -> Any:
    # What mainstay itself wrote down (mode: json) is seconds already.
    return value if isinstance(value, float) else seconds(value)


Duration = Annotated[
    float, BeforeValidator(_from_site, json_schema_input_type=int | str), PlainSerializer(float, return_type=float)
]
"""Seconds, read from a text with a unit."""


class Share(Value):
    """So many hosts, or that share of all of them, rounded up."""

    count: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, value: Any) -> Share:
        """`3` or `25%`. Raises ValueError for less than nothing, more than 100 %, NaN."""
        if isinstance(value, Share):
            return value
        if isinstance(value, dict):
            return cls.model_validate(value)
        if isinstance(value, int) and not isinstance(value, bool):
            if value < 0:
                raise ValueError(f"{value} is less than no host")
            return cls(count=value)
        text = str(value).strip()
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
        if not found:
            raise ValueError(f"{shown(value)} is neither a number of hosts (3) nor a share of them (25%)")
        percent = float(found[1])
        if percent > 100:
            raise ValueError(f"{text} is more than all hosts")
        return cls(percent=percent)

    def of(self, total: int) -> int:
        if self.count is not None:
            return min(self.count, total)
        # 1e-9: a share that is a whole number of hosts must not be rounded up by floating point
        return min(total, math.ceil(total * (self.percent or 0) / 100 - 1e-9))

    def __str__(self) -> str:
        return str(self.count) if self.count is not None else f"{self.percent:g}%"


Amount = Annotated[Share, BeforeValidator(Share.parse, json_schema_input_type=int | str)]


_SIZES = {
    "B": 1,
    "kB": 1000,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def size(value: Any) -> int:
    """`20GB`, `512 MiB` → bytes. Raises ValueError (a bare number has no unit, what mainstay wrote itself is an int)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", str(value))
    unit = next((known for known in _SIZES if found and known.lower() == found[2].lower()), None)
    if not found or not unit:
        raise ValueError(f"{shown(value)} is no size; write for example 500MB or 20GiB")
    return int(float(found[1]) * _SIZES[unit])


Size = Annotated[int, BeforeValidator(size, json_schema_input_type=int | str)]
"""Bytes, read from a text with a unit."""

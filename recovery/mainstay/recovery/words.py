"""Amounts in words for people."""

from __future__ import annotations

from mainstay.runner.words import spell

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def sized(count: float) -> str:
    """Bytes, in powers of ten: `0 B`, `3.2 MB`, `120 GB`."""
    unit = 0
    while round(count, 1 if count < 9.95 else 0) >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 9.95 else f"{count:,.0f} {_UNITS[unit]}"


def counted(count: int, word: str) -> str:
    """`1 file`, `1,240 files`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def span(seconds: float) -> str:
    """Of up to two days as everywhere (`26 h 5 min`); longer ones in days: `3 d 4 h`, `12 d`."""
    if seconds < 2 * 86400:
        return spell(seconds)
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours and days < 10 else f"{days} d"

"""What must hold of a restored database: the answer of a query, compared. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from mainstay.recovery.words import span

QUERY_SECONDS = 60.0
"""That a query of `prove.check` may take."""


@dataclass(frozen=True, slots=True)
class Check:
    """An Assertion of a plan, as its JSON has it: exactly one of equals, at_least, newer_than (seconds)."""

    source: str
    database: str
    query: str
    equals: str | None = None
    at_least: float | None = None
    newer_than: float | None = None


def judge(assertion: Check, answer: str | None, at: str) -> str:
    """Why it does not hold; empty where it does. answer: None for NULL, or no row. at: the point's, RFC 3339 UTC."""
    asked = f"`{assertion.query}`"
    if answer is None:
        return f"{asked} gave nothing"
    shown = answer if len(answer) <= 80 else f"{answer[:79]}…"
    if assertion.equals is not None:
        return "" if answer == assertion.equals else f"{asked} is {shown!r} instead of {assertion.equals!r}"
    if assertion.at_least is not None:
        try:
            number = float(answer)
        except ValueError:
            return f"{asked} is {shown!r}, which is no number"
        if not math.isfinite(number):
            return f"{asked} is {shown!r}, which is no number"
        return "" if number >= assertion.at_least else f"{asked} is {shown}, less than {assertion.at_least:g}"
    assert assertion.newer_than is not None, "an assertion is one of three"
    when = moment(answer)
    if when is None:
        return f"{asked} is {shown!r}, which is no time"
    older = (datetime.fromisoformat(at) - when).total_seconds()
    if older <= assertion.newer_than:
        return ""
    return f"stale: {asked} is {shown}, {span(older)} before the point; {span(assertion.newer_than)} are allowed"


def moment(text: str) -> datetime | None:
    """A time as databases write it (`2026-11-22 17:00:00.5+00`, without a zone: UTC), or seconds since 1970."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found

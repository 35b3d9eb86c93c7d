"""What must hold of a restored database: the answer of a query, compared. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from mainstay.recovery.words import span

QUERY_SECONDS = 60.0
"""That a query of `prove.check` may take."""
SKEW = 300.0
"""Seconds that the clock of whoever wrote a row may be ahead: as much as a host's may be before it is left alone, and points
dated ahead."""
FARTHEST = 14 * 3600.0
"""Seconds that a clock on a wall is ahead of UTC at the most."""


@dataclass(frozen=True, slots=True)
class Check:
    """An Assertion of a plan, as its JSON has it: exactly one of equals, at_least, newer_than (seconds)."""

    source: str
    database: str
    query: str
    equals: str | None = None
    at_least: float | None = None
    newer_than: float | None = None


def judge(assertion: Check, answer: str | None, at: str, made_at: str) -> str:
    """Why it does not hold; empty where it does. answer: None for NULL, or no row. at, made_at: when the point was begun
    and when it was complete, RFC 3339 UTC; made_at empty: as at."""
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
    return _fresh(assertion.newer_than, when, f"{asked} is {shown}", at, made_at)


def _fresh(allowed: float, when: datetime, said: str, at: str, made_at: str) -> str:
    """when without a zone: UTC."""
    naive = when.tzinfo is None
    when = when.replace(tzinfo=UTC) if naive else when
    begun = datetime.fromisoformat(at)
    # A base backup holds what came in until its end.
    complete = max(begun, datetime.fromisoformat(made_at or at))
    # One row dated ahead would hide for ever that nothing comes in any more.
    if (ahead := (when - complete).total_seconds()) > SKEW:
        end = complete.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        hint = "; a time without a zone is taken for UTC" if naive and ahead <= SKEW + FARTHEST else ""
        after = f"{span(ahead)} after the point was complete ({end})"
        return f"from the future: {said}, {after}; {span(SKEW)} are allowed{hint}"
    if (older := (begun - when).total_seconds()) > allowed:
        return f"stale: {said}, {span(older)} before the point; {span(allowed)} are allowed"
    return ""


def moment(text: str) -> datetime | None:
    """A time as databases write it (`2026-11-22 17:00:00.5+00`, or without a zone), or seconds since 1970."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None

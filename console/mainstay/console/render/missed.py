"""What was missed and has not been done since, in a line each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ulid import ULID

from mainstay.console.render.spans import Line, line, span
from mainstay.runner.record import Summary


def missed_in_words(run: str, summary: Summary, zone: ZoneInfo) -> str:
    """`patch-web missed Fri 2026-12-11 02:00 CET: the controller was down`; the moment is that of its run's id, at which
    its window opened."""
    reason = f": {summary.reason}" if summary.reason else ""
    return f"{summary.plan} missed {_moment(run, zone)}{reason}"


def looks(missed: Sequence[str]) -> list[Line]:
    return [line(span("look  ", "warn"), text) for text in missed]


def _moment(run: str, zone: ZoneInfo) -> str:
    at: datetime = ULID.from_str(run).datetime.astimezone(UTC)
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"

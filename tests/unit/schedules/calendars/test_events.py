"""Calendars as files: each of tests/cases/calendars/*.ics, and what it means (or what is wrong with it) beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mainstay.schedules.calendars.contract import CalendarFault, Span
from mainstay.schedules.calendars.events import timetable

CASES = sorted((Path(__file__).parents[3] / "cases/calendars").glob("*.ics"))
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FROM, TO = datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 4, 15, tzinfo=UTC)


def told(span: Span) -> str:
    local = span.starts_at.astimezone(BERLIN)
    return f"{span.starts_at:%Y-%m-%dT%H:%MZ} {span.ends_at:%Y-%m-%dT%H:%MZ} {local:%a %H:%M} {span.summary}"


def said(content: bytes) -> str:
    try:
        table = timetable(content, BERLIN, NOW)
    except CalendarFault as fault:
        return f"line {fault.line}: {fault.message}\n" + (f"hint: {fault.hint}\n" if fault.hint else "")
    lines = [told(span) for span in table.between(FROM, TO)]
    return "".join(f"{line}\n" for line in [*lines, *(f"remark, line {line}: {what}" for line, what in table.remarks)])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_calendar_means_exactly_this(case: Path) -> None:
    found = said(case.read_bytes())
    expected = case.with_suffix(".txt")
    assert found == expected.read_text()


def test_there_are_cases() -> None:
    assert len(CASES) >= 40

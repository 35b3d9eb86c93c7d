"""Calendars that something has happened to: read, or refused in words, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.schedules.calendars.contract import CalendarFault
from mainstay.schedules.calendars.events import timetable

CASES = [path.read_bytes() for path in sorted((Path(__file__).parents[3] / "cases/calendars").glob("*.ics"))]
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

PIECES = [
    *(
        b"20261201",
        b"20261201T100000Z",
        b"99999999",
        b"00010101T000000Z",
        b"21991231",
        b"-1",
        b"0",
        b"",
        b"\xff",
        b"\n ",
    ),
    *(b"P1D", b"PT0S", b"P9999W", b"FREQ=DAILY", b"FREQ=HOURLY;COUNT=3", b"FREQ=YEARLY;UNTIL=20991231"),
    *(b"BYMONTHDAY=-31", b"BYSETPOS=-366", b"INTERVAL=9999", b"COUNT=100000", b"TZID=UTC", b"TZID=Europe/Berlin"),
    *(b"VALUE=PERIOD", b"RANGE=THISANDFUTURE", b"\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\n", b"+1400", b"-0000", b"\\", b"/"),
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    content = draw(st.sampled_from(CASES))
    for _ in range(draw(st.integers(1, 4))):
        lines = content.split(b"\n")
        first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        how = draw(st.sampled_from(["swap", "drop", "repeat", "foreign", "piece", "bytes"]))
        if how == "swap":
            lines[first], lines[second] = lines[second], lines[first]
        elif how == "drop":
            del lines[first]
        elif how == "repeat":
            lines.insert(second, lines[first])
        elif how == "foreign":
            lines.insert(first, draw(st.sampled_from(draw(st.sampled_from(CASES)).split(b"\n"))))
        elif how == "piece":
            name, mark, value = lines[first].partition(draw(st.sampled_from([b":", b";", b"=", b"T"])))
            lines[first] = (
                name + mark + draw(st.sampled_from(PIECES)) + draw(st.sampled_from([b"", b",", b";"])) + value
            )
        else:
            at = draw(st.integers(0, len(lines[first])))
            lines[first] = lines[first][:at] + draw(st.binary(max_size=3)) + lines[first][at + 1 :]
        content = b"\n".join(lines)
    return content


def read(content: bytes) -> None:
    try:
        table = timetable(content, BERLIN, NOW)
        for days in (0, 300, -9000, 9000):
            start = NOW + timedelta(days=days)
            for span in table.between(start, start + timedelta(days=64)):
                assert span.starts_at < span.ends_at
                assert span.summary.isprintable()
                assert len(span.summary) < 200
    except CalendarFault as fault:
        assert fault.message
        assert fault.line is None or 0 < fault.line <= content.count(b"\n") + content.count(b"\r") + 1


@settings(max_examples=150, deadline=None)
@given(content=mangled())
def test_a_mangled_calendar(content: bytes) -> None:
    read(content)


@pytest.mark.long
@settings(max_examples=4_000, deadline=None)
@given(content=mangled())
def test_many_mangled_calendars(content: bytes) -> None:
    read(content)

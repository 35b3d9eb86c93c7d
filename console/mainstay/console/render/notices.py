"""What could not be told to whom."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from mainstay.console.notices.delivery import Alarm
from mainstay.console.render.spans import Line, line, span
from mainstay.console.render.times import counted, local


def alarm_in_words(alarm: Alarm, zone: ZoneInfo) -> str:
    """`channel tell: 3 notices not delivered since Fri 2026-12-11 02:00 CET: tell ended with exit 1`."""
    what = (
        "ping of " + alarm.channel.removeprefix("ping/")
        if alarm.channel.startswith("ping/")
        else f"channel {alarm.channel}"
    )
    told = []
    if alarm.waiting:
        told.append(f"{counted(alarm.waiting, 'notice')} not delivered since {local(alarm.since, zone)}")
    if alarm.lost:
        told.append(f"{counted(alarm.lost, 'notice')} given up")
    why = f": {alarm.error}" if alarm.error else ""
    return f"{what}: {', '.join(told)}{why}"


def undelivered(alarms: Sequence[Alarm], zone: ZoneInfo) -> list[Line]:
    return [line(span("look  ", "warn"), alarm_in_words(alarm, zone)) for alarm in alarms]

"""What a change of the clocks does to an opening, in words for people."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from mainstay.schedules.localtime import Instant, offset_at, resolve, wall

_DAY = timedelta(days=1)


def remark(zone: ZoneInfo, local: datetime, start: Instant, ends_at: datetime, until: datetime | None) -> str:
    """local: the start as the rule says it, naive. until: the end, where it was said as a time of day, naive; else None.

    Empty where the clocks do nothing to it, as in most nights.
    """
    begins, ends = offset_at(start.at, zone), offset_at(ends_at, zone)
    end = resolve(until, zone) if until else Instant(ends_at)
    if begins == ends and start.how == end.how == "exists":
        return ""
    said = _of_start(zone, local, start)
    true_length = ends_at - start.at
    if until is None:
        usual = local + true_length
        if resolve(usual, zone).at != ends_at:
            said.append(f"ends at {wall(ends_at, zone):%H:%M} instead of {usual:%H:%M}")
    elif end.at <= start.at:
        if wall(start.at, zone).date() == local.date():
            said = [f"{local:%H:%M} to {until:%H:%M} does not exist tonight"]
        said.append(f"open for its usual {spoken(true_length)}")
    else:
        if true_length != until - local:
            said.append(f"{spoken(true_length)} instead of {spoken(until - local)}")
        if end.how == "twice":
            said.append(f"ends at the first {until:%H:%M}")
        elif end.how == "skipped" and start.how != "skipped":
            said.append(f"{until:%H:%M} does not exist tonight")
    if not said:
        return ""
    return f"clocks go {_direction(zone, start, end, ends - begins)}: {', '.join(said)}"


def _of_start(zone: ZoneInfo, local: datetime, start: Instant) -> list[str]:
    if start.how == "twice":
        return [f"{local:%H:%M} comes twice tonight, the first counts"]
    if start.how == "exists":
        return []
    midnight = datetime.combine(local.date(), time())
    if resolve(midnight, zone).at == resolve(midnight + _DAY, zone).at:
        return [f"{local:%Y-%m-%d} does not exist in {zone.key}"]
    return [f"{local:%H:%M} does not exist tonight"]


def _direction(zone: ZoneInfo, start: Instant, end: Instant, change: timedelta) -> str:
    if "skipped" in (start.how, end.how):
        return "forward"
    if "twice" in (start.how, end.how):
        return "back"
    return "forward" if change > timedelta(0) else "back"


def spoken(length: timedelta) -> str:
    """`3 h`, `2 h 30 min`, `45 s`."""
    seconds = int(length.total_seconds())
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"

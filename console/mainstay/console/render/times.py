"""Moments, durations and sizes as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo


def parse(text: str) -> datetime:
    """RFC 3339 → aware, UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """UTC with Z, to the second."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def local(text: str | None, zone: tzinfo, *, short: bool = False) -> str:
    """`Fri 2026-12-11 02:00 CET`; short: `Fri 2026-12-11 02:00`. `–` where there is none."""
    if not text:
        return "–"
    try:
        moment = parse(text).astimezone(zone)
    except ValueError:
        return text
    stamp = f"{moment:%a %Y-%m-%d %H:%M}"
    return stamp if short else f"{stamp} {moment:%Z}"


def seconds_between(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    try:
        return max(0.0, (parse(end) - parse(start)).total_seconds())
    except ValueError:
        return None


def clock(seconds: float | None) -> str:
    """`1:58`, `1:02:07`; `–` where not known."""
    if seconds is None:
        return "–"
    whole = int(seconds + 0.5)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float | None) -> str:
    """Roughly: `45 s`, `21 min`, `2 h 15 min`, `5 h`, `3 d`. `–` where not known."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{int(seconds + 0.5)} s"
    minutes = int(seconds / 60 + 0.5)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 60 * 10:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    if minutes < 60 * 48:
        return f"{int(minutes / 60 + 0.5)} h"
    return f"{int(minutes / 1440 + 0.5)} d"


def span_of(seconds: float) -> str:
    """To the minute: `45 s`, `30 min`, `1 h`, `2 h 15 min`, `7 d`."""
    if seconds < 60:
        return f"{int(seconds + 0.5)} s"
    days, rest = divmod(int(seconds / 60 + 0.5), 1440)
    hours, minutes = divmod(rest, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def age(text: str | None, now: datetime) -> float | None:
    """Seconds since; None where there is no such moment."""
    if not text:
        return None
    try:
        return max(0.0, (now - parse(text)).total_seconds())
    except ValueError:
        return None


def size(count: int | None) -> str:
    """`18.4 MB`; `–` where not known."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 host`, `8 hosts`."""
    return f"{number} {one if number == 1 else many or one + 's'}"

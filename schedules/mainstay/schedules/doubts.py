"""What is right in a window and yet may not be what was meant: warnings of `mainstay check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.site import Site
from mainstay.inventory.zones import zone_doubt
from mainstay.schedules.localtime import changes, offset_at, resolve, wall
from mainstay.schedules.openings import next_opening
from mainstay.schedules.windows import HOST, Window

AHEAD = timedelta(days=2 * 366)
"""How far nights are looked for in which the clocks go forward."""
RARE = timedelta(days=2 * 366)
_DAY = timedelta(days=1)
RULE = "A local time that the clocks skip is the moment of their change."


def window_doubts(site: Site, windows: Mapping[str, Window], now: datetime) -> list[Problem]:
    """windows: by name. In the order of the files."""
    found: list[Problem] = []
    own = [host.timezone for host in site.inventory.hosts if host.timezone]
    for document in site.documents:
        written = document.spot("windows").value
        for name in written if isinstance(written, dict) else ():
            window = windows.get(name)
            spot = document.spot("windows", name)
            if window is not None and window.source == spot.source:
                found += _of(window, spot, site.timezone, own, now)
    return found


def _of(window: Window, spot: Spot, site_zone: str, own: list[str], now: datetime) -> Iterator[Problem]:
    zones = {window.timezone or site_zone}
    if window.timezone == HOST:
        zones = {*own, site_zone}
        if not own:
            message = f"no host says its timezone, so that all go by the site's, {site_zone}."
            hint = "Give hosts or groups a timezone: in inventory/*.yml."
            yield spot.at("timezone").problem(message, on="key", hint=hint)
    elif window.timezone and (doubt := zone_doubt(window.timezone)):
        yield spot.at("timezone").problem(doubt.message, hint=doubt.hint)
    first = next_opening(window, sorted(zones)[0], now)
    if first is None or first.starts_at - now > RARE:
        when = f"opens next in {first.starts_at.year}" if first else "does not open in the next hundred years"
        yield spot.problem(
            f"{when}.", on="key", hint="Look at its rule and its INTERVAL, which is counted from 2001-01-01."
        )
    for zone in sorted(zones):
        if skipped := _first_skipped(window, ZoneInfo(zone), now):
            key, problem = skipped
            yield spot.at(key).problem(problem, on="value", hint=RULE)
            return


def _first_skipped(window: Window, zone: ZoneInfo, now: datetime) -> tuple[str, str] | None:
    """(key, what happens) for the next night in which the clocks skip its start or its end."""
    for change in _forward(
        zone.key, now.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0), now + AHEAD
    ):
        if change < now:
            continue
        after = wall(change, zone)
        before = change.replace(tzinfo=None) + offset_at(change - timedelta(seconds=1), zone)
        length = timedelta(seconds=window.length)
        for local in _starts_near(window, before - _DAY, after):
            night = f"in {zone.key} on {before:%a %Y-%m-%d}, when the clocks go forward"
            if before <= local < after and not _opens_at(window, after):
                return _key(window), f"{local:%H:%M} does not exist {night}: it opens at {after:%H:%M} then."
            end = local + length
            if window.end and before <= end < after and resolve(end, zone).how == "skipped":
                return "end", f"{end:%H:%M} does not exist {night}: it ends at {after:%H:%M} then, the same moment."
    return None


def _key(window: Window) -> str:
    return "cron" if window.cron is not None else "start"


def _opens_at(window: Window, local: datetime) -> bool:
    """Then the starts before it that are skipped are one with it, and nothing is odd."""
    return local.time() in window.starts.times and window.starts.opens_on(local.date())


def _starts_near(window: Window, first: datetime, last: datetime) -> Iterator[datetime]:
    day = first.date()
    while day <= last.date():
        if window.starts.opens_on(day):
            yield from (datetime.combine(day, at) for at in window.starts.times)
        day += _DAY


@lru_cache(maxsize=1024)
def _forward(zone: str, first: datetime, last: datetime) -> tuple[datetime, ...]:
    place = ZoneInfo(zone)
    return tuple(
        at for at in changes(place, first, last) if offset_at(at, place) > offset_at(at - timedelta(seconds=1), place)
    )

"""When a plan may start next, as its preview says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from mainstay.console.render.next import local_iso, local_time, staging, standing
from mainstay.console.render.times import about, rfc3339, span_of
from mainstay.inventory.value import Json
from mainstay.schedules.outlook import Coming

SHOWN = 3
"""Openings that are held, before it is counted how many more there are."""


@dataclass(frozen=True, slots=True)
class When:
    """window: the names, as the plan has them. coming: the next opening that nothing holds, None where there is none.
    held: those before it. now: when it was looked."""

    window: str
    now: datetime
    coming: Coming | None = None
    held: Sequence[Coming] = ()

    @property
    def open(self) -> bool:
        return self.coming is not None and self.coming.opening.may_start(self.now)

    @property
    def room(self) -> float | None:
        """Seconds in which something may start: of the whole opening, or what is left of it."""
        if self.coming is None:
            return None
        opening = self.coming.opening
        return max(0.0, (opening.cutoff_at - max(self.now, opening.starts_at)).total_seconds())


def head(when: When) -> str:
    """`window patch-night opens Fri 2026-12-11 02:00 CET (in 18 d), 3 h, last start 04:15`"""
    one = when.coming
    if one is None:
        nothing = "nothing but held openings" if when.held else "no opening"
        return f"window {when.window}: {nothing} in the next 12 months"
    zone = ZoneInfo(one.opening.zone)
    last = f"last start {one.opening.cutoff_at.astimezone(zone):%H:%M}"
    if when.open:
        ends = one.opening.ends_at.astimezone(zone)
        text = f"window {one.opening.window} is open until {ends:%H:%M %Z}, {last}"
    else:
        ahead = about((one.opening.starts_at - when.now).total_seconds())
        text = f"window {one.opening.window} opens {local_time(one)} (in {ahead}), {span_of(one.length)}, {last}"
        text += f", {staging(one)}" if one.stages_at else ""
    if one.state == "waiting-for-approval":
        text += f", {standing(one)}"
    return f"{text}, {one.opening.remark}" if one.opening.remark else text


def held(when: When) -> list[str]:
    """`Fri 2026-12-11 02:00 CET: frozen: year-end close`, of the openings that are passed over."""
    rows = [f"{local_time(one)}: {standing(one)}" for one in when.held[:SHOWN]]
    more = len(when.held) - SHOWN
    return [*rows, f"and {more} more openings that are held"] if more > 0 else rows


def needs(when: When, estimate: float) -> str:
    """`21 min of the 2 h 15 min that are there`"""
    if when.room is None:
        return about(estimate)
    if estimate <= when.room:
        return f"{about(estimate)} of the {span_of(when.room)} that are there"
    return f"{about(estimate)}, and there are {span_of(when.room)}: the rest is carried over to the next opening"


def to_json(when: When) -> Json | None:
    one = when.coming
    return None if one is None else {**_json(one), "open": when.open, "room_seconds": when.room}


def held_json(when: When) -> list[Json]:
    return [_json(one) for one in when.held]


def _json(one: Coming) -> Json:
    opening = one.opening
    return {
        "window": opening.window,
        "starts_at": rfc3339(opening.starts_at),
        "ends_at": rfc3339(opening.ends_at),
        "cutoff_at": rfc3339(opening.cutoff_at),
        "stages_at": rfc3339(one.stages_at) if one.stages_at else None,
        "local": local_iso(opening.starts_at, opening.zone),
        "zone": opening.zone,
        "run": one.run,
        "state": one.state,
        "reason": one.reason,
    }

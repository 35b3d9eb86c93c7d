"""What comes, as people and programs read it: local time and UTC side by side, and what keeps an occurrence from running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mainstay.console.render.spans import Line, Span, Style, line, span
from mainstay.console.render.table import Cell, table, wrap
from mainstay.console.render.times import about, counted, rfc3339, span_of
from mainstay.inventory.value import Json
from mainstay.runner.plan import Plan
from mainstay.schedules.outlook import HELD, Coming, State

WORDS: dict[State, str] = {
    "frozen": "frozen",
    "not-in-calendar": "not in its calendar",
    "unavailable": "can't run yet",
    "waiting-for-approval": "waits for approval",
    "not-approved": "not approved",
    "queued": "asked for by hand",
    "running": "is running",
    "open": "is open now",
}
AHEAD = frozenset({"scheduled", "waiting-for-approval"})
"""It has not opened yet, and what it will install may be downloaded."""
ROOMY = 100
"""Columns from which on there is room between two cells."""
STYLES: dict[State, Style] = {
    "frozen": "warn",
    "not-in-calendar": "dim",
    "not-approved": "warn",
    "unavailable": "bad",
    "waiting-for-approval": "warn",
    "open": "good",
    "running": "good",
}


def screen(coming: Sequence[Coming], days: int, columns: int, troubles: Sequence[str] = ()) -> list[Line]:
    """troubles: what makes the answer less sure than it looks (a calendar that could not be fetched)."""
    lines = [row for trouble in troubles for row in wrap(f"! {trouble}", indent="", columns=columns)]
    if not coming:
        return [*lines, line(f"Nothing comes in the next {counted(days, 'day')}.")]
    rows = [_row(one) for one in coming]
    return [*lines, *table(rows, columns=columns, gap="   " if columns >= ROOMY else "  "), *_foot(coming, columns)]


def _row(one: Coming) -> list[Cell]:
    opening = one.opening
    local = opening.starts_at.astimezone(ZoneInfo(opening.zone))
    utc = opening.starts_at.astimezone(UTC)
    day = "" if utc.date() == local.date() else f"{utc:%a} "
    style: Style = "dim" if one.state in HELD else ""
    return [
        Span(local_time(one), style),
        Span(f"{day}{utc:%H:%M} UTC", style),
        span(one.line.plan.name, style),
        Span(span_of(one.length), style),
        span(remark(one), STYLES.get(one.state, "warn" if one.fits is False else "")),
    ]


def local_time(one: Coming) -> str:
    """`Fri 2026-12-11 02:00 CET`, by the clock that its window goes by."""
    moment = one.opening.starts_at.astimezone(ZoneInfo(one.opening.zone))
    return f"{moment:%a %Y-%m-%d %H:%M %Z}"


def remark(one: Coming) -> str:
    """All that is known of it, in one line."""
    parts: list[str] = []
    if one.state in WORDS:
        parts.append(standing(one))
    if one.opening.remark:
        parts.append(one.opening.remark)
    if one.state not in HELD:
        parts += _forecast(one)
    text = "; ".join(parts)
    return f"✗ {text}" if one.state in HELD else text


def standing(one: Coming) -> str:
    """`frozen: year-end close`: its state and the reason for it."""
    word = WORDS.get(one.state, one.state)
    if one.reason.startswith(word):
        return one.reason
    return f"{word}: {one.reason}" if one.reason else word


def _forecast(one: Coming) -> list[str]:
    parts = [fit(one)] if one.work else []
    parts += [staging(one)] if one.stages_at and one.state in AHEAD else []
    if one.carried:
        names = ", ".join(one.carried[:3]) + (" …" if len(one.carried) > 3 else "")
        parts.append(f"{counted(len(one.carried), 'host')} carried over first ({names})")
    parts += one.notes
    if one.line.window.timezone == "host":
        parts.append(f"{one.opening.zone}: {counted(len(one.line.hosts), 'host')}")
    return parts


def staging(one: Coming) -> str:
    """`downloads from Thu 22:00`, by the clock that its window goes by."""
    assert one.stages_at is not None
    local = one.stages_at.astimezone(ZoneInfo(one.opening.zone))
    week = one.opening.starts_at - one.stages_at >= timedelta(days=6)
    return f"downloads from {local:%Y-%m-%d %H:%M}" if week else f"downloads from {local:%a %H:%M}"


def fit(one: Coming) -> str:
    """`fits (21 min)`, `does not fit: about 3 h of 2 h 15 min`; `~` where no run has told how long a host takes."""
    assert one.work is not None
    rough = "~" if one.work.told_by == "default" else ""
    if one.fits:
        return f"fits ({rough}{about(one.work.seconds)})"
    begun = one.work.begun_within(one.room, one.length)
    return f"does not fit: {rough or 'about '}{about(one.work.seconds)} of {span_of(one.room)} ({begun} of {one.work.hosts} hosts)"


def _foot(coming: Sequence[Coming], columns: int) -> list[Line]:
    """What a plan says of when beside its windows, once per plan."""
    told: list[Line] = []
    if any(one.work and one.work.told_by == "default" for one in coming):
        told += wrap("~ is assumed, as long as no run of the plan has told how long its hosts take.", columns=columns)
    for plan in {one.line.plan.name: one.line.plan for one in coming}.values():
        if rules := _rules(plan):
            told += wrap(f"{plan.name}: {'; '.join(rules)}", columns=columns)
    return [line(), *told] if told else []


def _rules(plan: Plan) -> list[str]:
    rules = []
    if plan.jitter:
        rules.append(f"its hosts' starts are spread over {about(plan.jitter)}")
    if plan.approval != "none":
        rules.append("needs two approvals" if plan.approval == "two-person" else "needs an approval")
    if plan.missed != "skip":
        word, _, limit = plan.missed.partition(": ")
        late = f"may run up to {limit} late" if word == "run-if-late" else "is made up in the next window"
        rules.append(f"what is missed {late}")
    return rules


def to_json(coming: Iterable[Coming]) -> list[Json]:
    """See docs/reference/cli.md, `next --json`."""
    return [_json(one) for one in coming]


def _json(one: Coming) -> Json:
    opening, work = one.opening, one.work
    return {
        "plan": one.line.plan.name,
        "starts_at": rfc3339(opening.starts_at),
        "ends_at": rfc3339(opening.ends_at),
        "cutoff_at": rfc3339(opening.cutoff_at),
        "local": local_iso(opening.starts_at, opening.zone),
        "state": one.state,
        "reason": one.reason,
        "run": one.run,
        "schedule": one.line.id,
        "window": opening.window,
        "zone": opening.zone,
        "remark": opening.remark,
        "stages_at": rfc3339(one.stages_at) if one.stages_at else None,
        "hosts": len(one.line.hosts),
        "notes": list(one.notes),
        "carried": list(one.carried),
        "estimate_seconds": work.seconds if work else None,
        "estimate_from": work.told_by if work else None,
        "fits": one.fits,
        "predicted_end": rfc3339(one.predicted_end) if one.predicted_end else None,
        "jitter_seconds": one.line.plan.jitter,
        "missed": one.line.plan.missed,
    }


def local_iso(moment: datetime, zone: str) -> str:
    """RFC 3339 with the zone's offset: `2026-12-11T02:00:00+01:00`."""
    return moment.astimezone(ZoneInfo(zone)).isoformat()

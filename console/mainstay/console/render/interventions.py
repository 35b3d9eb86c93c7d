"""What people did to a run, in words: who approved it, who paused it while it was in flight, from when to when, and why."""

from __future__ import annotations

from datetime import tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, line
from mainstay.console.render.table import wrap
from mainstay.runner.record import Intervention, Summary


def section(summary: Summary, zone: tzinfo, columns: int) -> list[Line]:
    """Nothing where nobody interfered."""
    approved, told = approvals(summary, zone), sentences(summary, zone)
    lines: list[Line] = []
    for title, rows in (("approval", approved), (times.counted(len(told), "intervention"), told)):
        if rows:
            lines += [line(), line(title), *(row for text in rows for row in wrap(text, columns=columns))]
    return lines


def approvals(summary: Summary, zone: tzinfo) -> list[str]:
    """What was said to it before it started, oldest first."""
    return [
        f"{'approved' if one.says == 'yes' else 'rejected'} by {one.by}, {times.local(one.at, zone)}"
        + (f": {one.reason}" if one.reason else "")
        for one in summary.approvals
    ]


def sentences(summary: Summary, zone: tzinfo) -> list[str]:
    """Oldest first; a pause and what ended it are one sentence."""
    told: list[str] = []
    paused: Intervention | None = None
    for one in summary.interventions:
        if paused is not None:
            told.append(_pause(paused, one, summary, zone))
            paused = None
        elif not one.wish:
            told.append(_said("told to go on", one, summary, zone))
        if one.wish == "cancel":
            told.append(_said("cancel asked for", one, summary, zone))
        elif one.wish == "pause":
            paused = one
    if paused is not None:
        told.append(_said("paused", paused, summary, zone, f"{_at(paused.at, summary, zone)} to the end"))
    return told


def _pause(paused: Intervention, ended: Intervention, summary: Summary, zone: tzinfo) -> str:
    span = f"{_at(paused.at, summary, zone)}–{_at(ended.at, summary, zone)}"
    told = _said("paused", paused, summary, zone, span)
    if ended.wish or (ended.by == paused.by and not ended.reason):
        return told
    return f"{told}; resumed by {ended.by}" + (f": {ended.reason}" if ended.reason else "")


def _said(what: str, one: Intervention, summary: Summary, zone: tzinfo, when: str = "") -> str:
    why = f": {one.reason}" if one.reason else ""
    return f"{what} by {one.by}, {when or _at(one.at, summary, zone)}{why}"


def _at(moment: str, summary: Summary, zone: tzinfo) -> str:
    """`02:14`; with its day where that is not the one on which the run began."""
    try:
        there, began = times.parse(moment).astimezone(zone), times.parse(summary.started_at).astimezone(zone)
    except ValueError:
        return moment
    return f"{there:%H:%M}" if there.date() == began.date() else times.local(moment, zone, short=True)

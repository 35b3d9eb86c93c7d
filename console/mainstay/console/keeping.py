"""Whether somebody keeps the clock, and by the site as it is: what `status` and `doctor` say of `mainstay serve`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mainstay.console.reloading import trouble
from mainstay.console.render.times import local
from mainstay.schedules.clock.pulse import SILENT
from mainstay.schedules.clock.sweeping import HEARTBEAT
from mainstay.schedules.occurrences import schedules

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

AHEAD = 300.0
"""Seconds by which a watermark may lie in the future: clocks of several machines differ a little."""


def begun(app: Application) -> bool:
    """Whether anybody has ever kept the clock for this state."""
    return app.schedule_store.mark(HEARTBEAT) is not None


def has_schedules(app: Application) -> bool:
    return any(plan.window for plan in app.plans.values())


def alarms(app: Application) -> list[str]:
    """What keeps occurrences from starting when they are due, a sentence each; none where nobody has ever served."""
    return [told for told in (_silent(app), trouble(app), _ahead(app)) if told]


def _silent(app: Application) -> str:
    said = app.schedule_store.mark(HEARTBEAT)
    if said is None or not has_schedules(app):
        return ""
    if app.clock.now() - datetime.fromisoformat(said) <= timedelta(seconds=SILENT):
        return ""
    return f"nobody keeps the clock: no mainstay serve was heard of since {local(said, app.zone)}, and nothing starts by itself"


def _ahead(app: Application) -> str:
    """A wall clock was ahead once: what fell due by it has been put down, and nothing falls due again before that moment."""
    now = app.clock.now() + timedelta(seconds=AHEAD)
    marks = app.schedule_store.watermarks()
    found = {one.id: marks[one.id] for one in schedules(app.loaded) if one.id in marks}
    late = {id: mark for id, mark in found.items() if datetime.fromisoformat(mark) > now}
    if not late:
        return ""
    id, mark = max(late.items(), key=lambda one: one[1])
    more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
    return f"a wall clock was ahead: {id}{more} has been put down up to {local(mark, app.zone)}, and nothing of it starts before"

"""Who is told what: whether the commands can be started, whether what was to be told has arrived, and how a dead man's
switch is to be set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice, pairwise
from pathlib import Path

from mainstay.console.bootstrap import Application
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.render.notices import alarm_in_words
from mainstay.console.render.times import about, counted
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.notify import check_ping
from mainstay.inventory.secrets import is_reference
from mainstay.runner.plan import Plan

LOOKED_AT = 400
"""Openings of a plan that are looked at for the longest time between two."""
HOW = "See docs/how-to/notify.md."


def examine(app: Application) -> Iterator[Finding]:
    alarmed = {alarm.channel: alarm for alarm in app.notices.alarms()}
    for alarm in alarmed.values():
        yield _finding("wrong", alarm_in_words(alarm, app.zone), f"It is tried again by itself. {HOW}")
    for channel in app.site.notify:
        if fault := _startable(channel.command[0], app.site.root):
            yield _finding("wrong", f"channel {channel.label}: {channel.command[0]} {fault}", HOW)
        elif channel.label not in alarmed:
            told = f"told of {', '.join(channel.on)}" + (f" of {', '.join(channel.plans)}" if channel.plans else "")
            yield _finding("well", f"channel {channel.label}: {told}")
    for name, plan in app.plans.items():
        if plan.ping is not None:
            yield _switch(app, name, plan)


def _finding(health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject="controller", topic="notices", health=health, message=message, hint=hint)


def _startable(program: str, root: Path) -> str:
    """Why not; empty where it is."""
    if "/" not in program:
        return "" if shutil.which(program) else "is not on the PATH"
    path = root / Path(program).expanduser()
    if not path.is_file():
        return "is not there"
    return "" if os.access(path, os.X_OK) else "can't be executed"


def _switch(app: Application, name: str, plan: Plan) -> Finding:
    """Says nothing of where it is: whoever knows that can keep it quiet."""
    assert plan.ping is not None
    try:
        check_ping(app.secrets.resolve(plan.ping).reveal().strip() if is_reference(plan.ping) else plan.ping)
    except MainstayError as error:
        return _finding("wrong", f"ping of {name}: {error.message}", error.hint)
    except ValueError as error:
        return _finding(
            "wrong", f"ping of {name}: {getattr(error, 'message', 'is no URL')}", getattr(error, "hint", None)
        )
    found = expected(app, plan)
    if found is None:
        return _finding(
            "look", f"ping of {name}: the plan has no window that opens, so nothing says when to expect it", HOW
        )
    period, grace = found
    told = f"expects a period of {about(period)} and a grace of {about(grace)}"
    return _finding(
        "well", f"ping of {name}: {told} ({counted(int(period), 'second')}, {counted(int(grace), 'second')})"
    )


def expected(app: Application, plan: Plan) -> tuple[float, float] | None:
    """(period, grace) in seconds that a switch is to be set to, so that it is quiet as long as every occurrence is done: the
    longest time between two openings, and how long one may take. None where none comes within a year or so."""
    from mainstay.schedules.outlook import lines_of, openings_between

    now, year = app.clock.now(), timedelta(days=400)
    openings = [
        opening
        for line in lines_of(app.loaded, {plan.name})
        for opening in islice(openings_between(line.window, line.zone, now, now + year), LOOKED_AT)
    ]
    starts = sorted({opening.starts_at for opening in openings})
    if not starts:
        return None
    longest = max((opening.ends_at - opening.starts_at).total_seconds() for opening in openings)
    gap = max(((later - earlier).total_seconds() for earlier, later in pairwise(starts)), default=year.total_seconds())
    return gap, longest + plan.overrun

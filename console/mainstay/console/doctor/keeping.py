"""Whether somebody keeps the clock for the site's schedules."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.console import keeping
from mainstay.console.bootstrap import Application
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.render.times import local
from mainstay.schedules.clock.sweeping import HEARTBEAT


def examine(app: Application) -> Iterator[Finding]:
    found = keeping.alarms(app)
    for told in found:
        yield _finding("wrong", told, "mainstay serve keeps it; mainstay check says what is wrong with a site.")
    said = app.schedule_store.mark(HEARTBEAT)
    if not keeping.has_schedules(app):
        return
    if said is None:
        hint = "mainstay serve keeps it: see docs/how-to/serve.md."
        yield _finding("look", "plans have windows, and nobody has ever kept the clock: nothing starts by itself", hint)
    elif not found:
        yield _finding("well", f"keeps the clock; last heard of {local(said, app.zone)}")


def _finding(health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject="controller", topic="serve", health=health, message=message, hint=hint)

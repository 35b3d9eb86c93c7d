"""The calendars that the site has from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.console.bootstrap import Application
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.render.times import counted
from mainstay.schedules.calendars.keeping import UNSERVED


def examine(app: Application) -> Iterator[Finding]:
    """Those that nobody has looked at for a while are looked at now."""
    remote = [source for source in app.loaded.freezes.sources if source.remote]
    if not remote:
        return
    app.freezes.refresh(older=UNSERVED)
    now = app.clock.now()
    troubles = app.freezes.trouble(now)
    for told in troubles:
        hint = "Its URL, and what is needed to fetch it, stand in schedules/."
        yield _finding("wrong" if "its last content is used" not in told else "look", told, hint)
    if not troubles:
        yield _finding("well", f"{counted(len(remote), 'calendar')} fetched")


def _finding(health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject="controller", topic="calendars", health=health, message=message, hint=hint)

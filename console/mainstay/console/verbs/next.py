"""`mainstay next`: what comes, when by which clock, and what will keep it from running. Asks no host."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb

DAYS = 14


@verb(
    help="Coming occurrences in local time and UTC, DST marked, freezes applied; of PLAN, or of hosts that a selector picks."
)
@click.argument("plan", metavar="[PLAN]", required=False, shell_complete=completing.plans_and_hosts)
@click.option("--days", type=click.IntRange(1, 3660), default=DAYS, show_default=True, help="How far ahead.")
@click.option("--ics", is_flag=True, help="Print a calendar (RFC 5545) that other programs read.")
def command(screen: Screen, plan: str | None, days: int, ics: bool) -> int:
    from datetime import timedelta

    from mainstay.console import bootstrap
    from mainstay.console.outlooking import outlook_of
    from mainstay.console.render import next as render
    from mainstay.inventory.errors import UsageError

    if ics and screen.json:
        raise UsageError("--ics and --json are two answers.", hint="Ask for one of them.")
    with bootstrap.load(screen.site_dir) as app:
        now = app.clock.now()
        coming = list(outlook_of(app, plan).coming(now, now + timedelta(days=days)))
        troubles = app.freezes.trouble(now)  # of the calendars that were asked just now
        name = app.site.name
    if ics:
        from mainstay.console.render.ics import calendar

        screen.raw(calendar(name, coming, now).decode())
        return 0
    if screen.json:
        screen.say(*(f"! {trouble}" for trouble in troubles))
    screen.show(lambda: render.to_json(coming), lambda: render.screen(coming, days, screen.columns, troubles))
    return 0

"""`mainstay preview`: what a run would do, host by host. Reads only."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(help="What a run of PLAN would do, per host: updates, the way back, reboots, what is left out and why.")
@click.argument("plan", shell_complete=completing.plans)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the plan's hosts that this picks.")
@click.option("--all", "everything", is_flag=True, help="Every package and everything that is left out.")
def command(screen: Screen, plan: str, selector: str | None, everything: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.forecasting import preview_plan
    from mainstay.console.render import preview as render

    with bootstrap.load(screen.site_dir) as app:
        found = app.plan(plan)
        view = preview_plan(app, found, app.targets(found, selector))
    screen.show(lambda: render.to_json(view), lambda: render.screen(view, screen.columns, everything=everything))
    return view.exit_code

"""`mainstay run`: one run of a plan, now, shown until its record is sealed."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help=(
        "Run PLAN now and show how it goes; where a worker serves, it is handed over. Ctrl-C asks the run to stop between "
        "hosts; a second one lets go of the terminal, never of the hosts. The exit code is the run's verdict."
    )
)
@click.argument("plan", shell_complete=completing.plans)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the plan's hosts that this picks.")
@click.option(
    "--break-glass", default="", metavar="REASON", help="Pass window, freeze and approval; loud in the record."
)
@click.option("--retry", is_flag=True, help="Try again what was rolled back on a host before.")
@click.option("--reason", default="", metavar="TEXT", help="Why this run; it stands in the record.")
@click.option("--min-age", metavar="DURATION", help="Another age than the plan asks for (0, 3d). Needs --reason.")
@click.option("--here", is_flag=True, help="Execute it in this process, also where a worker would take it.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def command(
    screen: Screen,
    plan: str,
    selector: str | None,
    break_glass: str,
    retry: bool,
    reason: str,
    min_age: str | None,
    here: bool,
    dry_run: bool,
) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.verbs._asking import aged, permitted

    with bootstrap.load(screen.site_dir) as app:
        found = aged(app.runnable(plan), min_age, reason)
        hosts = app.targets(found, selector)
        if dry_run:
            from mainstay.console.forecasting import preview_plan
            from mainstay.console.render import preview as render

            view = preview_plan(app, found, hosts)
            screen.show(lambda: render.to_json(view), lambda: render.screen(view, screen.columns))
            return view.exit_code
        permitted(found, break_glass)
        from mainstay.console.verbs._following import run_and_follow
        from mainstay.runner.request import patch_request

        request = patch_request(found, hosts, app.asking(reason=reason, break_glass=break_glass, retry=retry))
        return run_and_follow(screen, app, request, here=here)

"""`mainstay run`: one run of a plan, now or at the next opening of its windows, shown until its record is sealed."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help=(
        "Run PLAN now and show how it goes; where a worker serves, it is handed over. Ctrl-C asks the run to stop between "
        "hosts; a second one lets go of the terminal, never of the hosts. Outside its windows it is refused, and the next "
        "opening is named. The exit code is the run's verdict."
    )
)
@click.argument("plan", shell_complete=completing.plans)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the plan's hosts that this picks.")
@click.option(
    "--at-next-window", "queued", is_flag=True, help="Let it wait for the next opening of the plan's windows."
)
@click.option(
    "--break-glass", default="", metavar="REASON", help="Pass window, freeze and approval; loud in the record."
)
@click.option(
    "--skip-gate", metavar="GATE", help="Pass one gate: window, freeze, calendar, approval, backup. Needs --reason."
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
    queued: bool,
    break_glass: str,
    skip_gate: str | None,
    retry: bool,
    reason: str,
    min_age: str | None,
    here: bool,
    dry_run: bool,
) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.verbs._asking import aged, permitted, skipped
    from mainstay.inventory.errors import UsageError

    with bootstrap.load(screen.site_dir) as app:
        found = aged(app.runnable(plan), min_age, reason)
        skip = skipped(skip_gate, reason)
        hosts = app.targets(found, selector)
        if dry_run:
            from mainstay.console.forecasting import preview_plan
            from mainstay.console.render import preview as render

            view = preview_plan(app, found, hosts)
            screen.show(lambda: render.to_json(view), lambda: render.screen(view, screen.columns))
            return view.exit_code
        if queued and not found.window:
            raise UsageError(
                f"The plan {plan} has no window to wait for.", hint=f"It starts at any time: mainstay run {plan}"
            )
        if queued and (break_glass.strip() or "window" in skip):
            passing = "--skip-gate window" if "window" in skip else "--break-glass"
            hint = "Give one of the two. What else is in its way, --skip-gate passes by name: freeze, calendar, approval, backup."
            raise UsageError(f"--at-next-window waits for the window, and {passing} starts now, outside it.", hint=hint)
        app.look_ahead(found, hosts)
        from mainstay.console.verbs._following import run_and_follow, run_when_open
        from mainstay.runner.request import plan_request
        from mainstay.schedules.occurrences import timing
        from mainstay.schedules.turns import first_in_line

        asking = app.asking(reason=reason, break_glass=break_glass, skip_gates=skip, retry=retry)
        bound = {
            "timing": timing(found, app.loaded, queued=queued).to_json(),
            "first": first_in_line(app.schedule_store, found.name),
        }
        request = plan_request(found, hosts, asking).model_copy(update=bound)
        permission = permitted(app, request)
        if permission.answer == "wait":
            return run_when_open(screen, app, request, permission, here=here, queued=queued)
        return run_and_follow(screen, app, request, here=here)

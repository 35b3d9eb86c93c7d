"""`mainstay prove`: a drill by hand."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help=(
        "Prove the newest points of PLAN now, as its prove: says: restore them into a scratch place, compare, ask, clean up. On "
        "the controller nothing is sent to any host; on the host that prove.on: names it is one run for each host whose points "
        "are proved, one after the other."
    )
)
@click.argument("plan", shell_complete=completing.plans)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the plan's hosts that this picks.")
@click.option("--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be given again.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@click.option("--here", is_flag=True, help="Execute it in this process, also where a worker would take it.")
@click.option("-n", "--dry-run", is_flag=True, help="Show which points would be proved, and do nothing.")
def command(
    screen: Screen,
    plan: str,
    selector: str | None,
    sources: tuple[str, ...],
    reason: str,
    here: bool,
    dry_run: bool,
) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render import prove as render
    from mainstay.inventory.errors import UsageError
    from mainstay.recovery.plan import BackupPlan
    from mainstay.recovery.proving.order import drill_requests, joined

    with bootstrap.load(screen.site_dir) as app:
        found = app.runnable(plan)
        if not isinstance(found, BackupPlan):
            raise UsageError(f"{plan} is a {found.kind} plan; only what was backed up can be proved")
        hosts = app.targets(found, selector)
        asking = app.asking(reason=reason)
        requests = drill_requests(found, hosts, asking, app.depot.points, app.site.hosts, sources=sources)
        order = joined(requests)
        if dry_run:
            screen.show(
                lambda: render.to_json(order), lambda: render.screen(order, app.zone, app.clock.now(), screen.columns)
            )
            return 0
        from mainstay.console.verbs._following import run_and_follow_all

        screen.say(*render.elsewhere(order, screen.columns))
        return run_and_follow_all(screen, app, requests, here=here)

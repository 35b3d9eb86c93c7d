"""`mainstay why`: why a host is not fully patched, not backed up, not proved. Asks the host about its packages."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help="Why HOST (or one PACKAGE on it) is not fully patched: what each plan would do there and what it leaves out. "
    "And how its backups stand: how old, proved when, in which places."
)
@click.argument("host", shell_complete=completing.hosts)
@click.argument("package", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Every package that waits or is left out, each on a line of its own."
)
def command(screen: Screen, host: str, package: str | None, everything: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.backups import backups, chances
    from mainstay.console.forecasting import ask, backed
    from mainstay.console.render import points
    from mainstay.console.render import why as render
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.selectors import parse
    from mainstay.inventory.validation import did_you_mean
    from mainstay.runner.observing import observation
    from mainstay.runner.request import plan_request

    with bootstrap.load(screen.site_dir) as app:
        found = app.site.inventory.host(host)
        if found is None:
            names = [one.name for one in app.site.hosts]
            raise UsageError(f'There is no host "{host}".', hint=did_you_mean(host, names) or "See mainstay hosts.")
        plans = [plan for plan in app.plans.values() if plan.kind == "patch" and parse(plan.targets).matches(found)]
        asked = [plan_request(plan, [found], app.asking()) for plan in plans]
        answers = [
            render.Answer(one.plan, ask(app, one)[found.name], backed(app, one).get(found.name)) for one in asked
        ]
        known, zone = app.known([found])[0], app.zone
        observed = observation(app.schedule_store, found.name)
        kept = backups(app, [found] if package is None else [])
        coming = chances(app, kept)
    screen.show(
        lambda: {**render.to_json(known, answers, package, observed), **points.why_json(kept, found.name, coming)},
        lambda: [
            *render.screen(known, answers, package, zone, screen.columns, observed, everything=everything),
            *(points.why(kept, found.name, coming, screen.columns) if package is None else []),
        ],
    )
    return 5 if answers and all(answer.found.forecast is None for answer in answers) else 0

"""`mainstay points`: whether the last backup ran, what can be restored, how old it is, and what of it a restore has proved. From
the state alone."""

from __future__ import annotations

from functools import partial

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help="Whether the last backup ran, and what can be restored: the newest point of each source of each host, its age, where it "
    "is, when a restore proved it. The worst first; of many sources those that are well are summed up (points all lists each)."
)
@click.argument("selector", required=False)
@click.option("--all", "every", is_flag=True, help="Every point that is still there, not only the newest.")
@click.option("--nagios", is_flag=True, help="One line and exit code 0, 1, 2 or 3, for monitoring and cron.")
def command(screen: Screen, selector: str | None, every: bool, nagios: bool) -> int:
    from mainstay.inventory.errors import MainstayError

    try:
        return _told(screen, selector, every=every, nagios=nagios)
    except MainstayError as error:
        if not nagios:
            raise
        from mainstay.console.render.spans import line

        screen.answer([line(f"MAINSTAY BACKUPS UNKNOWN - {error.message.splitlines()[0]}".replace("|", "/"))])
        return 3


def _told(screen: Screen, selector: str | None, *, every: bool, nagios: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.backups import backups
    from mainstay.console.render import hosts as hosts_render
    from mainstay.console.render import nights
    from mainstay.console.render import points as render
    from mainstay.console.render.missed import missed_in_words
    from mainstay.console.render.spans import line

    with bootstrap.load(screen.site_dir) as app:
        hosts = app.select(selector)
        found = backups(app, hosts)
        names = None if selector is None else [host.name for host in hosts]
        points = app.points.points(hosts=names) if every else []
        proofs = app.points.proofs(hosts=names) if every else []
        zone, now = app.zone, app.clock.now()
        of_backups = {plan.name for plan in found.plans}
        missed = [missed_in_words(run, summary, zone) for run, summary in app.history.missed(of_backups)]
    if nagios:
        code, text = nights.nagios(found, missed)
        screen.show(lambda: {"status": hosts_render.NAGIOS[code], "text": text}, lambda: [line(text)])
        return code
    whole = every or selector is not None
    told = partial(render.screen, found, screen.columns, now, zone, missed=missed, whole=whole)
    if every:
        screen.show(
            lambda: {
                "sources": render.to_json(found),
                "points": [render.point_json(one) for one in points],
                "proofs": [render.proof_json(one) for one in proofs],
            },
            lambda: [
                *told(),
                line(),
                *(render.every(points, proofs, zone, screen.columns) or [line("No point is kept.")]),
            ],
        )
    else:
        screen.show(lambda: render.to_json(found), told)
    return 0

"""`mainstay points`: what can be restored, how old it is, and what of it a restore has proved. From the state alone."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help="What can be restored: the newest point of each source of each host, its age, where it is, when it was proved."
)
@click.argument("selector", required=False)
@click.option("--all", "every", is_flag=True, help="Every point that is still there, not only the newest.")
def command(screen: Screen, selector: str | None, every: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.backups import backups
    from mainstay.console.render import points as render
    from mainstay.console.render.spans import line

    with bootstrap.load(screen.site_dir) as app:
        hosts = app.select(selector)
        found = backups(app, hosts)
        names = None if selector is None else [host.name for host in hosts]
        points = app.points.points(hosts=names) if every else []
        proofs = app.points.proofs(hosts=names) if every else []
        zone = app.zone
    if every:
        screen.show(
            lambda: {
                "sources": render.to_json(found),
                "points": [render.point_json(one) for one in points],
                "proofs": [render.proof_json(one) for one in proofs],
            },
            lambda: [
                *render.screen(found, screen.columns),
                line(),
                *(render.every(points, proofs, zone, screen.columns) or [line("No point is kept.")]),
            ],
        )
    else:
        screen.show(lambda: render.to_json(found), lambda: render.screen(found, screen.columns))
    return 0

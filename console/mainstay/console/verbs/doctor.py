"""`mainstay doctor`: what is wrong with the controller, the repositories and the hosts, and what to do."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help="Look at controller, site, state, secrets, repositories and hosts: what is wrong and what to do. Changes nothing."
)
@click.argument("selector", required=False)
@click.option("--sudo", is_flag=True, help="Also try whether the login can act as root on each host.")
@click.option(
    "--deep",
    is_flag=True,
    help="Ask the repositories (of packages, of backups) of every host, not of a few of each kind.",
)
@click.option(
    "--controller", "alone", is_flag=True, help="The controller and the repositories alone; contacts no host."
)
def command(screen: Screen, selector: str | None, sudo: bool, deep: bool, alone: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.doctor import backups, controller, fleet
    from mainstay.console.render import doctor as render

    with bootstrap.load(screen.site_dir) as app:
        hosts = () if alone else app.select(selector)
        findings = [
            *controller.examine(app),
            *backups.examine(app, hosts if selector else (), deep=deep),
            *fleet.examine(app, hosts, sudo=sudo, deep=deep),
        ]
    screen.show(lambda: render.to_json(findings), lambda: render.screen(findings, screen.columns))
    return 0

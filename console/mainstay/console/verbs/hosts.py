"""`mainstay hosts`: the inventory; pinning host keys; taking hosts over from another controller."""

from __future__ import annotations

from pathlib import Path

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen


@click.group(
    cls=VerbGroup,
    default="list",
    subcommand_metavar="[SELECTOR | trust … | adopt …]",
    help=(
        "The inventory: `mainstay hosts [SELECTOR]`. A selector picks hosts: a name, a group, a glob, or "
        "`role=web and env!=prod`.\n\n`hosts trust SELECTOR` pins host keys, `hosts adopt SELECTOR` takes hosts over."
    ),
)
def command() -> None: ...


@command.command("list", help="Hosts, where they are, whether their key is pinned, and how their last run ended.")
@click.argument("selector", required=False)
@with_screen
def list_hosts(screen: Screen, selector: str | None) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render import hosts as render
    from mainstay.console.render.spans import line

    with bootstrap.load(screen.site_dir) as app:
        known = app.known(app.select(selector))
        now = app.clock.now()
    empty = [line("No host is declared. Add some in inventory/hosts.yml.")]
    screen.show(
        lambda: [render.to_json(one) for one in known],
        lambda: render.listing(known, now, screen.columns) or empty,
    )
    return 0


@command.command(help="Show the keys that hosts offer, and pin them. Nothing is sent to a host whose key isn't pinned.")
@click.argument("selector")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Take the keys from an existing known_hosts file instead of asking the hosts.",
)
@click.option("--replace", is_flag=True, help="Put the offered key in the place of another one that is pinned.")
@with_screen
def trust(screen: Screen, selector: str, source: Path | None, replace: bool) -> int:
    from mainstay.console.verbs._trusting import trust_hosts

    return trust_hosts(screen, selector, source, replace=replace)


@command.command(help="Take hosts over that belong to another controller's state. Needs root's rights on them.")
@click.argument("selector")
@with_screen
def adopt(screen: Screen, selector: str) -> int:
    from mainstay.console.verbs._adopting import adopt_hosts

    return adopt_hosts(screen, selector)

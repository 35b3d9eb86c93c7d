"""`mainstay restore`: data back from a recovery point. First what would come from where and what it would overwrite, then the
question, then a run like any other."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help=(
        "Bring data of HOST back from a recovery point: files (--path, --to) onto the same host, another one or the "
        "controller; a database (--database) as a new one (--into). Takes the newest good point at or before --at, "
        "shows what would be overwritten, asks, and compares every file with the repository afterwards. What is not an empty "
        "folder needs --confirm=NAME of the host that is written to."
    )
)
@click.argument("host")
@click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="File or folder as it was on the host; may be given again."
)
@click.option("--source", default="", metavar="NAME", help="Only points of this source of its plan.")
@click.option("--database", default="", metavar="NAME", help="A database of the source.")
@click.option(
    "--at", metavar="TIME", help="Nothing newer: 02:10, 2026-11-20, 2026-11-20T04:00, with a zone or in the site's."
)
@click.option("--point", default="", metavar="ID", help="This point, by the beginning of its id.")
@click.option("--plan", default="", metavar="NAME", help="Only points of this plan.")
@click.option(
    "--repository",
    default="",
    metavar="NAME",
    help="Only what this repository holds. Without it, copies in other repositories are not taken.",
)
@click.option("--to", metavar="DIR", help="Absolute folder; /etc/x comes to DIR/etc/x.")
@click.option("--into", default="", metavar="NAME", help="Name of the database that is made.")
@click.option(
    "--as",
    "account",
    default="",
    metavar="NAME",
    help="PostgreSQL: an account of the host, with a role of this name, that reads the dump and owns the new database. "
    "Without it the source's own account does, with a superuser's rights where it has them.",
)
@click.option(
    "--on", default="", metavar="HOST", help="Another host, or controller: there nothing is sent to any host."
)
@click.option(
    "--confirm", default="", metavar="HOST", help="What is there may be overwritten: the exact name of the host."
)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@click.option("--here", is_flag=True, help="Execute it in this process, also where a worker would take it.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
def command(
    screen: Screen,
    host: str,
    paths: tuple[str, ...],
    source: str,
    database: str,
    at: str | None,
    point: str,
    plan: str,
    repository: str,
    to: str | None,
    into: str,
    account: str,
    on: str,
    confirm: str,
    reason: str,
    here: bool,
    dry_run: bool,
) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.forecasting import ask
    from mainstay.console.render import restore as render
    from mainstay.console.verbs._restoring import Asked, place
    from mainstay.recovery.restore.order import restore_request

    asked = Asked(host, paths, source, database, at, point, repository, plan, to, into, on, confirm, account)
    with bootstrap.load(screen.site_dir) as app:
        choice, order = place(app, asked)
        request = restore_request(order, asked.where(app), app.asking(reason=reason))
        (look,) = ask(app, request).values()
        view = render.Restoring(order, choice, look, app.zone, app.clock.now())
        if dry_run:
            screen.show(lambda: render.to_json(view), lambda: render.screen(view, screen.columns))
            return 5 if look.unreachable else 0
        screen.answer(render.screen(view, screen.columns))
        if look.unreachable:
            screen.say(f"Nothing was touched. Without {order.on}: {asked.without_host()}")
            return 5
        if look.refused:
            from mainstay.inventory.errors import Refused

            raise Refused(f"{look.refused}. Nothing was touched.")
        if not screen.confirm(render.question(view)):
            screen.say("Nothing was changed.")
            return 1
        from mainstay.console.verbs._following import run_and_follow

        return run_and_follow(screen, app, request, here=here)

"""`mainstay serve`: the clock, a worker and everything beside them in one process, until it is stopped."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    serves=True,
    help=(
        "Keep the clock and work: what falls due starts at its moment, what was missed is put on record, and runs that "
        "others ask for are worked on as `mainstay worker` does. Until SIGTERM or Ctrl-C; SIGHUP looks at the site at once, "
        "which is otherwise done when its files change. Several may serve one state."
    ),
)
@click.option(
    "--threads",
    type=click.IntRange(1, 500),
    metavar="N",
    help="At most so many hosts in hand at once (PostgreSQL); 50.",
)
@click.option("--grace", default="30s", metavar="DURATION", help="How long steps in hand may take to end; 30s.")
@click.option(
    "--when-lost",
    type=click.Choice(["restart", "exit"]),
    default="restart",
    help="When the hold on the database is lost: begin anew, or exit with 1 for a supervisor to start it again.",
)
def command(screen: Screen, threads: int | None, grace: str, when_lost: str) -> int:
    from mainstay.console.serve import Serve
    from mainstay.console.worker import keep_up, within

    seconds = within(grace)
    return keep_up(screen.site_dir, lambda app: Serve(app, threads=threads, grace=seconds), when_lost=when_lost)

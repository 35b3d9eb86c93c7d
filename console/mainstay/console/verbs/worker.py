"""`mainstay worker`: one more process that works on the runs of a state, until it is stopped."""

from __future__ import annotations

import os
import time
from logging import ERROR, WARNING

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb

LOST = 1


@verb(
    serves=True,
    help=(
        "Work on runs that others ask for, and on those that a dead process left behind, until SIGTERM or Ctrl-C: then "
        "nothing new is taken, steps in hand may end within --grace, and the rest is left to other workers. Several may "
        "serve at once; with a state in PostgreSQL, on several machines."
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
    from mainstay.console import bootstrap
    from mainstay.console.worker import AGAIN, Worker, begin_anew, leave, pause_before
    from mainstay.inventory.amounts import seconds
    from mainstay.inventory.errors import UsageError
    from mainstay.runner.engine.contract import EngineUnusable
    from mainstay.runner.log.events import tell
    from mainstay.runner.state.adapters.database import StateUnusable

    try:
        within = seconds(grace)
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from None
    failures = 0
    while True:
        try:
            with bootstrap.load(screen.site_dir) as app:
                if Worker(app, threads=threads, grace=within).serve() == "lost":
                    if when_lost == "exit":
                        tell(ERROR, "worker lost its hold", reason="ends at once")
                        os._exit(LOST)  # not in order: that would wait for the work that is not its own any more
                    tell(WARNING, "worker lost its hold", reason="begins anew, under another executor id")
                    begin_anew()
            return leave(0)
        except (StateUnusable, EngineUnusable) as error:
            # At its first start it says so and ends: it may be the settings that are wrong.
            if AGAIN not in os.environ:
                raise
            failures += 1
            pause = pause_before(failures)
            tell(WARNING, "database does not answer", error=error.message, tries=failures, next_try_in=pause)
            time.sleep(pause)

"""`mainstay worker`: one more process that works on the runs of a state, until it is stopped."""

from __future__ import annotations

from mainstay.console.screen import Screen
from mainstay.console.verb import verb
from mainstay.console.verbs._serving import serving


@verb(
    serves=True,
    help=(
        "Work on runs that others ask for, and on those that a dead process left behind, until SIGTERM or Ctrl-C: then "
        "nothing new is taken, steps in hand may end within --grace, and the rest is left to other workers. Several may "
        "serve at once; with a state in PostgreSQL, on several machines."
    ),
)
@serving
def command(screen: Screen, threads: int | None, grace: str, when_lost: str) -> int:
    from mainstay.console.worker import Worker, keep_up, within

    seconds = within(grace)
    return keep_up(screen.site_dir, lambda app: Worker(app, threads=threads, grace=seconds), when_lost=when_lost)

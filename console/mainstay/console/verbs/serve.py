"""`mainstay serve`: the clock, a worker and everything beside them in one process, until it is stopped."""

from __future__ import annotations

from mainstay.console.screen import Screen
from mainstay.console.verb import verb
from mainstay.console.verbs._serving import serving


@verb(
    serves=True,
    help=(
        "Keep the clock and work: what falls due starts at its moment, what was missed is put on record, and runs that "
        "others ask for are worked on as `mainstay worker` does. Until SIGTERM or Ctrl-C; SIGHUP looks at the site at once, "
        "which is otherwise done when its files change. Several may serve one state."
    ),
)
@serving
def command(screen: Screen, threads: int | None, grace: str, when_lost: str) -> int:
    from mainstay.console.serve import Serve
    from mainstay.console.worker import keep_up, within

    seconds = within(grace)
    return keep_up(screen.site_dir, lambda app: Serve(app, threads=threads, grace=seconds), when_lost=when_lost)

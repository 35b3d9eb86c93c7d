"""`mainstay runs`: what is in flight, and approving, pausing, resuming and cancelling it."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen
from mainstay.console.verbs._approving import approve, reject

NO_REASON = "no reason given"


@click.group(
    cls=VerbGroup,
    default="list",
    help=(
        "Runs in flight, and those that wait for approval. Without a verb: list them. A run that its process left behind is "
        "taken up by `resume`."
    ),
)
def command() -> None: ...


command.add_command(approve)
command.add_command(reject)


@command.command("list", help="Runs in flight: id, plan, state, wave, start.")
@with_screen
def list_runs(screen: Screen) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.approving import waiting as unanswered
    from mainstay.console.render import approvals
    from mainstay.console.render import runs as render
    from mainstay.runner.asking import waits_for

    with bootstrap.load(screen.site_dir) as app:
        rows = app.state.runs(in_flight=True)
        works = app.works([row.id for row in rows])
        waves = {row.id: len(app.state.waves(row.id)) for row in rows}
        waiting = {row.id: waits_for(app.state, row.id) for row in rows}
        zone, now = app.zone, app.clock.now()
        asked = unanswered(app)
    screen.show(
        lambda: [
            *({**render.to_json(row, works, waves, waiting), **approvals.of_row(asked, row.id)} for row in rows),
            *approvals.to_come(asked),
        ],
        lambda: [
            *render.listing(rows, works, waves, zone, now, screen.columns, waiting),
            *approvals.listing(asked, zone, now, screen.columns),
        ],
    )
    return 0


@command.command(help="Ask a run to start nothing new until it is resumed. Acts between hosts.")
@click.argument("run", shell_complete=completing.runs_in_flight)
@click.option("--reason", default=NO_REASON, metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def pause(screen: Screen, run: str, reason: str) -> int:
    return _wish(screen, run, "pause", reason)


@command.command(
    help="Ask a run to stop: nothing new starts; a host in hand is brought to its end, a backup under way is ended."
)
@click.argument("run", shell_complete=completing.runs_in_flight)
@click.option("--reason", default=NO_REASON, metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def cancel(screen: Screen, run: str, reason: str) -> int:
    return _wish(screen, run, "cancel", reason)


@command.command(help="Let a paused run go on; take up a run whose process is gone, and follow it.")
@click.argument("run", shell_complete=completing.runs_in_flight)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def resume(screen: Screen, run: str, reason: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.runs import of_another_version
    from mainstay.console.verbs._following import execute_and_follow, execute_quietly, finished, hand_over_and_follow
    from mainstay.inventory.errors import Refused

    with bootstrap.load(screen.site_dir) as app:
        row = app.run_row(run)
        if row.state == "ended":
            screen.say(f"Run {row.id} has ended already.")
            return finished(screen, app, row.id)
        if row.wish == "pause":
            app.state.wish(row.id, "", by=app.requested_by, reason=reason)
            screen.say(f"Run {row.id} goes on.")
        works = app.works([row.id])
        if works.standing(row.id) != "left-behind":
            # Also one that only waits: whoever serves takes up what the dead left.
            if works.standing(row.id) == "in-hand":
                return _told(screen, row.id, "")
            return hand_over_and_follow(screen, app, row.id)
        if works.foreign(row.id):
            raise Refused(of_another_version(row.id, works))
        taken = app.runs.resume()
        code = execute_and_follow(screen, app, row.id)
        for other in taken:
            # Taking over is not choosy: whatever else a dead process left is in this one's hands now.
            if other != row.id:
                screen.say(f"Run {other} was taken up too.")
                execute_quietly(screen, app, other)
        return code


@command.command(
    help="Look at the hosts that RUN has left as unknown, now that they may answer, and bring what it began to an end."
)
@click.argument("run", shell_complete=completing.runs)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of them that this picks.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def reconcile(screen: Screen, run: str, selector: str | None, reason: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.verbs._following import run_and_follow
    from mainstay.runner.reconciling import reconcile_request

    with bootstrap.load(screen.site_dir) as app:
        row = app.run_row(run)
        hosts = app.select(selector) if selector else app.site.hosts
        request = reconcile_request(app.tools, row.id, hosts, app.asking(reason=reason))
        screen.say(f"Looking at {', '.join(host.name for host in request.hosts)}, unknown since run {row.id}.")
        return run_and_follow(screen, app, request, here=False)


def _wish(screen: Screen, run: str, wish: str, reason: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.progress import stopping
    from mainstay.inventory.errors import UsageError

    with bootstrap.load(screen.site_dir) as app:
        row = app.run_row(run)
        if row.state == "ended":
            raise UsageError(f"Run {row.id} has ended already.", hint=f"See it: mainstay records show {row.id}")
        if row.wish == "cancel" and wish == "pause":
            raise UsageError(f"Run {row.id} was cancelled by {row.wish_by}; it is stopping, and can't be paused.")
        assert wish in ("pause", "cancel")
        app.state.wish(row.id, "pause" if wish == "pause" else "cancel", by=app.requested_by, reason=reason)
        acts = stopping(row.kind) if wish == "cancel" else "it acts between hosts"
        screen.say(f"Asked run {row.id} to {wish}; {acts}.")
        if row.id in app.left_behind([row.id]):
            screen.say(f"No process works on it now: mainstay runs resume {row.id} brings it to its end.")
    return _told(screen, row.id, wish)


def _told(screen: Screen, run: str, wish: str) -> int:
    if screen.json:
        screen.data({"id": run, "wish": wish})
    return 0

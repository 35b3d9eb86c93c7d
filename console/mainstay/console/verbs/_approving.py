"""`mainstay runs approve` and `runs reject`: what somebody says to a run that waits for it, also before the run is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import Verb, with_screen

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.schedules.approvals import Standing
    from mainstay.schedules.store.contract import Approval


@click.command(
    cls=Verb,
    help=(
        "Say yes to a run that waits for it; also before its window opens, when the run is not there yet. Shows what is "
        "approved first, and asks. It is bound to that: where plan, hosts or opening change, it is asked anew."
    ),
)
@click.argument("run", shell_complete=completing.waiting)
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def approve(screen: Screen, run: str, reason: str) -> int:
    return _say(screen, run, "yes", reason)


@click.command(
    cls=Verb,
    help="Say no to a run that waits for approval: it is refused, with your name and the reason in its record.",
)
@click.argument("run", shell_complete=completing.waiting)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the record.")
@with_screen
def reject(screen: Screen, run: str, reason: str) -> int:
    return _say(screen, run, "no", reason)


def _say(screen: Screen, text: str, says: Literal["yes", "no"], reason: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render import approvals as render
    from mainstay.inventory.errors import Refused, UsageError
    from mainstay.schedules import approvals

    if says == "no" and not reason.strip():
        raise UsageError("A no needs --reason TEXT: it stands in the record.")
    with bootstrap.load(screen.site_dir) as app:
        asked = _found(app, text)
        store = app.schedule_store
        before = approvals.standing(asked, store.votes(asked.run), app.clock.now(), need=asked.need)
        _still(app, asked, before)
        screen.say(*render.question(asked, before, app.zone, screen.columns))
        word = "Approve" if says == "yes" else "Reject"
        if not screen.confirm(f"{word} it?"):
            screen.say("Nothing was said.")
            return 0
        stands = store.approval(asked.run)
        if stands is None or stands.hash != asked.hash:
            raise Refused(f"What run {asked.run} would do has changed meanwhile. Nothing was said.", hint="Look again.")
        after = approvals.say(store, asked, by=app.requested_by, says=says, reason=reason.strip(), now=app.clock.now())
        data = {"id": asked.run, "plan": asked.plan, "says": says, "by": app.requested_by, "answer": after.answer}
        if screen.json:
            screen.data({**data, **render.asked_json(asked, after)})
        screen.say(_told(asked, after))
    return 0


def _told(asked: Approval, after: Standing) -> str:
    if after.answer == "granted":
        return f"Run {asked.run} is approved."
    if after.answer == "refused":
        return f"Run {asked.run} is rejected, and will be refused."
    return f"Said. Run {asked.run} waits for {after.need - after.have} more."


def _found(app: Application, text: str) -> Approval:
    """The request that stands for the run of this id, or of this beginning or end of one. Raises UsageError."""
    from mainstay.console.approving import refresh
    from mainstay.console.history import one_named
    from mainstay.inventory.errors import UsageError

    refresh(app)  # so that nobody approves what the site does not say any more
    store = app.schedule_store
    ids = {one.run for one in store.approvals() if one.withdrawn_at is None}
    run = text.strip().upper() if text.strip().upper() in ids else one_named(text, ids)
    asked = store.approval(run) if run else None
    if asked is None:
        row = app.history.run(text)
        raise UsageError(f"Run {row.id} waits for nobody's approval.", hint="See what does: mainstay runs")
    return asked


def _still(app: Application, asked: Approval, standing: Standing) -> None:
    """Raises Refused where the run has begun, or ended: a word that changes nothing any more is not taken."""
    from mainstay.inventory.errors import Refused

    row = app.state.run(asked.run)
    if row is None:
        return
    if row.state == "ended":
        raise Refused(f"Run {asked.run} has ended already.", hint=f"See it: mainstay records show {asked.run}")
    if standing.answer == "granted" and (row.state != "preparing" or app.state.waves(asked.run)):
        raise Refused(f"Run {asked.run} is approved, and has begun.", hint=f"Stop it: mainstay runs cancel {asked.run}")

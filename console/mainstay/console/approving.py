"""Approvals of a site: asked for as soon as an occurrence is known, and found again by whoever is to answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from mainstay.runner.plans import unavailable
from mainstay.runner.steps import rfc3339
from mainstay.schedules import approvals
from mainstay.schedules.approvals import NEED, Due, Standing
from mainstay.schedules.store.contract import Approval

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.state.contract import RunRow

LEAD = timedelta(hours=48)
"""Every occurrence within this time is asked about; beyond it the next one of each schedule alone."""
FAR = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that somebody may still answer. row: of its run, where there is one already."""

    approval: Approval
    standing: Standing
    row: RunRow | None


def due(app: Application) -> Iterator[Due]:
    """The occurrences to come that need an approval, and that neither a freeze nor a calendar holds."""
    plans = frozenset(name for name, plan in app.plans.items() if NEED[plan.approval] and not unavailable(plan))
    if not plans:
        return
    from mainstay.schedules.frost import Frost
    from mainstay.schedules.occurrences import run_id
    from mainstay.schedules.outlook import lines_of, openings_between

    now = app.clock.now()
    frost = Frost(app.loaded, app.freezes, now)
    for line in lines_of(app.loaded, plans):
        some = False
        for opening in openings_between(line.window, line.zone, now, now + FAR):
            if opening.cutoff_at <= now or frost.held(line, opening) is not None:
                continue
            if some and opening.starts_at > now + LEAD:
                break
            some = True
            yield Due(run_id(line.id, opening.starts_at), line.plan, line.hosts, opening)


def refresh(app: Application) -> None:
    """Ask. A run that is there already keeps what it was asked for with: its gate asks for it."""
    to_come = [one for one in due(app) if app.state.run(one.run) is None]
    approvals.refresh(app.schedule_store, to_come, app.clock.now())


def waiting(app: Application) -> list[Waiting]:
    """Of what was asked and is still open: for runs that wait, and for occurrences that are still to come. Those first
    that are to be answered first."""
    store, now = app.schedule_store, app.clock.now()
    to_come: set[str] | None = None
    found = []
    for approval in store.approvals(open_at=rfc3339(now)):
        standing = approvals.standing(approval, store.votes(approval.run), now, need=approval.need)
        if standing.answer != "waiting":
            continue
        row = app.state.run(approval.run)
        if row is None and to_come is None:
            to_come = {one.run for one in due(app)}
        if row.state != "ended" if row is not None else approval.run in (to_come or ()):
            found.append(Waiting(approval, standing, row))
    return sorted(found, key=lambda one: (one.approval.expires_at, one.approval.run))

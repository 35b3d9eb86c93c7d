"""What is due at the repositories of a site, and the runs that do it: the daemon's chore, and the same by hand."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

from mainstay.console.chores import Chore
from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Tending
from mainstay.recovery.proofs_due import proofs_due
from mainstay.recovery.proving.order import DRILL, drill_request
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.due import due, errand_request
from mainstay.recovery.tending.errand import OF_POINTS
from mainstay.recovery.tending.locks import Worked
from mainstay.recovery.tending.making import InitErrand, UnlockErrand
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.recovery.tending.upkeep import CheckErrand, PruneErrand
from mainstay.runner.request import Asking, RunRequest
from mainstay.schedules.occurrences import run_id

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.toolbox import OperationFactory

EVERY = 300.0
"""Seconds between two looks at what is due."""
LOOKED_BACK = 200
"""So many of the newest runs may have left a lock; older ones are foreign."""


def errands(app: Application) -> Mapping[str, OperationFactory]:
    """Kind of a run → what it does at a repository."""
    return {
        "init": lambda request: InitErrand.of(request.operation, app.depot),
        "retention": lambda request: RetentionErrand.of(request.operation, app.depot),
        "prune": lambda request: PruneErrand.of(request.operation, app.depot),
        "check": lambda request: CheckErrand.of(request.operation, app.depot),
        "copy": lambda request: CopyErrand.of(request.operation, app.depot),
        "lock": lambda request: UnlockErrand.tied(request.operation, app.depot, Past(app)),
    }


def backup_plans(app: Application) -> list[BackupPlan]:
    return [plan for plan in app.plans.values() if isinstance(plan, BackupPlan)]


def tending(app: Application) -> Chore:
    def work() -> None:
        tend(app)

    return Chore("repositories", EVERY, work)


def tend(app: Application) -> list[str]:
    """Ask for the runs that are due. The same hour gives the same ids: two daemons, or a crash in between, make one run of
    each. Returns the ids of those that are new."""
    now = app.clock.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    asking = replace(app.asking(), requested_by="clock", trigger="clock")
    new = []
    for plan in backup_plans(app):
        for one in due(plan, app.targets(plan), app.points, now, partial(_open, app, now)):
            id = run_id(f"{plan.name}/{one.what}/{one.repository}", hour)
            if app.state.run(id) is None:
                new.append(_ask(app, id, errand_request(plan, one.what, one.repository, one.hosts, asking)))
        id = run_id(f"{plan.name}/{DRILL}", hour)
        hosts = _unproved(app, plan, now)
        if hosts and app.state.run(id) is None:
            new.append(_ask(app, id, drill_request(plan, hosts, asking, app.points)))
    return new


def _ask(app: Application, id: str, request: RunRequest) -> str:
    app.runs.offer(app.runs.submit(request.model_copy(update={"id": id})))
    return id


def _unproved(app: Application, plan: BackupPlan, now: datetime) -> list[Host]:
    """The plan's hosts with a point that is to be proved now."""
    if plan.prove is None or plan.prove.on != "controller":
        return []
    hosts = app.targets(plan)
    names = [host.name for host in hosts]
    points = app.points.points(hosts=names, plan=plan.name, repository=plan.repository)
    found = proofs_due(points, app.points.proofs(hosts=names), plan.prove.every, now.timestamp())
    wanted = {one.point.host for one in found if one.point.source in plan.sources}
    return [host for host in hosts if host.name in wanted]


def _open(app: Application, now: datetime, window: str) -> bool:
    """Whether the window is open, and a copy may still begin in it."""
    from mainstay.schedules.outlook import openings_between

    declared = app.loaded.windows[window]
    zone = declared.timezone or app.site.timezone
    around = openings_between(declared, zone, now - timedelta(days=8), now + timedelta(seconds=1))
    return any(one.starts_at <= now < one.cutoff_at for one in around)


class Past:
    """The runs of ours that may have left a lock; read once."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, host: str) -> Sequence[Worked]:
        """Of those, the ones that worked with this host's repositories, oldest first."""
        address = {one.address for one in self._app.site.hosts if one.name == host}
        there = frozenset({host, *address})
        return [
            replace(one, machines=one.machines or there | self._called(one.run, host))
            for hosts, one in self._runs
            if host in hosts
        ]

    def _called(self, run: str, host: str) -> frozenset[str]:
        """What the machine called itself as the run worked there."""
        parts = (part for part in self._app.state.parts(run) if part.host == host)
        names = (part.measures.get("job", {}).get("hostname") for part in parts)
        return frozenset(name for name in names if name)

    @cached_property
    def _runs(self) -> list[tuple[frozenset[str], Worked]]:
        here = frozenset({socket.gethostname()})
        on_controller = {*errands(self._app), "drill"}
        found = []
        for row in self._app.state.runs()[-LOOKED_BACK:]:
            if row.kind in on_controller or row.kind in ("backup", "restore"):
                machines = here if row.kind in on_controller else frozenset()
                ended = datetime.fromisoformat(row.ended_at) if row.ended_at else None
                hosts = frozenset(one["name"] for one in row.request["hosts"])
                found.append((hosts, Worked(row.id, machines, datetime.fromisoformat(row.started_at), ended)))
        return sorted(found, key=lambda one: one[1].started)


def by_hand(
    app: Application, plan: BackupPlan, what: Tending, repository: str, selector: str | None, asking: Asking
) -> RunRequest:
    """The request of one errand over the plan's hosts, or those that the selector picks. Of a repository that hosts share,
    what is the repository's own is done once."""
    hosts = app.targets(plan, selector)
    if what not in OF_POINTS:
        vaults = {plan.repositories[repository].vault(host.name): host for host in reversed(hosts)}
        hosts = tuple(host for host in hosts if host in vaults.values())
    return errand_request(plan, what, repository, hosts, asking)

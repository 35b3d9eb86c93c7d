"""What is due at the repositories of a site, and the runs that do it: the daemon's chore, and the same by hand."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from logging import WARNING
from typing import TYPE_CHECKING, cast, get_args

from mainstay.console.chores import Chore
from mainstay.console.errand_ends import FAULTS, ended, note_ends
from mainstay.inventory.host import Host
from mainstay.recovery.loading import renames
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Tended, Tending
from mainstay.recovery.proofs_due import proofs_due
from mainstay.recovery.proving.order import CONTROLLER, DRILL, EACH, drill_requests, drilled
from mainstay.recovery.repositories import named
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.due import Task, due, errand_request, put_off, task
from mainstay.recovery.tending.errand import OF_POINTS
from mainstay.recovery.tending.locks import Worked
from mainstay.recovery.tending.making import InitErrand, UnlockErrand
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.recovery.tending.upkeep import CheckErrand, PruneErrand
from mainstay.recovery.words import counted
from mainstay.runner.engine.contract import Unkept
from mainstay.runner.log.events import tell
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.request import Asking, RunRequest
from mainstay.runner.steps import rfc3339
from mainstay.schedules.occurrences import run_id
from mainstay.schedules.windows import HOST

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.toolbox import OperationFactory

EVERY = 300.0
"""Seconds between two looks at what is due."""
QUEUED = 5
"""So many drills wait for one host at most: each of them asks it who it is, and sshd turns away more than ten who come at once."""
LOOKED_BACK = 200
"""So many of the newest runs may have left a lock; older ones are foreign."""


def errands(app: Application) -> Mapping[str, OperationFactory]:
    """Kind of a run → what it does at a repository."""
    return {
        "init": lambda request: InitErrand.of(
            request.operation, app.depot, lambda run: app.state.run(run) is not None, app.state.id
        ),
        "retention": lambda request: RetentionErrand.tied(request.operation, app.depot, ended(app), app.state.id),
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
    """Ask for the runs that are due, and that no run in flight does already. The same hour gives the same ids: two daemons, or
    a crash in between, make one run of each. Returns the ids of those that are new. What goes wrong with one plan, or with what is
    known of one run, keeps no other from its turn."""
    now, new = app.clock.now(), list[str]()
    for old, name in renames(app.plans.values()).items():
        app.points.hand_over(old, name)
    note_ends(app, now)
    busy, drilled_ = _in_hand(app)
    for plan in backup_plans(app):
        try:
            new += _tend(app, plan, now, busy, drilled_)
        except Unkept:
            raise
        except FAULTS as error:
            tell(WARNING, "repositories of a plan could not be tended", plan=plan.name, fault=error)
    return new


def _tend(
    app: Application, plan: BackupPlan, now: datetime, busy: set[Task], drilled_: set[tuple[str, str]]
) -> list[str]:
    """busy, drilled_: as of `_in_hand`; what is asked for is added."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    asking = replace(app.asking(), requested_by="clock", trigger="clock")
    hosts, new = app.targets(plan), list[str]()
    for one in due(plan, hosts, app.points, now, partial(_open, app, now), busy):
        busy |= {task(plan, one.what, one.repository, host.name) for host in one.hosts}
        id = run_id(f"{plan.name}/{one.what}/{one.repository}", hour)
        if app.state.run(id) is None:
            new.append(_ask(app, id, errand_request(plan, one.what, one.repository, one.hosts, asking)))
    return [*new, *_drill(app, plan, [host for host in hosts if (plan.name, host.name) not in drilled_], hour, asking)]


def _drill(app: Application, plan: BackupPlan, hosts: Sequence[Host], hour: datetime, asking: Asking) -> list[str]:
    """hosts: those that no run in flight drills."""
    if plan.prove is None:
        return []
    on, ids = plan.prove.on, dict[str, str]()
    whole = run_id(f"{plan.name}/{DRILL}", hour)
    if on not in (CONTROLLER, EACH):
        ids = {host.name: run_id(f"{plan.name}/{DRILL}/{host.name}", hour) for host in hosts}
        hosts = [host for host in hosts if app.state.run(ids[host.name]) is None]
    elif app.state.run(whole) is not None:
        return []
    unproved = _unproved(app, plan, hosts, datetime.fromisoformat(asking.asked_at))
    if ids:
        unproved = unproved[: max(0, QUEUED - _queued(app, on))]
    requests = drill_requests(plan, unproved, asking, app.points, app.site.hosts) if unproved else []
    return [_ask(app, ids.get(next(iter(drilled(one.operation))), whole), one) for one in requests]


def _queued(app: Application, machine: str) -> int:
    """Drills in flight that are that host's to do."""
    rows = [row for row in app.state.runs(in_flight=True) if row.kind == DRILL]
    return sum(machine in [one["name"] for one in row.request["hosts"]] for row in rows)


def _in_hand(app: Application) -> tuple[set[Task], set[tuple[str, str]]]:
    """What runs in flight are asked to do at repositories, and (plan, host) that they drill: one that takes longer than an
    hour, waits or was paused is not asked for again each hour."""
    busy, drilled_ = set[Task](), set[tuple[str, str]]()
    tended = set(get_args(Tending))
    for row in app.state.runs(in_flight=True):
        hosts = [one["name"] for one in row.request["hosts"]]
        if row.kind == DRILL:
            drilled_ |= {(row.plan, host) for host in drilled(row.request["operation"])}
        elif row.kind in tended:
            asked = row.request["operation"]
            try:
                plan = BackupPlan.from_json(asked["plan"])
                busy |= {task(plan, cast(Tending, row.kind), asked["repository"], host) for host in hosts}
            except FAULTS as error:
                # Asked for by another version of mainstay: what is not known to be busy is only asked for once more.
                tell(WARNING, "what a run is asked to do can't be read", run=row.id, fault=error)
    return busy, drilled_


def _ask(app: Application, id: str, request: RunRequest) -> str:
    app.runs.offer(app.runs.submit(request.model_copy(update={"id": id})))
    return id


def _unproved(app: Application, plan: BackupPlan, hosts: Sequence[Host], now: datetime) -> list[Host]:
    """Those of the hosts with a point that is to be proved now."""
    assert plan.prove is not None, "asked of plans that prove"
    place, noted = plan.repositories[plan.repository], dict[str, list[Tended]]()
    for one in app.points.tended(repository=place.name):
        if (one.what, one.subject) == ("prove", plan.name):
            noted.setdefault(one.host, []).append(one)
    hosts = [host for host in hosts if not put_off(noted.get(host.name, ()), plan.prove.every, now)]
    names = [host.name for host in hosts]
    # Of a fleet that is proved in time neither all points nor all proofs are read: the newest say for most that nothing is due.
    until = rfc3339(now + timedelta(seconds=CLOCK_SKEW_MAX))
    newest = app.points.newest(hosts=names, plan=plan.name, until=until)
    points = [point for point in newest if point.repository == plan.repository and point.source in plan.sources]
    proofs = app.points.newest_proofs(hosts=names, plan=plan.name)
    every, at = plan.prove.every, now.timestamp()
    perhaps = {one.point.host for one in proofs_due(points, proofs, every, at)}
    # How often it has failed since is in all of them alone.
    points, proofs = [one for one in points if one.host in perhaps], app.points.proofs(hosts=perhaps)
    wanted = {one.point.host for one in proofs_due(points, proofs, every, at)}
    return [host for host in hosts if host.name in wanted]


def _open(app: Application, now: datetime, window: str) -> bool:
    """Whether the window is open, and a copy may still begin in it."""
    from mainstay.schedules.outlook import openings_between

    declared = app.loaded.windows[window]
    # A window at each host's own time has none on the controller, where a copy is made.
    zone = declared.timezone if declared.timezone not in (None, HOST) else app.site.timezone
    around = openings_between(declared, zone, now - timedelta(days=8), now + timedelta(seconds=1))
    return any(one.starts_at <= now < one.cutoff_at for one in around)


class Past:
    """The runs of ours that may have left a lock; read once."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._names: dict[str, Mapping[str, frozenset[str]]] = {}

    def __call__(self, host: str) -> Sequence[Worked]:
        """Of those, the ones that worked with this host's repositories, oldest first."""
        return [
            replace(one, machines=one.machines or self._names_of(at[host], one.run))
            for at, one in self._runs
            if host in at
        ]

    def _names_of(self, machine: str, run: str) -> frozenset[str]:
        return frozenset({machine, *self._addresses.get(machine, ()), *self._called(run).get(machine, ())})

    @cached_property
    def _addresses(self) -> Mapping[str, tuple[str]]:
        return {one.name: (one.address,) for one in self._app.site.hosts}

    def _called(self, run: str) -> Mapping[str, frozenset[str]]:
        """What each machine called itself as the run worked there."""
        if run not in self._names:
            parts = (
                (part.host, part.measures.get("job", {}).get("hostname")) for part in self._app.state.each_part(run)
            )
            self._names[run] = {host: frozenset({name}) for host, name in parts if name}
        return self._names[run]

    @cached_property
    def _runs(self) -> list[tuple[Mapping[str, str], Worked]]:
        """With each, whose repositories it worked with, and the host that did it."""
        here = frozenset({socket.gethostname()})
        kinds = {*errands(self._app), DRILL, "backup", "restore"}
        found = []
        for row in self._app.state.runs()[-LOOKED_BACK:]:
            if row.kind in kinds:
                machines = here if row.request.get("errand") else frozenset[str]()
                ended = datetime.fromisoformat(row.ended_at) if row.ended_at else None
                at = {one["name"]: one["name"] for one in row.request["hosts"]}
                at = drilled(row.request["operation"]) if row.kind == DRILL else at
                found.append((at, Worked(row.id, machines, datetime.fromisoformat(row.started_at), ended)))
        return sorted(found, key=lambda one: one[1].started)


@dataclass(frozen=True, slots=True)
class Homeless:
    """Points of a plan that the site does not have any more. said: how many, of whom and where, in words."""

    plan: str
    said: str


def homeless(app: Application, repositories: Collection[str]) -> list[Homeless]:
    """By the plan's name and the repository."""
    plans = {plan.name for plan in backup_plans(app)}
    gone = {
        (one.plan, one.repository)
        for one in app.points.newest()
        if one.plan not in plans and one.repository in repositories
    }
    found = []
    for plan, repository in sorted(gone):
        points = app.points.points(plan=plan, repository=repository)
        whose = named({point.host for point in points})
        found.append(Homeless(plan, f"{counted(len(points), 'point')} of {whose} in {repository}"))
    return found


def by_hand(
    app: Application, plan: BackupPlan, what: Tending, repository: str, selector: str | None, asking: Asking
) -> RunRequest:
    """The request of one errand over the plan's hosts, or those that the selector picks. Of a repository that hosts share,
    what is the repository's own is done once."""
    hosts = app.targets(plan, selector)
    if what not in OF_POINTS:
        vaults = {plan.repositories[repository].vault(host.name): host for host in reversed(hosts)}
        hosts = tuple(reversed(vaults.values()))
    return errand_request(plan, what, repository, hosts, asking)

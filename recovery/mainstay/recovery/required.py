"""`requires: {backup: …}` of a patch plan: a gate that is asked host by host, right before a host is begun.

What it asks is defined in freshness.py. It holds under break-glass too, which passes window, freeze and approval; a skipped gate
`backup` passes it, and stands in the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.selectors import parse
from mainstay.recovery.anomalies import Group
from mainstay.recovery.freshness import Exposure, exposures, unmet
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import PointStore
from mainstay.runner.plan import BackupRequired, PatchPlan, Plan
from mainstay.runner.ports import Clock, Gate, Permission
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.request import RunRequest
from mainstay.runner.steps import rfc3339

GATE = "backup"
TOLD = 3
"""So many faults of a host are told one by one."""


@dataclass(frozen=True, slots=True)
class Backing:
    """How a host stands to what is required. unmet: why it is not there, in words; empty: it is. runs: whose points it
    relies on, where it is."""

    unmet: tuple[str, ...] = ()
    remedy: str = ""
    """A command that would mend it, where one does."""
    runs: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """In one line; empty where it holds."""
        if not self.unmet:
            return ""
        more = (f"and {len(self.unmet) - TOLD} more",) if len(self.unmet) > TOLD else ()
        return "; ".join((*self.unmet[:TOLD], *more, *((self.remedy,) if self.remedy else ())))


class BackupGate:
    """A run's gate with this one after it. points, plans: as they are now; plans are all that the site has."""

    def __init__(
        self,
        gate: Gate,
        request: RunRequest,
        required: BackupRequired,
        *,
        points: Callable[[], PointStore],
        plans: Callable[[], Iterable[Plan]],
        clock: Clock,
    ) -> None:
        self._gate = gate
        self._request = request
        self._required = required
        self._points = points
        self._plans = plans
        self._clock = clock

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        permission = self._gate.permit(run, host, step, estimate)
        if host is None or step not in ("survey", "host") or permission.answer != "start":
            return permission
        try:
            found = backing(self._required, self._request.host(host), self._points(), self._plans(), self._clock.now())
        except MainstayError as error:
            return _refuse(f"its backups can't be looked up: {error.message}")
        if found.unmet:
            return _refuse(found.reason)
        return permission.model_copy(update={"relies_on": found.runs})


def _refuse(reason: str) -> Permission:
    return Permission(answer="refuse", reason=reason, gate=GATE)


def required_of(request: RunRequest) -> BackupRequired | None:
    """What a run asks of its hosts' backups; None for one that asks for nothing, or that passes over it."""
    if request.kind != "patch" or request.skip_gates.get(GATE, "").strip():
        return None
    requires = PatchPlan.from_json(request.operation).requires
    return requires.backup if requires else None


def backing(required: BackupRequired, host: Host, points: PointStore, plans: Iterable[Plan], now: datetime) -> Backing:
    return backings(required, [host], points, plans, now)[host.name]


def backings(
    required: BackupRequired, hosts: Sequence[Host], points: PointStore, plans: Iterable[Plan], now: datetime
) -> dict[str, Backing]:
    """By host. Every source that a plan of the site backs up there counts, or those of the plan that is named."""
    backups = [plan for plan in plans if isinstance(plan, BackupPlan) and required.plan in (None, plan.name)]
    declared = {group for host in hosts for group in declared_on(host, backups)}
    names = {host for host, _, _ in declared}
    until = rfc3339(now + timedelta(seconds=CLOCK_SKEW_MAX))
    newest = points.newest(hosts=names, plan=required.plan, until=until) if names else []
    proved = points.proved(hosts=names, plan=required.plan) if names else []
    # the newest of all proofs may be of a point that is gone
    proofs = points.proofs(points={one.id for one in proved}) if proved else []
    there = {(one.repository, one.id): one for one in (*newest, *proved)}
    of: dict[str, list[Exposure]] = {}
    for one in exposures(there.values(), proofs, now, declared=declared, acks=points.acks() if there else ()):
        of.setdefault(one.host, []).append(one)
    made = {point.id: point.run for point in there.values()}
    return {host.name: _backing(required, host.name, of.get(host.name, []), made) for host in hosts}


def _backing(required: BackupRequired, host: str, found: Sequence[Exposure], made: Mapping[str, str]) -> Backing:
    said = unmet(required, host, found)
    return Backing(said, _remedy(required, host, found)) if said else Backing(runs=_runs(required, found, made))


def declared_on(host: Host, backups: Iterable[BackupPlan]) -> set[Group]:
    """What these plans back up on the host, as (host, plan, name of the source)."""
    covering = [plan for plan in backups if parse(plan.targets).matches(host)]
    return {(host.name, plan.name, source) for plan in covering for source in plan.sources}


def _remedy(required: BackupRequired, host: str, found: Sequence[Exposure]) -> str:
    """The commands that would mend it: a backup of what is too old, a proof of what was not proved."""
    told = []
    for verb, other in (("run", "proved_within"), ("prove", "newer_than")):
        alone = required.model_copy(update={other: None})
        plans = sorted({one.plan for one in found if unmet(alone, host, [one])})
        told += [f"mainstay {verb} {plan} --hosts {host}" for plan in plans]
    return " && ".join(told)


def _runs(required: BackupRequired, found: Sequence[Exposure], made: Mapping[str, str]) -> tuple[str, ...]:
    """made: id of a point → the run that made it."""
    relied: list[RecoveryPoint | None] = []
    for one in found:
        if required.newer_than is not None:
            relied.append(one.newest if required.accept_degraded else one.succeeded)
        if required.proved_within is not None:
            relied.append(one.proved)
    # A copy holds what another run has backed up.
    return tuple(sorted({made.get(point.copy_of or "", point.run) for point in relied if point is not None}))

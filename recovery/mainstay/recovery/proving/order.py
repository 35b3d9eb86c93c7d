"""Which points a drill proves: chosen when it is asked for, and named in its record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from mainstay.inventory.amounts import Share
from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value
from mainstay.recovery.freshness import present
from mainstay.recovery.plan import BackupPlan, Proving
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import PointStore
from mainstay.runner.plan import WaveSpec
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.steps import rfc3339

DRILL = "drill"
CONTROLLER = "controller"
EACH = "host"
"""prove.on: each host proves its own points on itself."""


class DrillOrder(Value):
    version: int = 1
    plan: BackupPlan
    points: dict[str, tuple[RecoveryPoint, ...]]
    """host → the newest point of each unit, in their order."""
    sources: tuple[str, ...] = ()
    """Only these; empty: all."""
    on: str = CONTROLLER
    """Which machine restores: CONTROLLER, EACH, or the name of a host; then there are points of one host alone."""

    @property
    def proving(self) -> Proving:
        assert self.plan.prove is not None, "no drill was asked for without"
        return self.plan.prove

    def whose(self, machine: str) -> str:
        """The host whose points the run's host of that name proves."""
        if self.on in (CONTROLLER, EACH):
            return machine
        (host,) = self.points
        return host


def drilled(operation: Json) -> dict[str, str]:
    """Of a DrillOrder as a request holds it: host whose points are proved → name of the run's host that stands for it."""
    on = operation.get("on", CONTROLLER)
    return {host: host if on in (CONTROLLER, EACH) else on for host in operation.get("points", {})}


def joined(requests: Sequence[RunRequest]) -> DrillOrder:
    """What drills that were asked for together prove."""
    orders = [DrillOrder.from_json(request.operation) for request in requests]
    points = {host: mine for order in orders for host, mine in order.points.items()}
    return orders[0].model_copy(update={"points": points})


def newest(
    points: Sequence[RecoveryPoint], plan: BackupPlan, now: datetime, sources: Collection[str] = ()
) -> tuple[RecoveryPoint, ...]:
    """Of each unit of one host, in the plan's own repository. Left out: points from the future, as in `proofs_due`, and units of
    sources that the plan no longer has."""
    found: dict[str, RecoveryPoint] = {}
    for point in present(points, now):
        wanted = point.source in (sources or plan.sources) and point.repository == plan.repository
        if point.plan == plan.name and wanted:
            found[point.unit] = point
    return tuple(found[unit] for unit in sorted(found))


def drill_requests(
    plan: BackupPlan,
    hosts: Sequence[Host],
    asking: Asking,
    store: PointStore,
    machines: Sequence[Host] = (),
    *,
    sources: Sequence[str] = (),
) -> list[RunRequest]:
    """The runs that prove the newest points of those hosts: one, but on a host that is named one for each of them, since each has
    a repository and a password of its own. machines: all of the site. sources: only these. Raises Refused where the plan is
    never proved, on a host that there is none of, or no host has a point; UsageError for a source that it does not have."""
    if plan.prove is None:
        raise Refused(f"plan {plan.name} says prove: null: its points are never proved")
    if unknown := sorted(set(sources) - set(plan.sources)):
        raise UsageError(
            f"plan {plan.name} has no source {', '.join(unknown)}", hint=f"It has {', '.join(sorted(plan.sources))}."
        )
    on = plan.prove.on
    machine = next((host for host in machines if host.name == on), None)
    if on not in (CONTROLLER, EACH) and machine is None:
        raise Refused(f"plan {plan.name} says prove.on: {on}, and there is no host of that name")
    now = datetime.fromisoformat(asking.asked_at)
    known: dict[str, list[RecoveryPoint]] = {host.name: [] for host in hosts}
    for point in store.newest(hosts=known, plan=plan.name, until=rfc3339(now + timedelta(seconds=CLOCK_SKEW_MAX))):
        known[point.host].append(point)
    chosen = {name: newest(mine, plan, now, sources) for name, mine in known.items()}
    if not any(chosen.values()):
        raise Refused("there is no point that could be proved", hint=f"mainstay run {plan.name} makes one")

    def request(points: dict[str, tuple[RecoveryPoint, ...]], there: Sequence[Host]) -> RunRequest:
        return _request(plan_request(plan, there, asking), points, tuple(sorted(set(sources))), on)

    if on == CONTROLLER:
        return [request(chosen, hosts)]
    chosen = {name: points for name, points in chosen.items() if points}
    if machine is None:
        return [request(chosen, [host for host in hosts if host.name in chosen])]
    return [request({name: points}, [machine]) for name, points in chosen.items()]


def _request(
    request: RunRequest, points: dict[str, tuple[RecoveryPoint, ...]], sources: tuple[str, ...], on: str
) -> RunRequest:
    more = {"parallel": 1} if on == CONTROLLER else {}
    careful = request.careful.model_copy(
        update={
            "before": (),
            "after": (),
            "health": (),
            "waves": (WaveSpec(size=Share(percent=100)),),
            "budget": Share(percent=100),
            "strict_budget": False,
            "strict": False,
            "unreachable": Share(percent=100),
            **more,
        }
    )
    order = DrillOrder(plan=BackupPlan.from_json(request.operation), points=points, sources=sources, on=on)
    return request.model_copy(
        update={
            "kind": DRILL,
            "operation": order.to_json(),
            "careful": careful,
            "errand": on == CONTROLLER,
            "window": None,
            "maintenance_type": "preventive",
        }
    )

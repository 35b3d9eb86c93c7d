"""Which points a drill proves: chosen when it is asked for, and named in its record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from mainstay.inventory.amounts import Share
from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Value
from mainstay.recovery.freshness import present
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import PointStore
from mainstay.runner.plan import WaveSpec
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.steps import rfc3339

DRILL = "drill"


class DrillOrder(Value):
    version: int = 1
    plan: BackupPlan
    points: dict[str, tuple[RecoveryPoint, ...]]
    """host → the newest point of each unit, in their order."""
    sources: tuple[str, ...] = ()
    """Only these; empty: all."""


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


def drill_request(
    plan: BackupPlan, hosts: Sequence[Host], asking: Asking, store: PointStore, *, sources: Sequence[str] = ()
) -> RunRequest:
    """The run that proves the newest points of those hosts. sources: only these. Raises Refused where the plan is never proved,
    is proved elsewhere, or no host has a point; UsageError for a source that it does not have."""
    if plan.prove is None:
        raise Refused(f"plan {plan.name} says prove: null: its points are never proved")
    if plan.prove.on != "controller":
        raise Refused(
            f"plan {plan.name} says prove.on: {plan.prove.on}; only the controller proves points yet",
            hint="Write prove.on: controller, or leave it out.",
        )
    if unknown := sorted(set(sources) - set(plan.sources)):
        raise UsageError(
            f"plan {plan.name} has no source {', '.join(unknown)}", hint=f"It has {', '.join(sorted(plan.sources))}."
        )
    now = datetime.fromisoformat(asking.asked_at)
    known: dict[str, list[RecoveryPoint]] = {host.name: [] for host in hosts}
    for point in store.newest(hosts=known, plan=plan.name, until=rfc3339(now + timedelta(seconds=CLOCK_SKEW_MAX))):
        known[point.host].append(point)
    chosen = {name: newest(mine, plan, now, sources) for name, mine in known.items()}
    if not any(chosen.values()):
        raise Refused("there is no point that could be proved", hint=f"mainstay run {plan.name} makes one")
    request = plan_request(plan, hosts, asking)
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
            "parallel": 1,
        }
    )
    order = DrillOrder(plan=BackupPlan.from_json(request.operation), points=chosen, sources=tuple(sorted(set(sources))))
    return request.model_copy(
        update={
            "kind": DRILL,
            "operation": order.to_json(),
            "careful": careful,
            "errand": True,
            "window": None,
            "maintenance_type": "preventive",
        }
    )

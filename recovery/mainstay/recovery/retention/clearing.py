"""What goes of the points of a plan that is no more, where somebody asks for it: all from before a day that is named. Pure.

No policy is theirs, so nothing of them goes by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Group
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.retention.planning import Kept, RetentionPlan, grouped, keep_what_counts


class Clearing(Value):
    """What somebody has asked for."""

    before: str
    """RFC 3339. What holds the data of that moment or of a later one stays."""
    all: bool = False
    """Also the newest that succeeded and the newest proved one of each source, which stay otherwise."""


def plan_clearing(
    points: Iterable[RecoveryPoint],
    clearing: Clearing,
    *,
    proofs: Iterable[Proof] = (),
    blocked: Mapping[Group, str] | None = None,
) -> RetentionPlan:
    """points: those of one plan in one repository. blocked: as of `blocked_by`; what has an anomaly stays here too."""
    before, plans = datetime.fromisoformat(clearing.before), []
    for whole, members, proved in grouped(points, proofs):
        new = (f"not from before {clearing.before[:16]}Z",)
        keep: dict[str, tuple[str, ...]]
        keep = {one.id: new if datetime.fromisoformat(one.at) >= before else () for one in members}
        if not clearing.all:
            keep_what_counts(keep, members, proved, 1)
        go = tuple(one for one in members if not keep[one.id])
        refused = (blocked or {}).get((whole.host, whole.plan, whole.source), "") if go else ""
        if refused:
            keep |= {one.id: ("retention is refused",) for one in go}
        update = {
            "keep": tuple(Kept(point=one, reasons=keep[one.id]) for one in members if keep[one.id]),
            "remove": () if refused else go,
            "refused": refused,
            "would_remove": go if refused else (),
        }
        plans.append(whole.model_copy(update=update))
    return RetentionPlan(groups=tuple(plans))

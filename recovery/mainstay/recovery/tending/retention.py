"""Retention: what the policy lets go is removed point by point, and the repository is asked whether it is gone."""

from __future__ import annotations

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.anomalies import blocked_by
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.retention.planning import RetentionPlan, plan_retention
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.recovery.words import counted
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, rfc3339

SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


class RetentionErrand(RepositoryErrand):
    """Only what mainstay itself has written down as a point is ever removed; whatever else lies in the repository is left."""

    what = "retention"

    def preview(self, host: Host, now: float) -> Forecast:
        """items: (source and point, when it was made, empty: it goes, or why it stays)."""
        plan = self.decide(host.name, now)
        items = tuple(
            (f"{group.source} {point.id[:SHOWN]}", point.at, "")
            for group in plan.groups
            for point in reversed(group.remove)
        )
        kept = tuple(
            (f"{group.source} {one.point.id[:SHOWN]}", one.point.at, ", ".join(one.reasons))
            for group in plan.groups
            for one in reversed(group.keep)
        )
        return something(len(items), items=tuple(sorted((*items, *kept))), notes=plan.alarms)

    def decide(self, host: str, now: float) -> RetentionPlan:
        """What the points in the state say. Nothing is asked of the repository, and nothing removed."""
        store, policy = self.depot.points, self.plan.retention
        points = store.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        if policy is None:
            return RetentionPlan(refused="the plan has no retention:, so that everything is kept")
        return plan_retention(
            points,
            policy,
            moment(now),
            zone=self.depot.zone,
            proofs=store.proofs(hosts=[host]),
            promised=self.plan.keep_proved,
            # An anomaly is the source's, wherever its points are kept.
            blocked=blocked_by(store.points(hosts=[host], plan=self.plan.name), store.acks()),
            append_only=self.repository.append_only,
        )

    def tend(self, desk: Desk) -> str:
        host = desk.host.name
        decided = desk.step("decide", lambda io: self._decide(desk, io))
        removed = desk.step("forget", lambda io: self._forget(host, io, decided["remove"])) if decided["remove"] else []
        gone = [*removed, *decided["lost"]]
        if gone:
            desk.step("mark", lambda io: self._mark(desk, gone))
        said = f"{counted(len(removed), 'point')} removed, {decided['keep']} kept"
        self.noted(desk, detail=said)
        return said

    def _decide(self, desk: Desk, io: StepIO) -> Json:
        host = desk.host.name
        there = {snapshot.id for snapshot in self.open(host).snapshots(host=host)}
        known = self.depot.points.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        lost = [point for point in known if point.id not in there]
        if lost:
            # Nobody restores from what is not there: it must not count as a backup any more.
            io.concerns.append(
                f"{counted(len(lost), 'point')} gone from the repository without mainstay: {_named(lost)}"
            )
        plan = self.decide(host, desk.now())
        io.concerns += plan.alarms
        remove = [point.id for point in plan.remove if point.id in there]
        keep = len(known) - len(remove) - len(lost)
        foreign = len(there - {point.id for point in known})
        io.detail = f"{len(remove)} to go, {keep} to keep" + (f", {foreign} not of this plan" if foreign else "")
        io.measures["retention"] = {"removed": len(remove), "kept": keep, "foreign": foreign}
        return {"remove": remove, "keep": keep, "lost": [point.id for point in lost]}

    def _forget(self, host: str, io: StepIO, ids: list[str]) -> list[str]:
        gone = self.open(host).forget(ids)
        io.detail = f"{counted(len(ids), 'point')} gone, asked for afterwards"
        return sorted({*gone, *ids})

    def _mark(self, desk: Desk, ids: list[str]) -> None:
        now = rfc3339(moment(desk.now()))
        self.depot.points.mark_removed(self.repository.name, ids, desk.run, now)


def _named(points: list[RecoveryPoint], most: int = 5) -> str:
    names = ", ".join(f"{point.unit} {point.id[:SHOWN]} of {point.at[:16]}Z" for point in points[:most])
    return f"{names} and {len(points) - most} more" if len(points) > most else names

"""Retention: what the policy lets go is removed point by point, and the repository is asked whether it is gone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import SecretError
from mainstay.inventory.value import Json
from mainstay.recovery.anomalies import blocked_by, group_of
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.contract import ResticError
from mainstay.recovery.retention.planning import RetentionPlan, plan_retention
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.recovery.words import counted
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, rfc3339

REFUSED = "refused"
"""Tended.part of retention that was decided, and removed nothing since there are suddenly too many groups, or the policy can't be
used there."""
SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


class RetentionErrand(RepositoryErrand):
    """Only what mainstay itself has written down as a point is ever removed; whatever else lies in the repository is left."""

    what = "retention"

    def preview(self, host: Host, now: float) -> Forecast:
        """items: (source and point, when it was made, empty: it goes, or why it stays)."""
        try:
            there = self._there(host.name)
        except (Refused, ResticError, SecretError) as error:
            # The errand itself is to fail of it: it notes that it was tried.
            return something(1, notes=(f"can't be foreseen: {error.message}",))
        plan = self.decide(host.name, now, there)
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

    def _there(self, host: str) -> set[str]:
        self.same(host)
        return {snapshot.id for snapshot in self.open(host).snapshots(host=host)}

    def decide(self, host: str, now: float, there: Collection[str]) -> RetentionPlan:
        """Of the points that are in the repository: one that has vanished must not count as kept. Nothing is removed.
        there: ids of its snapshots."""
        store, policy = self.depot.points, self.plan.retention
        known = store.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        points = [point for point in known if point.id in there]
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
            groups_before=self._groups_before(host),
        )

    def _groups_before(self, host: str) -> int | None:
        """How many groups there were when retention last was carried out here; None where it never was, or where somebody has
        looked at why it was refused since."""
        store, name = self.depot.points, self.repository.name
        mine = {
            one.part: one
            for one in store.tended(repository=name, host=host)
            if (one.what, one.subject) == ("retention", self.plan.name)
        }
        done, refused = mine.get(""), mine.get(REFUSED)
        if done is None:
            return None
        if refused is not None and any(ack.item == refused.run and ack.host in ("", host) for ack in store.acks()):
            return None
        at = datetime.fromisoformat(done.at)
        points = store.points(hosts=[host], plan=self.plan.name, repository=name, removed=True)
        return len({group_of(one) for one in points if datetime.fromisoformat(one.made_at) <= at})

    def tend(self, desk: Desk) -> str:
        host = desk.host.name
        decided = desk.step("decide", lambda io: self._decide(desk, io))
        removed = desk.step("forget", lambda io: self._forget(host, io, decided["remove"])) if decided["remove"] else []
        if removed or decided["lost"]:
            desk.step("mark", lambda io: self._mark(desk, removed, decided["lost"]))
        said = f"{counted(len(removed), 'point')} removed, {decided['keep']} kept"
        refused = decided.get("refused", "")
        # What was refused as a whole is not what the next time is held against.
        self.noted(desk, part=REFUSED if refused else "", detail=refused or said)
        return said

    def _decide(self, desk: Desk, io: StepIO) -> Json:
        host = desk.host.name
        # In this order: a point that a backup adds meanwhile is in the repository first, and must not be taken for lost.
        known = self.depot.points.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        there = self._there(host)
        lost = [point for point in known if point.id not in there]
        if lost:
            # Nobody restores from what is not there: it must not count as a backup any more.
            io.concerns.append(
                f"{counted(len(lost), 'point')} gone from the repository without mainstay: {_named(lost)}"
            )
        plan = self.decide(host, desk.now(), there)
        io.concerns += plan.alarms
        remove = [point.id for point in plan.remove]
        keep = len(known) - len(remove) - len(lost)
        foreign = len(there - {point.id for point in known})
        io.detail = f"{len(remove)} to go, {keep} to keep" + (f", {foreign} not of this plan" if foreign else "")
        io.measures["retention"] = {"removed": len(remove), "kept": keep, "foreign": foreign}
        return {
            "remove": remove,
            "keep": keep,
            "lost": [point.id for point in lost],
            "refused": self.plan.retention and plan.refused,
        }

    def _forget(self, host: str, io: StepIO, ids: list[str]) -> list[str]:
        gone = self.open(host).forget(ids)
        io.detail = f"{counted(len(ids), 'point')} gone, asked for afterwards"
        return sorted({*gone, *ids})

    def _mark(self, desk: Desk, removed: list[str], lost: list[str]) -> None:
        now = rfc3339(moment(desk.now()))
        for ids, run in ((removed, desk.run), (lost, "")):
            self.depot.points.mark_removed(self.repository.name, ids, run, now)


def _named(points: list[RecoveryPoint], most: int = 5) -> str:
    names = ", ".join(f"{point.unit} {point.id[:SHOWN]} of {point.at[:16]}Z" for point in points[:most])
    return f"{names} and {len(points) - most} more" if len(points) > most else names

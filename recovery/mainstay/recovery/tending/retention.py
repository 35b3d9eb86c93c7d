"""Retention: what the policy lets go is removed point by point, and the repository is asked whether it is gone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Self
from urllib.parse import unquote

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.inventory.names import clean
from mainstay.inventory.secrets import SecretError
from mainstay.inventory.value import Json
from mainstay.recovery.anomalies import Group, blocked_by, group_of
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.contract import ResticError
from mainstay.recovery.restic.replies import Snapshot
from mainstay.recovery.retention.clearing import Clearing, plan_clearing
from mainstay.recovery.retention.planning import RetentionPlan, plan_retention
from mainstay.recovery.retention.strays import Ended, Stray, Strays, strays
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.recovery.words import counted
from mainstay.runner.calling_off import unheard
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, rfc3339

REFUSED = "refused"
"""Tended.part of retention that was decided, and removed nothing since there are suddenly too many groups, or the policy can't be
used there."""
SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""
NO_POINT = "no point: "
"""What the name of a snapshot that is none begins with, in a preview."""
UNFORESEEN = "can't be foreseen: "
MISSING = "to be written down: "
"""What notes of a preview begin with."""
TOLD = 20
"""So many of them are named in a record."""


class RetentionErrand(RepositoryErrand):
    """Only what mainstay itself has written down as a point, or what a failed backup of its own left, is ever removed; whatever
    else lies in the repository is left."""

    what = "retention"

    def __init__(
        self,
        plan: BackupPlan,
        repository: str,
        depot: Depot,
        ended: Ended = lambda run, host: None,
        state: str = "",
        clearing: Clearing | None = None,
    ) -> None:
        """state: id of the state whose runs `ended` tells of. clearing: of a plan that is no more, in place of its policy."""
        super().__init__(plan, repository, depot)
        self.ended, self.state, self.clearing = ended, state, clearing

    @classmethod
    def tied(cls, data: Json, depot: Depot, ended: Ended, state: str) -> Self:
        asked = data.get("clearing")
        clearing = Clearing.from_json(asked) if asked else None
        return cls(BackupPlan.from_json(data["plan"]), data["repository"], depot, ended, state, clearing)

    def preview(self, host: Host, now: float) -> Forecast:
        """items: (source and point, when it was made, empty: it goes, or why it stays)."""
        try:
            known, there = self._found(host.name)
        except (Refused, ResticError, SecretError) as error:
            # The errand itself is to fail of it: it notes that it was tried.
            return something(1, notes=(f"{UNFORESEEN}{error.message}",))
        lost, gone = _missing(known, there)
        plan = self.decide(host.name, now, there)
        left = self.left(host.name, now, there, plan.refused)
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
        no_points = tuple(
            (f"{NO_POINT}{clean(one.unit, 200)} {one.snapshot.id[:SHOWN]}", one.snapshot.at, one.stays)
            for one in left.found
        )
        notes = (*plan.alarms, *(f"{MISSING}{one}" for one in (*_lost(lost), *_removed(gone))))
        notes += tuple(f"{one}: never touched" for one in untouched(left))
        return something(len(items), items=tuple(sorted((*items, *kept, *no_points))), notes=notes)

    def _found(self, host: str) -> tuple[list[RecoveryPoint], dict[str, Snapshot]]:
        """The points that are known to be there, and what is there. In this order: a point that a backup adds meanwhile is in the
        repository first, and must not be taken for lost."""
        known = self.depot.points.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        return known, self._there(host)

    def _there(self, host: str) -> dict[str, Snapshot]:
        self.same(host)
        return {snapshot.id: snapshot for snapshot in self.open(host).snapshots(host=host)}

    def decide(self, host: str, now: float, there: Collection[str]) -> RetentionPlan:
        """Of the points that are in the repository: one that has vanished must not count as kept. Nothing is removed.
        there: ids of its snapshots."""
        store, policy = self.depot.points, self.plan.retention
        known = store.points(hosts=[host], plan=self.plan.name, repository=self.repository.name)
        points = [point for point in known if point.id in there]
        if self.clearing is not None:
            proofs, blocked = store.proofs(hosts=[host]), self._blocked(host)
            return plan_clearing(points, self.clearing, proofs=proofs, blocked=blocked)
        if policy is None:
            return RetentionPlan(refused="the plan has no retention:, so that everything is kept")
        return plan_retention(
            points,
            policy,
            moment(now),
            zone=self.depot.zone,
            proofs=store.proofs(hosts=[host]),
            promised=self.plan.keep_proved,
            blocked=self._blocked(host),
            append_only=self.repository.append_only,
            groups_before=self._groups_before(host),
        )

    def _blocked(self, host: str) -> dict[Group, str]:
        """An anomaly is the source's, wherever its points are kept."""
        store = self.depot.points
        return blocked_by(store.points(hosts=[host], plan=self.plan.name), store.acks())

    def left(self, host: str, now: float, there: Mapping[str, Snapshot], refused: str) -> Strays:
        """What failed backups left there. Nothing is removed. refused: why retention as a whole is."""
        # How they ended first: a backup writes its points down before it ends.
        runs = {unquote(one.tagged("run")) for one in there.values()}
        ends = {run: self.ended(run, host) for run in runs}
        points = self.depot.points.points(hosts=[host], removed=True)
        return strays(
            list(there.values()),
            [
                point
                for point in points
                if point.removed_at or point.repository != self.repository.name or point.id in there
            ],
            lambda run, host: ends.get(run),
            moment(now),
            host=host,
            plan=self.plan.name,
            named={self.plan.name, *self.plan.renamed_from},
            repository=self.repository.name,
            blocked=self._blocked(host),
            refused=refused,
            maker=self.state,
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
        decided = desk.step("decide", lambda io: self._decide(desk, io))
        done: Json = {"points": [], "strays": 0, "spared": 0}
        if decided["remove"] or decided["strays"]:
            done = desk.step("forget", lambda io: self._forget(desk, io, decided))
        if done["points"] or decided["lost"] or decided.get("gone"):
            desk.step("mark", lambda io: self._mark(desk, done["points"], decided))
        said = f"{counted(len(done['points']), 'point')} removed, {decided['keep'] + done['spared']} kept"
        if done["strays"]:
            said += f", {no_points(done['strays'])} removed"
        refused = decided.get("refused", "")
        # What was refused as a whole is not what the next time is held against.
        self.noted(desk, part=REFUSED if refused else "", detail=refused or said)
        return said

    def _decide(self, desk: Desk, io: StepIO) -> Json:
        host = desk.host.name
        known, there = self._found(host)
        lost, gone = _missing(known, there)
        io.notes += _removed(gone)
        # Nobody restores from what is not there: it must not count as a backup any more.
        io.concerns += _lost(lost)
        plan = self.decide(host, desk.now(), there)
        left = self.left(host, desk.now(), there, plan.refused)
        io.concerns += plan.alarms
        remove, stray = [point.id for point in plan.remove], [one.snapshot.id for one in left.remove]
        keep = sum(point.id in there for point in known) - len(remove)
        # What is there was not removed by whoever was about to: should it be lost later, it is lost.
        unmark = [point.id for point in known if point.removed_by and point.id in there]
        self.depot.points.mark_going(self.repository.name, unmark, "")
        io.detail = f"{len(remove)} to go, {keep} to keep" + "".join(f", {one}" for one in untouched(left))
        if left.found:
            io.detail += f", {len(stray)} of {no_points(len(left.found))} to go"
            io.notes += [_said(one) for one in left.found[:TOLD]]
            io.notes += [f"and {no_points(len(left.found) - TOLD)} more"] if len(left.found) > TOLD else []
        counts = {"removed": len(remove), "kept": keep, "foreign": left.foreign, "of_others": left.others}
        io.measures["retention"] = {**counts, "no_points": len(left.found), "no_points_removed": len(stray)}
        return {
            "remove": remove,
            "keep": keep,
            "lost": [point.id for point in lost],
            "gone": gone,
            "strays": stray,
            "alarms": list(plan.alarms),
            "refused": self.plan.retention and plan.refused,
        }

    def _forget(self, desk: Desk, io: StepIO, decided: Json) -> Json:
        """Decided once more right before: this step may be begun days after that one, by a process that was started again. What
        goes is what both say; what only one of them says is left for the next time."""
        host = desk.host.name
        there = self._there(host)
        plan = self.decide(host, desk.now(), there)
        left = self.left(host, desk.now(), there, plan.refused)
        still, stray = {point.id for point in plan.remove}, {one.snapshot.id for one in left.remove}
        # What is not there was removed by this very step before it was broken off.
        ids = [id for id in decided["remove"] if id in still or id not in there]
        spared = len(decided["remove"]) - len(ids)
        others = [id for id in decided["strays"] if id in stray or id not in there]
        if ids or others:
            # Before anything goes: what is missing when this was broken off was not lost.
            self.depot.points.mark_going(self.repository.name, ids, desk.run)
            with unheard():  # what goes is to be written down, too
                self._let_go(desk, ids, others)
        io.concerns += [one for one in plan.alarms if one not in decided["alarms"]]
        io.detail = f"{counted(len(ids), 'point')} gone, asked for afterwards"
        io.detail += f", and {no_points(len(others))}" if others else ""
        if spared:
            io.notes.append(f"{counted(spared, 'point')} that were to go stay: by now it is decided otherwise")
        return {"points": sorted(ids), "strays": len(others), "spared": spared}

    def _let_go(self, desk: Desk, ids: list[str], others: list[str]) -> None:
        """Raises ResticError where that did not go well; what is there is written down as it is then, as far as it can be asked."""
        host, name, points = desk.host.name, self.repository.name, self.depot.points
        try:
            self.open(host).forget([*ids, *others])
        except ResticError:
            with suppress(ResticError, Refused):  # the next time tells them apart
                there = self._there(host)
                points.mark_going(name, [id for id in ids if id in there], "")
                points.mark_removed(name, [id for id in ids if id not in there], desk.run, rfc3339(moment(desk.now())))
            raise

    def _mark(self, desk: Desk, removed: list[str], decided: Json) -> None:
        now = rfc3339(moment(desk.now()))
        for run, ids in ((desk.run, removed), ("", decided["lost"]), *decided.get("gone", {}).items()):
            self.depot.points.mark_removed(self.repository.name, ids, run, now)


def may_do(forecast: Forecast) -> bool:
    """Whether carrying out what was foreseen would do anything, or can't be foreseen."""
    noted = any(note.startswith((UNFORESEEN, MISSING)) for note in forecast.notes)
    return noted or any(not why for _, _, why in forecast.items)


def _missing(
    known: Iterable[RecoveryPoint], there: Collection[str]
) -> tuple[list[RecoveryPoint], dict[str, list[str]]]:
    """(those that nobody of us has removed, run that was about to remove them → their ids)"""
    lost, gone = list[RecoveryPoint](), dict[str, list[str]]()
    for one in known:
        if one.id not in there and one.removed_by:
            gone.setdefault(one.removed_by, []).append(one.id)
        elif one.id not in there:
            lost.append(one)
    return lost, gone


def _lost(points: list[RecoveryPoint]) -> list[str]:
    said = f"{counted(len(points), 'point')} gone from the repository without mainstay: {_named(points)}"
    return [said] if points else []


def _removed(gone: Mapping[str, list[str]]) -> list[str]:
    return [
        f"{counted(len(ids), 'point')} had been removed by run {run}, which was broken off before it could write that down"
        for run, ids in sorted(gone.items())
    ]


def untouched(left: Strays) -> list[str]:
    """What is there and not ours, in words."""
    words = {"not of mainstay": left.foreign, "of another controller's mainstay": left.others}
    return [f"{counted(count, 'snapshot')} {whose}" for whose, count in words.items() if count]


def no_points(count: int) -> str:
    return f"{counted(count, 'snapshot')} that {'is no point' if count == 1 else 'are no points'}"


def _said(one: Stray) -> str:
    why = f"stays: {one.stays}" if one.stays else "goes"
    return f"no point: {clean(one.unit, 200)} {one.snapshot.id[:SHOWN]} of {one.snapshot.at[:16]}Z, run {clean(one.run, 40)}: {why}"


def _named(points: list[RecoveryPoint], most: int = 5) -> str:
    names = ", ".join(f"{point.unit} {point.id[:SHOWN]} of {point.at[:16]}Z" for point in points[:most])
    return f"{names} and {len(points) - most} more" if len(points) > most else names

"""Copies: the points of the plan's own repository are brought into another one, so that one place can be lost."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.contract import Restic
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.recovery.tending.retention import SHOWN
from mainstay.recovery.words import counted
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, rfc3339

AT_ONCE = 20
"""Points of one step: what was copied before a crash is found there, and not sent again."""


class CopyErrand(RepositoryErrand):
    """`repository` is where the copies go; they come from the plan's own."""

    what = "copy"

    def open(self, host: str) -> Restic:
        """With the limit of the copy, where it has one."""
        access = self.depot.access(self.repository, host, "maintain")
        mine = next((one for one in self.plan.copies if one.to == self.repository.name), None)
        return self.depot.restic(replace(access, upload=(mine and mine.upload) or access.upload))

    def preview(self, host: Host, now: float) -> Forecast:
        waiting = self.waiting(host.name)
        items = tuple(sorted((f"{point.unit} {point.id[:SHOWN]}", "", self.repository.name) for point in waiting))
        return something(len(items), items=items)

    def waiting(self, host: str, there: Collection[str] | None = None) -> list[RecoveryPoint]:
        """Points without a copy there, newest first. One that retention has removed there is not copied again; one that was lost
        there is. there: ids of its snapshots; None: not asked."""
        store, plan = self.depot.points, self.plan
        known = store.points(hosts=[host], plan=plan.name, repository=self.repository.name, removed=True)
        copied = {
            point.copy_of
            for point in known
            if point.removed_by or not (point.removed_at or (there is not None and point.id not in there))
        }
        mine = store.points(hosts=[host], plan=plan.name, repository=plan.repository)
        return [point for point in reversed(mine) if point.id not in copied]

    def tend(self, desk: Desk) -> str:
        waiting = desk.step("choose", lambda io: self._choose(desk, io))
        batches = [waiting[first : first + AT_ONCE] for first in range(0, len(waiting), AT_ONCE)]
        copied = 0
        for number, batch in enumerate(batches, 1):
            copied = desk.step(f"copy.{number}", partial(self._copy, desk, batch, copied))["copied"]
        said = f"{counted(len(waiting), 'point')} copied to {self.repository.name}" if waiting else "nothing to copy"
        self.noted(desk, detail=said)
        return said

    def _choose(self, desk: Desk, io: StepIO) -> list[str]:
        host = desk.host.name
        self.same(host)
        own = self.depot.open(self.plan.repositories[self.plan.repository], host)
        here = {one.id for one in own.snapshots(host=host)}
        copies = {one.id for one in self.open(host).snapshots(host=host)}
        waiting = [point for point in self.waiting(host, copies) if point.id in here]
        io.detail = f"{counted(len(waiting), 'point')} without a copy"
        return [point.id for point in waiting]

    def _copy(self, desk: Desk, ids: list[str], before: int, io: StepIO) -> Json:
        host, plan, store = desk.host.name, self.plan, self.depot.points
        source = self.depot.access(plan.repositories[plan.repository], host, "maintain")
        made = self.open(host).copy(source, ids, tell=lambda one: io.progress(str(one)))
        now = rfc3339(moment(desk.now()))
        for point in store.points(hosts=[host], plan=plan.name, repository=plan.repository):
            if point.id in made:
                update = {"id": made[point.id], "repository": self.repository.name, "copy_of": point.id, "made_at": now}
                store.add_point(point.model_copy(update=update))
        io.detail = f"{counted(len(made), 'point')} copied"
        io.measures["copied"] = before + len(made)
        return {"copied": before + len(made)}

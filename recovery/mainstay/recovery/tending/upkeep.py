"""prune and check: the repository's own upkeep."""

from __future__ import annotations

import math
from datetime import datetime

from mainstay.recovery.proofs_due import next_subset

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.restic.contract import Damaged
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO


class PruneErrand(RepositoryErrand):
    """Data that no snapshot needs is removed. Locks others out meanwhile."""

    what = "prune"

    def preview(self, host: Host, now: float) -> Forecast:
        return something(1)

    def tend(self, desk: Desk) -> str:
        freed = desk.step("prune", lambda io: self._prune(desk.host.name, io))
        self.noted(desk, detail=freed)
        return str(freed)

    def _prune(self, host: str, io: StepIO) -> str:
        restic = self.open(host)
        before = restic.stats().bytes
        restic.prune(max_unused=self.plan.prune.max_unused, tell=lambda one: io.progress(str(one)))
        after = restic.stats().bytes
        io.measures["prune"] = {"before": before, "after": after}
        io.detail = f"{before - after:,} bytes fewer" if before > after else "nothing to free"
        return io.detail


class CheckErrand(RepositoryErrand):
    """The structure, and one part of the data: in rotation, so that all has been read within the plan's time."""

    what = "check"

    def preview(self, host: Host, now: float) -> Forecast:
        number, of = self.part(host.name, now)
        return something(1, notes=(f"reads part {number} of {of}",))

    def part(self, host: str, now: float) -> tuple[int, int]:
        """(n, t): the part whose turn it is."""
        wanted = self.plan.verify
        of = max(1, math.ceil(wanted.all_within / max(wanted.every, 1.0)))
        vault = self.repository.vault(host)
        read = {
            int(done.part.partition("/")[0]): datetime.fromisoformat(done.at)
            for done in self.depot.points.tended(repository=self.repository.name, host=vault)
            if done.what == "check" and done.part.endswith(f"/{of}") and done.verdict == "succeeded"
        }
        return next_subset(read, of, wanted.all_within, moment(now)), of

    def tend(self, desk: Desk) -> str:
        found = desk.step("check", lambda io: self._check(desk, io))
        self.noted(desk, part=found["part"], detail=found["said"])
        return str(found["said"])

    def _check(self, desk: Desk, io: StepIO) -> Json:
        number, of = self.part(desk.host.name, desk.now())
        restic = self.open(desk.host.name)
        found = restic.check((number, of), tell=lambda one: io.progress(str(one)))
        io.measures["check"] = {"part": number, "of": of, **found.to_json()}
        if not found.sound:
            said = "; ".join(found.said) or f"{found.errors} errors"
            hint = "What can still be restored: mainstay restore --verify; a copy elsewhere can be copied back."
            raise Damaged(restic.access, f"damaged: {said}", hint=hint)
        if found.suggest_repair_index:
            io.concerns.append("the repository's index wants repair: restic repair index")
        io.detail = f"part {number} of {of} read, no damage"
        return {"part": f"{number}/{of}", "said": io.detail}

"""prune and check: the repository's own upkeep."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.plan import Checking
from mainstay.recovery.points.contract import Tended
from mainstay.recovery.proofs_due import parts_of, subsets_due
from mainstay.recovery.restic.contract import Damaged
from mainstay.recovery.tending.errand import RepositoryErrand, something
from mainstay.recovery.words import counted, sized
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO
from mainstay.runner.verdict import Verdict


def parts_read(tended: Iterable[Tended], of: int) -> dict[int, float]:
    """Part → when it was last read whole and well, Unix seconds. tended: of one repository."""
    return {
        int(done.part.partition("/")[0]): datetime.fromisoformat(done.at).timestamp()
        for done in tended
        if done.what == "check" and done.part.endswith(f"/{of}")
    }


def unread(wanted: Checking, tended: Collection[Tended], since: float, now: float) -> int:
    """How many parts of a repository's data have not been read in time, with two turns to spare; 0: all have. since: when it was
    made, Unix seconds. Where several plans have it checked, whatever one of them has read whole counts."""
    ways = {one.part.rpartition("/")[2] for one in tended if one.what == "check"}
    ofs = {parts_of(wanted.every, wanted.all_within), *(int(way) for way in ways if way.isdigit())}
    limit = now - wanted.all_within - 2 * wanted.every
    return min(
        sum(1 for part in range(1, of + 1) if read.get(part, since) < limit)
        for of, read in ((of, parts_read(tended, of)) for of in ofs)
    )


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
        self.same(host)
        freed = self.open(host).prune(max_unused=self.plan.prune.max_unused, tell=lambda one: io.progress(str(one)))
        io.measures["prune"] = {"freed": freed}
        io.detail = f"{sized(freed)} freed" if freed else "nothing to free" if freed == 0 else "pruned"
        return io.detail


class CheckErrand(RepositoryErrand):
    """The structure, and part of the data: in rotation, so that all has been read within the plan's time. Where turns were
    missed, more than one part."""

    what = "check"

    def preview(self, host: Host, now: float) -> Forecast:
        of, parts = self.parts(host.name, now)
        return something(1, notes=(f"reads part {', '.join(map(str, parts))} of {of}",))

    def parts(self, host: str, now: float) -> tuple[int, tuple[int, ...]]:
        """(t, those of them whose turn it is)."""
        wanted, vault = self.plan.verify, self.repository.vault(host)
        of = parts_of(wanted.every, wanted.all_within)
        read = parts_read(self.depot.points.tended(repository=self.repository.name, host=vault), of)
        known = self.depot.points.vault(self.repository.name, vault)
        since = datetime.fromisoformat(known.made_at).timestamp() if known and known.made_at else None
        return of, subsets_due(read, of, wanted.all_within, wanted.every, now, since=since)

    def tend(self, desk: Desk) -> str:
        chosen = desk.step("choose", lambda io: self._choose(desk, io))
        for number in chosen["parts"]:
            desk.step(f"check.{number}", partial(self._check, desk, number, chosen["of"]))
        count = len(chosen["parts"])
        return f"{counted(count, 'part')} of {chosen['of']} read, no damage"

    def _choose(self, desk: Desk, io: StepIO) -> Json:
        of, parts = self.parts(desk.host.name, desk.now())
        io.detail = f"part {', '.join(map(str, parts))} of {of}"
        return {"of": of, "parts": list(parts)}

    def _check(self, desk: Desk, number: int, of: int, io: StepIO) -> None:
        # Another one that is sound would count as ours having been read.
        self.same(desk.host.name)
        restic = self.open(desk.host.name)
        found = restic.check((number, of), tell=lambda one: io.progress(str(one)))
        io.measures[f"check {number}"] = {"part": number, "of": of, **found.to_json()}
        if not found.sound:
            said = "; ".join(found.said) or f"{found.errors} errors"
            hint = "A copy in another repository can be copied back; mainstay points shows where there is one."
            raise Damaged(restic.access, f"damaged: {said}", hint=hint)
        if found.suggest_repair_index:
            io.concerns.append("the repository's index wants repair: restic repair index")
        self.note(desk, io, f"{number}/{of}", f"part {number} of {of} read, no damage", Verdict.SUCCEEDED)

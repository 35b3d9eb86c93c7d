"""Make a repository, and free it of locks: only ever when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Vault
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import Restic
from mainstay.recovery.tending.adopting import adoptable
from mainstay.recovery.tending.errand import RepositoryErrand, moment, something
from mainstay.recovery.tending.locks import Judged, Worked, judge
from mainstay.recovery.vaults import not_the_same
from mainstay.recovery.words import counted
from mainstay.runner.errand import Desk
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, rfc3339

WorkedOn = Callable[[str], Sequence[Worked]]
"""Host → the runs of ours that worked with its repositories, newest last."""


class InitErrand(RepositoryErrand):
    """Where there is none. One that is there and opens is taken as it is; one that does not open is left alone. Where another one
    is known, only with `exchange`: what it held is then known to be gone. With `adopt` nothing is made: the points that another
    controller's state has made in it are taken over."""

    what = "init"

    def __init__(
        self,
        plan: BackupPlan,
        repository: str,
        depot: Depot,
        exchange: bool = False,
        adopt: bool = False,
        ours: Callable[[str], bool] = lambda run: False,
        state: str = "",
    ) -> None:
        """ours: whether a run is one of this state, whose id is `state`."""
        super().__init__(plan, repository, depot)
        self.exchange, self.adopt, self.ours, self.state = exchange, adopt, ours, state

    @classmethod
    def of(cls, data: Json, depot: Depot, ours: Callable[[str], bool] = lambda run: False, state: str = "") -> Self:
        plan = BackupPlan.from_json(data["plan"])
        return cls(plan, data["repository"], depot, bool(data.get("replace")), bool(data.get("adopt")), ours, state)

    def preview(self, host: Host, now: float) -> Forecast:
        there = self.open(host.name).identity()
        if refusal := self._exchanged(host.name, there):
            return something(1, notes=(f"{refusal.message} ({refusal.hint})",))
        if self.adopt:
            said = _told(self._others(host.name, "", now), "takes over ") if there else self._nothing(host.name).message
            return something(1, notes=(said,))
        note = (
            f"{self.repository.address(host.name)} is there already"
            if there
            else f"makes {self.repository.address(host.name)}"
        )
        return something(1, notes=(note,))

    def _exchanged(self, host: str, identity: str | None) -> Refused | None:
        known = self.depot.points.vault(self.repository.name, self.repository.vault(host))
        if self.exchange or known is None or not known.id:
            return None
        return not_the_same(self.depot.points, self.repository, self.plan.name, host, identity)

    def tend(self, desk: Desk) -> str:
        made = desk.step("init", lambda io: self._init(desk, io))
        desk.step("vault", lambda io: self._keep(desk, made))
        if self.exchange:
            desk.step("gone", lambda io: self._gone(desk, io))
        if self.adopt:
            return str(desk.step("adopt", lambda io: self._adopt(desk, io)))
        return str(made["said"])

    def _nothing(self, host: str) -> Refused:
        hint = "Is its url right, its disk mounted? Without --adopt a new one is made."
        return Refused(f"there is no repository at {self.repository.address(host)} to take points over from", hint=hint)

    def _others(self, host: str, run: str, now: float) -> list[RecoveryPoint]:
        """Nothing is written down."""
        vault, store = self.repository.vault(host), self.depot.points
        known = store.points(hosts=[vault] if vault else None, repository=self.repository.name, removed=True)
        return adoptable(
            self.open(host).snapshots(host=vault or None),
            plan=self.plan.name,
            named={self.plan.name, *self.plan.renamed_from},
            repository=self.repository.name,
            copies=self.repository.name != self.plan.repository,
            known={point.id for point in known},
            ours=self.ours,
            state=self.state,
            run=run,
            now=rfc3339(moment(now)),
        )

    def _adopt(self, desk: Desk, io: StepIO) -> str:
        found = self._others(desk.host.name, desk.run, desk.now())
        for point in found:
            self.depot.points.add_point(point)
        io.detail = _told(found, "took over ")
        return io.detail

    def _init(self, desk: Desk, io: StepIO) -> Json:
        host = desk.host.name
        restic = self.open(host)
        id = restic.identity()  # a wrong password raises: it is never answered with a new repository
        if refusal := self._exchanged(host, id):
            raise refusal
        if id is None and self.adopt:
            raise self._nothing(host)
        if id is None:
            id, io.detail = restic.init(self._like(host)), f"made {self.repository.address(host)}"
            return {"id": id, "said": io.detail, "made": True}
        io.detail = f"{self.repository.address(host)} was there already"
        if not self.adopt and (others := self._others(host, desk.run, desk.now())):
            command = f"mainstay repo init {self.plan.name} --adopt"
            them = "1 point in it is" if len(others) == 1 else f"{len(others):,} points in it are"
            io.detail += f"; {them} not known here: {command} takes {'it' if len(others) == 1 else 'them'} over"
        return {"id": id, "said": io.detail, "made": False}

    def _gone(self, desk: Desk, io: StepIO) -> None:
        """What is not in it is not there to be restored from, and must not count as a backup."""
        vault = self.repository.vault(desk.host.name)
        points = self.depot.points.points(hosts=[vault] if vault else None, repository=self.repository.name)
        there = {snapshot.id for snapshot in self.open(desk.host.name).snapshots()}
        gone = [point.id for point in points if point.id not in there]
        self.depot.points.mark_removed(self.repository.name, gone, "", rfc3339(moment(desk.now())))
        io.detail = f"{counted(len(gone), 'point')} gone with what was there before"

    def _like(self, host: str) -> Access | None:
        """A copy's repository is made like the one that is copied from: otherwise the same data is kept twice there."""
        if self.repository.name == self.plan.repository:
            return None
        return self.depot.access(self.plan.repositories[self.plan.repository], host, "maintain")

    def _keep(self, desk: Desk, made: Json) -> None:
        host = self.repository.vault(desk.host.name)
        known = self.depot.points.vault(self.repository.name, host)
        if known is not None and known.id == made["id"]:
            return
        now = rfc3339(moment(desk.now()))
        by = desk.run if made["made"] else ""
        vault = Vault(self.repository.name, host, made["id"], now if by else "", by)
        if known is not None and not known.id and not by:
            # Its password was confirmed before it was first seen: it opened this very repository.
            vault = replace(vault, escrow_at=known.escrow_at, escrow_by=known.escrow_by)
        self.depot.points.note_vault(vault)


def _told(points: Sequence[RecoveryPoint], does: str) -> str:
    """`takes over 12 points, 2026-10-01 to 2026-11-22`."""
    if not points:
        return "no point to take over: those that are there are known"
    first, last = points[0].at[:10], points[-1].at[:10]
    return f"{does}{counted(len(points), 'point')}, {first}" + (f" to {last}" if last != first else "")


class UnlockErrand(RepositoryErrand):
    """Removes the locks that runs of ours left behind when they died, and no others; the others it names."""

    what = "lock"

    def __init__(self, plan: BackupPlan, repository: str, depot: Depot, worked: WorkedOn = lambda host: ()) -> None:
        super().__init__(plan, repository, depot)
        self.worked = worked

    @classmethod
    def tied(cls, data: Json, depot: Depot, worked: WorkedOn) -> Self:
        return cls(BackupPlan.from_json(data["plan"]), data["repository"], depot, worked)

    def preview(self, host: Host, now: float) -> Forecast:
        found = self.judged(self.open(host.name), host.name, now)
        items = tuple(sorted((one.lock.id[:12], one.why, "" if one.standing == "dead" else "stays") for one in found))
        return something(len(items), items=items)

    def judged(self, restic: Restic, host: str, now: float) -> list[Judged]:
        return judge(restic.locks(), self.worked(host), moment(now))

    def tend(self, desk: Desk) -> str:
        said = desk.step("unlock", lambda io: self._unlock(desk, io))
        self.noted(desk, detail=said)
        return str(said)

    def _unlock(self, desk: Desk, io: StepIO) -> str:
        restic = self.open(desk.host.name)
        found = self.judged(restic, desk.host.name, desk.now())
        gone = restic.unlock([one.lock.id for one in found if one.standing == "dead"])
        io.notes += [f"lock {one.lock.id[:12]}: {one.why}" for one in found]
        io.concerns += [f"locked: {one.why}" for one in found if one.standing == "foreign" and one.stale]
        io.detail = f"{counted(len(gone), 'lock')} removed, {len(found) - len(gone)} left" if found else "no lock there"
        return io.detail

"""What all errands at a repository share: whose it is, who may wait for whom, and the note of when it was done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import PointStore, Tended, Tending
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import Restic
from mainstay.recovery.vaults import not_the_same
from mainstay.runner.errand import Desk, Errand
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, Stopped, rfc3339
from mainstay.runner.verdict import Verdict

OF_POINTS = frozenset({"retention", "copy"})
"""What is done with the points of a plan and a host; the rest is done with a repository."""
OF_PLAN = OF_POINTS | {"prove"}
"""What is noted with the plan's name."""
FAILED = "failed"
"""Tended.part of what was tried and went wrong: it does not count as done."""
CANCELLED = "cancelled"
"""Tended.part of what somebody has called off: it is not begun again by itself before its next time, and has not been done."""


class RepositoryErrand(Errand):
    """One repository of one plan, host by host. Of a shared repository it is asked for one host alone."""

    what: Tending

    def __init__(self, plan: BackupPlan, repository: str, depot: Depot) -> None:
        self.plan = plan
        self.repository: Repository = plan.repositories[repository]
        self.depot = depot

    @classmethod
    def of(cls, data: Json, depot: Depot) -> Self:
        """From `{plan, repository}`, as a request holds it."""
        return cls(BackupPlan.from_json(data["plan"]), data["repository"], depot)

    @property
    def kind(self) -> str:
        return self.what

    @abstractmethod
    def tend(self, desk: Desk) -> str:
        """What the errand is about; returns what was done, in words."""

    def work(self, desk: Desk, forecast: Forecast) -> str:
        try:
            return self.tend(desk)
        except Stopped as stop:
            # So that it is tried again after a while, and not at once for ever.
            part = CANCELLED if stop.verdict is Verdict.CANCELLED else FAILED
            self.noted(desk, part, stop.reason, stop.verdict, stop.fault)
            raise

    def open(self, host: str) -> Restic:
        return self.depot.open(self.repository, host, "maintain")

    def same(self, host: str) -> None:
        """Raises Refused where the repository is not there, or is another one than before: what is not in it was not removed,
        and what is done with it is not done with ours."""
        identity = self.open(host).identity()
        if refusal := not_the_same(self.depot.points, self.repository, self.plan.name, host, identity):
            raise refusal

    def noted(
        self,
        desk: Desk,
        part: str = "",
        detail: str = "",
        verdict: Verdict = Verdict.SUCCEEDED,
        fault: str = "",
    ) -> None:
        """The last step: from now on it is due again only after its time."""
        desk.step("note", lambda io: self.note(desk, io, part, detail, verdict, fault))

    def note(self, desk: Desk, io: StepIO, part: str, detail: str, verdict: Verdict, fault: str = "") -> None:
        io.detail = detail
        # A plan may have several, and its errands at all of them look alike in a record.
        io.measures["repository"] = self.repository.name
        at = rfc3339(moment(desk.now()))
        made = tended(self.plan, self.what, self.repository.name, desk.host.name, part, desk.run, at, verdict, detail)
        note(self.depot.points, replace(made, fault=fault))


def tended(
    plan: BackupPlan,
    what: Tending,
    repository: str,
    host: str,
    part: str,
    run: str,
    at: str,
    verdict: Verdict,
    detail: str,
) -> Tended:
    """Of an errand of this plan for this host."""
    mine = subject_of(what, plan.repositories[repository], host)
    return Tended(
        repository, mine, what, plan.name if what in OF_PLAN else "", part, run, at, verdict.value, detail=detail
    )


def note(store: PointStore, made: Tended) -> None:
    """What went wrong is counted: so often in a row since it was last done. Again of the same run counts once."""
    if made.part == FAILED:
        key = (made.what, made.subject)
        mine = [
            one
            for one in store.tended(repository=made.repository, host=made.host)
            if (one.what, one.subject) == key and one.part != CANCELLED
        ]
        made = replace(made, tries=_tries(made, mine))
    store.note_tended(made)


def _tries(made: Tended, mine: Iterable[Tended]) -> int:
    at = datetime.fromisoformat(made.at)
    done = [when for one in mine if one.part != FAILED and (when := datetime.fromisoformat(one.at)) <= at]
    last = next((one for one in mine if one.part == FAILED), None)
    if last is None or (done and max(done) >= datetime.fromisoformat(last.at)):
        return 1
    return max(last.tries, 1) + (last.run != made.run)


def subject_of(what: Tending, repository: Repository, host: str) -> str:
    """Whose it is to be noted as: what is done with points is each host's, also where they share a repository."""
    return host if what in OF_PLAN else repository.vault(host)


def something(count: int, *, items: tuple[tuple[str, str, str], ...] = (), notes: tuple[str, ...] = ()) -> Forecast:
    """A forecast of an errand, which always looks."""
    return Forecast(change={}, count=max(count, 1), reversible=0, items=items, notes=notes, reboot="no")


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

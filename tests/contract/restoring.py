"""A restore onto a host (see backing.py), taken through its steps as the rollout does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from tests.contract.backing import Rig

from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.restore import restoring
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.choosing import Wanted, choose
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import RestoreOrder
from mainstay.runner.operation import Forecast, Look, Outcome


class Restores:
    """Takes a restore through its steps as the rollout does."""

    def __init__(self, rig: Rig, plan: BackupPlan) -> None:
        self.rig, self.plan = rig, plan
        self.concerns: list[str] = []
        self.notes: list[str] = []
        self.measures: dict[str, Any] = {}
        self.during: Callable[[Callable[[], None], str], None] = lambda stop, name: None
        """Is called once when the job is under way: what asks it to stop, and its name."""
        self.outcome = Outcome(ok=False)
        self.done = ""

    def order(
        self, *paths: str, to: Path | None = None, into: str = "", confirmed: bool = False, **more: str
    ) -> RestoreOrder:
        account = more.pop("account", "")
        wanted = Wanted(self.rig.host.name, tuple(paths), **more)  # type: ignore[arg-type]  # names of texts
        choice = choose(wanted, self.rig.depot(), self.plan.repositories)
        return RestoreOrder(
            host=self.rig.host.name,
            on=self.rig.host.name,
            to=str(to or ""),
            pieces=choice.pieces,
            repositories=self.plan.repositories,
            confirmed=confirmed,
            into=into,
            source=self.plan.sources[choice.pieces[0].point.source] if into else None,
            account=account,
        )

    def operation(self, order: RestoreOrder) -> RestoreOperation:
        made = restoring(order.to_json(), self.rig.depot())
        assert isinstance(made, RestoreOperation)
        made._find = lambda: self.rig.program
        return made

    def preview(self, order: RestoreOrder) -> Forecast:
        shell = self.rig.shells.open(self.rig.host, write=False)
        try:
            return self.operation(order).preview(Look(self.rig.host, shell, cast(Any, None), 0.0, {}))
        finally:
            shell.close()

    def do(self, order: RestoreOrder, run: str) -> str:
        """Why it failed; empty where it did not."""
        shell = self.rig.shells.open(self.rig.host)
        try:
            work, operation = self.rig.work(shell, run), self.operation(order)
            operation.prepare(work, wait=10)
            change = operation.stage(work, operation.resolve(work, cast(Any, None), None), keep=False)
            change = RestoreChange.from_json(change.to_json())
            name = f"{run}-{self.rig.host.name}-apply"
            with operation.attend(work, change, name):
                shell.launch(operation.apply(work, change, name), work.fence)
                self.during(partial(operation.stop, work, change, name), name)
                state, output = self.rig.follow(shell, name, 120)
            outcome = self.outcome = operation.outcome(change, state.exit, output)
            work.found = outcome.measures
            wrong = operation.verify(work, change) if outcome.ok else (outcome.detail,)
            self.concerns, self.notes, self.measures = work.concerns, work.notes, {**work.found, **work.measures}
            self.done = operation.done(change, self.measures)
            return "; ".join(wrong)
        finally:
            shell.close()

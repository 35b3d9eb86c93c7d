"""What runs work with, and what they can do to a host: put together for one site."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from mainstay.console.gating import Gates
from mainstay.inventory.selectors import parse
from mainstay.inventory.value import Json
from mainstay.runner.patching.change import Undo
from mainstay.runner.patching.operation import PatchOperation
from mainstay.runner.patching.reversal import ReversalOperation
from mainstay.runner.plan import PatchPlan
from mainstay.runner.record import STAGE
from mainstay.runner.runs import Told
from mainstay.runner.toolbox import OperationFactory, Toolbox
from mainstay.schedules.approvals import said
from mainstay.schedules.turns import Turns

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.request import RunRequest


def toolbox(app: Application) -> Toolbox:
    return Toolbox(
        state=app.state,
        ledger=app.ledger,
        artifacts=app.artifacts,
        shells=app.shells,
        upkeep=app.upkeep,
        operations=app.operations,
        matches=lambda selector, host: parse(selector).matches(host),
        clock=app.clock,
        captures_max_size=app.site.captures_max_size,
        keep_engine=app.site.keep_engine,
        site_name=app.site.name,
        gate=Gates(app),
        said=lambda request: said(app.schedule_store, request),
        listener=Told([Turns(app.schedule_store, app.state), app.notices.listener]),
    )


def operations(app: Application) -> Mapping[str, OperationFactory]:
    patching = Patching(app)
    return {
        "patch": lambda request: patching.operation(request.operation),
        STAGE: lambda request: patching.operation(request.operation, ahead=True),
        "rollback": lambda request: ReversalOperation.of(request.operation, patching.operation),
        "backup": lambda request: _backup(app, request),
        **{kind: partial(_of_points, app) for kind in OF_POINTS},
    }


OF_POINTS = ("restore", "drill", "init", "retention", "prune", "check", "copy", "lock")
"""Kinds of runs at repositories and their points, beside backups."""


def _backup(app: Application, request: RunRequest) -> Any:
    from mainstay.recovery.backup.operation import BackupOperation

    return BackupOperation.of(request.operation, app.depot)


def _of_points(app: Application, request: RunRequest) -> Any:
    """Imported where a run is one of them: it is a tenth of a second that others need not wait for."""
    return of_points(app)[request.kind](request)


def of_points(app: Application) -> Mapping[str, OperationFactory]:
    from mainstay.console.tending import errands
    from mainstay.recovery.proving.order import DRILL
    from mainstay.recovery.proving.places import drilling
    from mainstay.recovery.restore import restoring
    from mainstay.recovery.restore.order import RESTORE

    return {
        RESTORE: lambda request: restoring(request.operation, app.depot),
        DRILL: lambda request: drilling(request.operation, app.depot, app.stores.directory),
        **errands(app),
    }


class Patching:
    """The operation of a plan that changes packages. What earlier runs kept for their way back is read once."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def operation(self, plan: Json, *, ahead: bool = False) -> PatchOperation:
        never = self._app.site.never_automatic
        found = PatchPlan.from_json(plan)
        return PatchOperation(found, self._app.packages, never=never, captured=self._captured, ahead=ahead)

    def _captured(self, name: str, version: str, arch: str) -> str | None:
        return self._captures.get((name, version, arch))

    @cached_property
    def _captures(self) -> Mapping[tuple[str, str, str], str]:
        """(package, version, architecture) → SHA-256 of the file that an earlier run kept for its way back."""
        found: dict[tuple[str, str, str], str] = {}
        for row in self._app.state.undos():
            if row.operation not in ("patch", "rollback"):
                continue
            for item in Undo.from_json(row.undo).items:
                if item.sha256 and item.to and self._app.artifacts.has(item.sha256):
                    found[item.name, item.to, item.arch] = item.sha256
        return found

"""An errand at a repository in memory, without a rollout around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from tests.unit.recovery.points import NOW, point

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.restic.fake import Memory, MemoryRepository
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.errand import Desk, Errand
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, Stopped, classify

WEB1 = Host(name="web1", address="10.0.0.1")
REPOSITORIES = {
    "main": {"name": "main", "url": "/srv/{host}", "password": "env:MAIN"},
    "away": {"name": "away", "url": "/away/{host}", "password": "env:AWAY"},
}


def plan(**more: Any) -> BackupPlan:
    given = {"name": "nightly", "targets": "all", "repository": "main", "sources": {"etc": {"paths": "/etc"}}}
    return BackupPlan.model_validate({**given, "repositories": REPOSITORIES, **more})


@dataclass
class World:
    memory: Memory = field(default_factory=Memory)
    points: MemoryPoints = field(default_factory=MemoryPoints)
    ios: dict[str, StepIO] = field(default_factory=dict)
    """By the step's name."""
    later: timedelta = timedelta()
    """Than NOW."""

    @property
    def depot(self) -> Depot:
        return Depot(
            points=self.points,
            restic=self.memory.open,
            gateway=cast(Any, None),  # nothing goes through it here
            resolve=lambda reference: Secret(f"the secret {reference}"),
            place=lambda path: path,
            clock=FakeClock(NOW),
            zone=ZoneInfo("UTC"),
        )

    def repository(self, name: str = "main") -> MemoryRepository:
        declared = plan().repositories[name]
        return self.memory.make(self.depot.access(declared, "web1", "maintain"))

    def backup(self, at: str, **more: Any) -> RecoveryPoint:
        """In the repository and in the store."""
        id = self.repository().back_up({"/etc/hosts": at.encode()}, host="web1", tags=["mainstay"], at=at)
        made = point(at, id=id, **more)
        self.points.add_point(made)
        return made

    def do(self, errand: Errand, run: str = "RUN") -> str:
        """Raises Stopped, as in a run."""
        desk = Desk(run, WEB1, MemoryArtifacts(), self._step, (NOW + self.later).timestamp)
        return errand.work(desk, Forecast(change={}, count=1, reversible=0))

    def _step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        io = self.ios[name] = StepIO(output=lambda data: None, progress=lambda line: None)
        try:
            return work(io)
        except MainstayError as error:
            verdict, kind = classify(error, touched=False)
            raise Stopped(name, verdict, error.message, kind, fault=error.kind) from error

    def concerns(self) -> list[str]:
        return [concern for io in self.ios.values() for concern in io.concerns]

"""Drills of one host, without an engine: each step is done once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from tests.unit.recovery.restore.repositories import Book, World

from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import Proof
from mainstay.recovery.proving.drill import DrillErrand
from mainstay.recovery.proving.order import DrillOrder, newest
from mainstay.recovery.proving.scratch import ELSEWHERE, LOCK, Place

WEB1 = Host(name="web1", address="192.0.2.1")


class Drill:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder)
        self.scratch = folder / "state/scratch"

    def plan(self, sources: dict[str, Any], **prove: Any) -> BackupPlan:
        self.world.repository()
        text = {"name": "nightly", "targets": "all", "maintenance_type": "preventive", "repository": "main"}
        more: dict[str, Any] = {"sources": sources, "prove": prove, "repositories": self.world.repositories}
        return BackupPlan.model_validate({**text, **more})

    def do(
        self,
        sources: dict[str, Any],
        *,
        book: Book | None = None,
        clock: Callable[[], float] = monotonic,
        kept: dict[str, Any] | None = None,
        dies_in: str = "",
        **prove: Any,
    ) -> tuple[str, Book]:
        """kept: what earlier steps returned. dies_in: the step in whose middle this process ends, as far as it can tell."""
        plan, book = self.plan(sources, **prove), book or Book()
        # Of a time when what a test has dated a day ahead is there too.
        now = self.world.depot.clock.now() + timedelta(days=2)
        chosen = newest(self.world.points.points(hosts=["web1"]), plan, now)
        errand = DrillErrand(
            DrillOrder(plan=plan, points={"web1": chosen}), self.world.depot, self.scratch, clock=clock
        )
        desk = Desks(book, kept if kept is not None else {}, dies_in, self)
        return errand.work(desk.desk(), errand.preview(WEB1, 0.0)), book

    def left_elsewhere(self, run: str = "run-1") -> list[Path]:
        """Folders beside the scratch places that drills of these points may have made."""
        names = [sha256(f"web1/{point.unit}".encode()).hexdigest()[:16] for point in self.world.points.points()]
        marks = [Place(self.scratch / f"{run}-{name}").mark for name in names]
        return [path for where in ELSEWHERE for mark in marks for path in where.glob(f"{mark}*")]

    def proofs(self) -> list[Proof]:
        return self.world.points.proofs()


class Killed(BaseException):
    """This process is gone."""


@dataclass
class Desks:
    book: Book
    kept: dict[str, Any]
    dies_in: str
    drill: Drill

    def desk(self) -> Any:
        desk = self.book.desk()

        def step(name: str, work: Any) -> Any:
            if name not in self.kept:
                if name == self.dies_in:
                    self._die()
                self.kept[name] = desk.step(name, work)
            return self.kept[name]

        return replace(desk, step=step)

    def _die(self) -> None:
        """With the place of the point half filled."""
        unit = self.dies_in.removeprefix("prove ")
        left = self.drill.scratch / f"{self.book.run}-{sha256(f'web1/{unit}'.encode()).hexdigest()[:16]}"
        left.mkdir()
        (left / LOCK).touch()
        (left / "files").mkdir()
        raise Killed

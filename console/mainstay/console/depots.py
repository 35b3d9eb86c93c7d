"""What backups, restores and proofs work with, put together for one site."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mainstay.console.bootstrap import Application
    from mainstay.inventory.host import Host
    from mainstay.recovery.depot import Depot
    from mainstay.recovery.points.contract import PointStore
    from mainstay.runner.plan import Plan


class Depots:
    """The part of Application that knows of repositories and points."""

    @cached_property
    def points(self) -> PointStore:
        """What backups have left behind, in the state's database; opened once something of it is asked for."""
        from mainstay.recovery.loading import renames
        from mainstay.recovery.points.renamed import RenamedPoints

        app = cast("Application", self)

        def stored() -> PointStore:
            from mainstay.recovery.points.adapters.sql import SqlPoints

            return SqlPoints(app.stores.database)

        return RenamedPoints(cast("PointStore", _Late(stored)), lambda: renames(app.plans.values()))

    @cached_property
    def depot(self) -> Depot:
        """Opens nothing, not even the state: a repository may be asked while that is still being imported."""
        return depot(cast("Application", self))

    def look_ahead(self, plan: Plan, hosts: Sequence[Host]) -> None:
        """A backup of one host is going to ask for its repository at once: restic may begin with that while what a run takes is
        still being imported. Of several hosts, one is asked for while the others are looked at."""
        from mainstay.recovery.plan import BackupPlan

        # Where there is no state yet, no host has been taken over.
        folder = cast("Application", self).site.state_folder
        if isinstance(plan, BackupPlan) and len(hosts) == 1 and folder.is_dir():
            self.depot.ask_ahead(plan.repositories[plan.repository], hosts[0].name)


class _Late:
    """Something that is made when it is first used."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Any:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made, name)


PROMPT = 60.0
"""Seconds that a repository has for an answer where somebody waits at a terminal."""


def prompt(app: Application) -> Depot:
    """The same for who only looks: a repository that does not answer is soon given up, and no lock is waited for."""
    from dataclasses import replace

    from mainstay.recovery.restic.adapters.command import Program
    from mainstay.recovery.restic.adapters.controller import opener

    program = Program(cache=app.site.state_folder / "restic", patience=PROMPT, lock_wait=0.0)
    return replace(app.depot, restic=opener(program))


def depot(app: Application) -> Depot:
    from mainstay.recovery.depot import Depot
    from mainstay.recovery.gateway.adapters.rclone import Rclone
    from mainstay.recovery.restic.adapters.command import Program
    from mainstay.recovery.restic.adapters.controller import opener

    return Depot(
        points=app.points,
        restic=opener(Program(cache=app.site.state_folder / "restic")),
        gateway=Rclone(),
        resolve=app.secrets.resolve,
        place=lambda path: str(app.site.root / path),
        clock=app.clock,
        zone=app.zone,
    )

"""An application that is played, with repositories in memory."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from tests.unit.console.fakes import NOW, FakeApplication, write_site
from tests.unit.console.keeping import SITE

from mainstay.console import bootstrap, tending
from mainstay.recovery.depot import Depot
from mainstay.recovery.restic.fake import Memory
from mainstay.runner import forecasting
from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.ports import Clock

HOSTS = ("web1", "web2", "web10", "db1")


class Keeping(FakeApplication):
    """With repositories in memory."""

    memory: Memory

    @cached_property
    def depot(self) -> Depot:
        return Depot(
            points=self.points,
            restic=self.memory.open,
            gateway=cast(Any, None),  # nothing goes through it here
            resolve=self.secrets.resolve,
            place=lambda path: str(self.site.root / path),
            clock=self.clock,
            zone=ZoneInfo("UTC"),
        )

    @cached_property
    def operations(self) -> Any:
        return tending.errands(self)

    hours = 0.0

    @property
    def clock(self) -> Clock:
        return FakeClock(NOW + timedelta(hours=self.hours))


def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    root = write_site(tmp_path / "kept", **SITE)
    for host in HOSTS:
        for name in (host, f"{host}-offsite"):
            path = root / "keys" / name
            path.parent.mkdir(exist_ok=True)
            path.touch(0o600)
            path.write_text(f"the word of {name}\n")
    keeping = Keeping(root)
    keeping.memory = Memory()
    monkeypatch.setattr(bootstrap, "load", lambda given: keeping)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", forecasting.forecast)
    monkeypatch.setattr("mainstay.console.verbs._following.EVERY", 0.005)
    return keeping


def made(app: Keeping, *hosts: str) -> None:
    """The repositories of these hosts are there."""
    plan = tending.backup_plans(app)[0]
    for host in hosts:
        for repository in plan.repositories.values():
            app.memory.make(app.depot.access(repository, host, "maintain"))


def again(app: Keeping, **files: str) -> Keeping:
    """The same, with other files in its site."""
    for name, text in files.items():
        (app.site.root / name).write_text(text)
    other = Keeping(app.site.root)
    other.memory = app.memory
    return other

"""Real repositories, made by real restic, with points that tests of restores and proofs can ask for."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from tests.servers.restic import restic
from tests.unit.recovery import snapshots
from tests.unit.recovery.snapshots import PASSWORD

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.gateway.contract import Gateway
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.errand import Desk
from mainstay.runner.ports import SystemClock
from mainstay.runner.steps import StepIO, Stopped, classify
from mainstay.runner.verdict import Verdict


@dataclass
class World:
    """folder: all of it. Repositories are `main` and whatever else is asked for."""

    folder: Path
    points: MemoryPoints = field(default_factory=MemoryPoints)
    repositories: dict[str, Repository] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def depot(self) -> Depot:
        program = Program(path=str(restic()), nice=0)
        return Depot(
            points=self.points,
            restic=opener(program),
            gateway=cast(Gateway, None),  # nothing here goes through one
            resolve=lambda reference: Secret(self.passwords.get(reference, PASSWORD)),
            place=lambda path: path,
            clock=SystemClock(),
            zone=ZoneInfo("UTC"),
        )

    def run(self, name: str, *words: str | Path, stdin: bytes | None = None, status: int = 0) -> bytes:
        env = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "TZ": "UTC"}  # restic reads --time in it
        argv = [restic(), "--no-cache", "-r", self.folder / name, *words]
        done = subprocess.run(argv, env=env, input=stdin, capture_output=True, check=False)
        assert done.returncode == status, done.stderr.decode()
        return done.stdout

    def repository(self, name: str = "main") -> Repository:
        if name not in self.repositories:
            snapshots.make(self.folder / name)  # restic's own way makes keys that take half a second to open
            self.repositories[name] = Repository(name=name, url=str(self.folder / name), password=f"file:{name}")
        return self.repositories[name]

    def backup(
        self, *paths: Path, source: str = "files", stdin: tuple[str, bytes] | None = None, **more: Any
    ) -> RecoveryPoint:
        """One snapshot and its point. stdin: name and content of a stream. at: of the point; name: of the repository."""
        name = more.pop("name", "main")
        self.repository(name)
        at: datetime = more.pop("at", datetime.now(UTC))
        words: list[str | Path] = ["backup", "--json", "-q", "--host", "web1", "--time", f"{at:%Y-%m-%d %H:%M:%S}"]
        words += ["--stdin", "--stdin-filename", stdin[0]] if stdin else list(paths)
        said = self.run(name, *words, stdin=stdin[1] if stdin else None)
        summary = json.loads(said.splitlines()[-1])
        point = RecoveryPoint.model_validate(
            {
                "id": summary["snapshot_id"],
                "host": "web1",
                "plan": "nightly",
                "source": source,
                "repository": name,
                "run": f"run-{summary['snapshot_id'][:6]}",
                "at": at.isoformat(),
                "made_at": at.isoformat(),
                "verdict": Verdict.SUCCEEDED,
                "files": summary["total_files_processed"],
                "bytes": summary["total_bytes_processed"],
                "paths": [f"/{stdin[0]}"] if stdin else [str(path) for path in paths],
                **more,
            }
        )
        self.points.add_point(point)
        return point


@dataclass
class Book:
    """What an errand has put down: a desk whose steps are done at once, and once."""

    run: str = "run-1"
    details: dict[str, str] = field(default_factory=dict)
    measures: dict[str, Any] = field(default_factory=dict)
    concerns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda name: None

    def step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        self.before(name)
        io = StepIO(output=lambda data: None, progress=lambda line: None)
        try:
            value = work(io)
        except MainstayError as error:
            verdict, kind = classify(error, touched=False)
            raise Stopped(name, verdict, getattr(error, "plain", error.message), kind) from error
        finally:
            self.measures |= io.measures
            self.concerns += io.concerns
            self.notes += io.notes
            self.details[name] = io.detail
        return json.loads(json.dumps(value))

    def desk(self, host: str = "web1") -> Desk:
        artifacts = MemoryArtifacts()
        return Desk(
            self.run, Host(name=host, address="192.0.2.1"), artifacts, self.step, lambda: datetime.now(UTC).timestamp()
        )


def tree(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def packs(repository: Path) -> Sequence[Path]:
    return sorted(path for path in (repository / "data").rglob("*") if path.is_file())

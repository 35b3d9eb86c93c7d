"""Backups of this machine as a host: a real sshd on loopback, a real restic, a real repository behind a REST server that only
takes; points in memory. The operation is taken through its steps as the rollout takes it."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from tests.contract.sshd import Sshd
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.rest import Rest
from tests.servers.restic import restic

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host, Ssh
from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup.change import BackupChange
from mainstay.recovery.backup.operation import BackupOperation
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.ports import Clock
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import ContactLost, Fence, JobState, JobStatus, Shell, ShellError
from mainstay.runner.steps import HostFailed

CANARY = "canary-7f1e-repository"
"""The password of every repository here, searched for in what is left."""
_RUNS = itertools.count(1)


class Wall(Clock):
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Ended:
    """How a backup ended. reason: what was wrong, or what there is to look at; both empty: it succeeded."""

    change: BackupChange
    state: JobState | None
    output: bytes
    outcome: Outcome | None
    failed: str
    concerns: list[str]
    measures: dict[str, Any]
    points: list[RecoveryPoint]

    @property
    def verdict(self) -> str:
        return "failed" if self.failed else "degraded" if self.concerns else "succeeded"

    @property
    def said(self) -> str:
        return self.failed or "; ".join(self.concerns)

    def of(self, unit: str) -> str:
        """The verdict of one source or item."""
        return str(self.measures["sources"][unit]["verdict"])


@dataclass
class Rig:
    """One host and its repository. program: restic on the host; find: the controller's own."""

    folder: Path
    shells: FabricShells
    host: Host
    rest: Rest
    name: str
    points: MemoryPoints = field(default_factory=MemoryPoints)
    program: Path = field(default_factory=restic)
    during: Callable[[Rig, str], None] = lambda rig, name: None
    """Is called once when the job is under way, with its name."""
    runs: set[str] = field(default_factory=set)
    """Ids of those that have held the host."""
    secrets: dict[str, str] = field(default_factory=dict)
    """More references and what they stand for."""
    gateway: Any = None
    stop: Callable[[], None] = lambda: None
    """Asks the job that is under way to stop, as the rollout does."""
    unknown: str = ""
    """Why it could not be known how the last backup ended, when it was first asked; empty where it could."""

    @property
    def repository_folder(self) -> Path:
        return self.rest.folder / self.name

    @property
    def state_dir(self) -> Path:
        return self.folder / "state"

    def make(self) -> None:
        make_repository(self.repository_folder, CANARY)

    def repository(self, **more: Any) -> Repository:
        own = {"user": self.rest.user, "password": "env:REST"}
        told: dict[str, Any] = {"name": "main", "url": f"{self.rest.url}{self.name}/", "password": "env:MAIN"}
        return Repository.model_validate({**told, "write": own, "shared": "accepted", "append_only": True, **more})

    def plan(self, sources: dict[str, Any], **more: Any) -> BackupPlan:
        repository = more.pop("repository", None) or self.repository()
        told = {"name": "nightly", "targets": "all", "repository": "main", "sources": sources, **more}
        return BackupPlan.model_validate(told).model_copy(update={"repositories": {"main": repository}})

    def depot(self) -> Depot:
        known = {"env:MAIN": CANARY, "env:REST": self.rest.secret, "env:OTHER": "other", **self.secrets}
        return Depot(
            points=self.points,
            restic=opener(Program(path=str(restic()), cache=self.folder / "cache", nice=0)),
            gateway=self.gateway,
            resolve=lambda reference: Secret(known[reference]),
            place=str,
            clock=Wall(),
            zone=ZoneInfo("UTC"),
        )

    def operation(self, plan: BackupPlan) -> BackupOperation:
        return BackupOperation(plan, self.depot(), lambda: self.program)

    def work(self, shell: Shell, run: str) -> HostWork:
        fence = Fence(number=next(_RUNS) + 100, state="tests", run=run, site="tests")
        hostlock.acquire(shell, fence, stale=frozenset(self.runs))
        self.runs.add(run)
        return HostWork(run, self.host, shell, fence, Facts(), cast(Artifacts, None))

    def back_up(self, plan: BackupPlan, *, patience: float = 240) -> Ended:
        """One run of the plan on this host, to its end."""
        shell = self.shells.open(self.host)
        try:
            run = f"RUN{next(_RUNS):05}"
            work, operation = self.work(shell, run), self.operation(plan)
            operation.prepare(work, wait=10)
            forecast = cast(Any, None)
            change = operation.stage(work, operation.resolve(work, forecast, None), keep=False)
            change = BackupChange.from_json(change.to_json())
            name = f"{run}-{self.host.name}-apply"
            with operation.attend(work, change, name):
                shell.launch(operation.apply(work, change, name), work.fence)
                self.stop = partial(operation.stop, work, change, name)
                self.during(self, name)
                state, output = self.follow(shell, name, patience)
            return self.verify(operation, work, change, state, output)
        finally:
            shell.close()

    def follow(self, shell: Shell, name: str, patience: float) -> tuple[JobState, bytes]:
        """As the rollout does: over breaks in contact."""
        output, offset = bytearray(), 0
        found: list[JobState] = []

        def ended() -> bool:
            nonlocal offset
            try:
                state = shell.poll(name, offset)
            except ShellError:
                return False
            output.extend(state.output)
            offset = state.offset
            found.append(state)
            return state.status is not JobStatus.RUNNING

        wait_until(ended, f"the job has ended: {bytes(output[-2000:])!r}", deadline=patience, every=0.1)
        return found[-1], bytes(output)

    def verify(
        self, operation: BackupOperation, work: HostWork, change: BackupChange, state: JobState, output: bytes
    ) -> Ended:
        outcome = operation.outcome(change, state.exit, output)
        work.found = outcome.measures
        failed = "" if outcome.ok else outcome.detail
        if outcome.ok:
            failed = self.judged(operation, work, change)
        points = self.points.points(run=change.run)
        return Ended(change, state, output, outcome, failed, work.concerns, {**work.found, **work.measures}, points)

    def judged(self, operation: BackupOperation, work: HostWork, change: BackupChange) -> str:
        """As the rollout does: asked again while it can't be known. Returns what was wrong."""
        wrong: list[str] = []

        def known() -> bool:
            try:
                operation.verify(work, change)
            except ContactLost as error:
                self.unknown = error.plain
                return False
            except HostFailed as error:
                wrong.append(error.message)
            return True

        wait_until(known, "it is known how it ended", deadline=60, every=0.2)
        return wrong[0] if wrong else ""

    def end(self) -> None:
        """Nothing of a test that went wrong goes on working after it."""
        for file in self.state_dir.glob("jobs/*/pid"):
            if not (file.parent / "rc").exists():
                kill_all(int(file.read_text().split()[0]))

    def restored(self, point: RecoveryPoint, into: Path) -> Path:
        """By restic alone, without anything of mainstay's."""
        env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(self.repository_folder)}
        argv = [str(restic()), "restore", "--no-lock", point.id, "--target", str(into)]
        subprocess.run(argv, env=env, check=True, capture_output=True)
        return into


@contextmanager
def rig(folder: Path, server: Sshd, rest: Rest, name: str) -> Iterator[Rig]:
    """A host of that name with a repository of its own, empty."""
    folder.mkdir(parents=True, exist_ok=True)
    ssh = Ssh.model_validate({"user": "root", "key": f"file:{server.key}", "port": server.port})
    host = Host(name=name, address="127.0.0.1", ssh=ssh)
    shells = FabricShells(lambda name: host, folder / "known_hosts", str, root=folder, state_dir=str(folder / "state"))
    shells.pins.pin(host, shells.scan(host))
    one = Rig(folder, shells, host, rest, name)
    try:
        one.make()
        # What would be sent is there already: sending it is tried on real hosts.
        there = one.state_dir / "bin" / f"restic-{_digest(one.program)[:12]}"
        there.parent.mkdir(parents=True)
        shutil.copy2(one.program, there)
        yield one
    finally:
        one.end()
        shells.close()


@cache
def _digest(program: Path) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()


def below(pid: int) -> list[int]:
    """All processes that this one has begun, and those of theirs."""
    try:
        text = " ".join(one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return []
    return [one for child in map(int, text.split()) for one in (child, *below(child))]


def kill_all(pid: int) -> None:
    """This process and all that it has begun, at once and with nothing cleaned up."""
    for one in (pid, *below(pid)):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)

"""A host of the fleet as the patch operation meets it: shells, a look, work, and one change from its beginning to its end."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainstay.inventory.facts import Facts, Filesystem
from mainstay.inventory.host import Host, Ssh
from mainstay.inventory.value import Json
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.operation import Forecast, HostWork, Look, Operation, Outcome
from mainstay.runner.patching.apt.manager import Apt
from mainstay.runner.patching.operation import PatchOperation
from mainstay.runner.plan import PatchPlan
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import Fence, JobStatus, Shell
from tests.fleet import Fleet
from tests.fleet import Host as Machine
from tests.fleet.system import wait_until

NUMBERS = itertools.count(1)
ROOMY = tuple(Filesystem(path=path, free_bytes=10**11) for path in ("/", "/var/cache/apt/archives"))


def plan(**fields: Any) -> PatchPlan:
    return PatchPlan.model_validate({"targets": "all", **fields})


def operation(**fields: Any) -> PatchOperation:
    return PatchOperation(plan(**fields), Apt())


@dataclass
class Bench:
    """One host, with everything that an operation needs of the runner."""

    machine: Machine
    key: Path
    shells: FabricShells
    artifacts: MemoryArtifacts = field(default_factory=MemoryArtifacts)
    said: list[str] = field(default_factory=list)
    printed: list[bytes] = field(default_factory=list)
    facts: Facts = field(default_factory=lambda: Facts(arch="amd64", systemd=True, filesystems=ROOMY))

    @property
    def host(self) -> Host:
        ssh = Ssh(user="ops", read_user="reader", key=f"file:{self.key}")
        return Host(name=self.machine.name, address=self.machine.address, ssh=ssh)

    @contextmanager
    def looking(self, sightings: dict[tuple[str, str], str] | None = None, **more: Any) -> Iterator[Look]:
        shell = self.shells.open(self.host, write=False)
        try:
            yield Look(self.host, shell, self.facts, time.time(), sightings or {}, **more)
        finally:
            shell.close()

    @contextmanager
    def working(self) -> Iterator[HostWork]:
        number = next(NUMBERS)
        fence = Fence(number=number, state="state-1", run=f"run-{number}", site="test")
        shell: Shell = self.shells.open(self.host)
        try:
            hostlock.acquire(shell, fence)
            yield HostWork(
                fence.run, self.host, shell, fence, self.facts, self.artifacts, self.printed.append, self.said.append
            )
            hostlock.release(shell, fence)
        finally:
            shell.close()

    def preview(self, op: Operation[Any, Any], **more: Any) -> Forecast:
        with self.looking(**more) as look:
            return op.preview(look)

    def apply(self, work: HostWork, op: Operation[Any, Any], change: Any) -> tuple[Outcome, bytes]:
        """Launch the job, follow it to its end."""
        job = op.apply(work, change, f"{work.run}-apply-{next(NUMBERS)}")
        work.shell.launch(job, work.fence)
        output = bytearray()

        def ended() -> bool:
            state = work.shell.poll(job.name, len(output))
            output.extend(state.output)
            self.last = state
            return state.status is not JobStatus.RUNNING

        wait_until(ended, "the job ends", deadline=240)
        return op.outcome(change, self.last.exit, bytes(output)), bytes(output)

    def change(self, op: Operation[Any, Any], *, keep: bool = False, tested: Json | None = None) -> Done:
        """The whole way: preview, prepare, resolve, stage, capture, apply, verify."""
        forecast = self.preview(op)
        with self.working() as work:
            repaired = op.prepare(work, wait=5)
            change = op.resolve(work, forecast, tested)
            change = op.stage(work, change, keep=keep)
            undo = op.capture(work, change)
            before = op.snapshot(work, change)
            outcome, output = self.apply(work, op, change)
            wrong = op.verify(work, change)
            after = op.snapshot(work, change)
        return Done(forecast, repaired, change, undo, outcome, output, wrong, before, after)

    def back(self, op: Operation[Any, Any], undo: Any) -> Done:
        """As a rollout goes back by itself: undo, prepare, stage, apply, verify."""
        change = op.undo(undo)
        with self.working() as work:
            repaired = op.prepare(work, wait=5)
            change = op.stage(work, change, keep=False)
            before = op.snapshot(work, change)
            outcome, output = self.apply(work, op, change)
            wrong = op.verify(work, change)
            after = op.snapshot(work, change)
        return Done(None, repaired, change, undo, outcome, output, wrong, before, after)


@dataclass
class Done:
    forecast: Forecast | None
    repaired: list[str]
    change: Any
    undo: Any
    outcome: Outcome
    output: bytes
    wrong: tuple[str, ...]
    before: Json
    after: Json


@contextmanager
def bench(fleet: Fleet, machine: Machine) -> Iterator[Bench]:
    shells = FabricShells(lambda name: Host(name=name, address=name), fleet.known_hosts, str)
    try:
        yield Bench(machine, fleet.key, shells)
    finally:
        shells.close()

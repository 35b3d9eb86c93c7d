"""Simulated machines, and the door to them. A machine keeps lock, packages, jobs and its boot; contact to it may be cut
for a while or for ever, for everybody or for one process. The lock's rules are those of the product's public fake."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.shell import scripts
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    Fence,
    FileMissing,
    Job,
    JobState,
    JobStatus,
    Output,
    Unreachable,
)
from mainstay.runner.shell.fakelock import FakeLock
from mainstay.runner.shell.refusals import refusal
from tests.sim.schedule import Schedule

if TYPE_CHECKING:
    from tests.sim.process import Process

T = TypeVar("T")

FOREVER = float("inf")
CONNECT_TIMEOUT = 10.0
Tell = Callable[..., None]


@dataclass(slots=True)
class SimJob:
    started: float
    takes: float
    work: Callable[[], int]
    """What it does as it ends; its exit status."""
    exit: int | None = None
    lost: bool = False


@dataclass(slots=True)
class Cut:
    """No contact from `since` until `until`; process: for that one alone."""

    since: float
    until: float
    process: str = ""


@dataclass
class Machine:
    """wrong: what goes wrong here, in words (see faults.py)."""

    name: str
    schedule: Schedule
    chance: Random
    tell: Tell
    packages: dict[str, str]
    cohort: str = "12"
    wrong: frozenset[str] = frozenset()
    reboot_wanted: bool = False
    boot: int = 1
    up: bool = True
    half: bool = False
    """A package is half-configured."""
    lock: FakeLock = field(default_factory=FakeLock)
    jobs: dict[str, SimJob] = field(default_factory=dict)
    cuts: list[Cut] = field(default_factory=list)
    drops: float = 0.0
    """How likely a command loses its connection."""

    def away(self, process: Process) -> bool:
        now = self.schedule.now
        return not self.up or any(
            cut.since <= now < cut.until and cut.process in ("", process.name) for cut in self.cuts
        )

    def go_down(self, seconds: float) -> None:
        """Power off, or a reboot: jobs that run are lost. Up again after so long with a new boot id, or never."""
        if not self.up:
            return
        self.up = False
        for job in self.jobs.values():
            if job.exit is None and not job.lost:
                job.lost, self.half = True, True
        self.tell("host-down", host=self.name, seconds=seconds)
        if seconds < FOREVER:
            self.schedule.spawn(f"{self.name} boots", self._come_up, after=seconds)

    def _come_up(self) -> None:
        self.up, self.boot = True, self.boot + 1
        self.tell("host-up", host=self.name, boot=self.boot)

    def begin(self, job: Job) -> None:
        """Start a job detached; one that is there already is left as it is. Its script says what it is (see work.py)."""
        if job.name in self.jobs:
            return
        words = json.loads(job.script)
        if words["kind"] == "reboot":
            takes, work = 1.0, lambda: self._reboot(words["boot_id"])
        else:
            takes = self.chance.uniform(2.0, 60.0)
            if "postinst-hangs" in self.wrong and not words["back"]:
                takes = 3 * 3600.0
            work = lambda: self._change(words)  # noqa: E731 - two of a kind
            self.tell("meant", host=self.name, run=words["run"], items=words["items"])
        made = self.jobs[job.name] = SimJob(self.schedule.now, takes, work)

        def end() -> None:
            if not made.lost and self.up:
                made.exit = made.work()

        self.schedule.spawn(f"{self.name} {job.name}", end, after=takes)

    def _change(self, words: Json) -> int:
        for name, _, after in words["items"]:
            self.packages[name] = after
        self.tell("changed", host=self.name, run=words["run"], back=words["back"], items=words["items"])
        if ("undo-fails" if words["back"] else "apply-fails") in self.wrong:
            self.half = True
            return 100
        return 0

    def _reboot(self, boot_id: str) -> int:
        if boot_id == self.boot_id:
            self.go_down(FOREVER if "no-return" in self.wrong else self.chance.uniform(10.0, 90.0))
        return 0

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boot}"

    def well(self) -> bool:
        """Whether its health checks pass now."""
        new = any(version != "1" for version in self.packages.values())
        return not (self.half or "red" in self.wrong or ("red-with-new" in self.wrong and new))


class SimShell:
    """Implements Shell for one process. Everything goes through `command`."""

    def __init__(self, machine: Machine, process: Process, host: Host) -> None:
        self.machine = machine
        self.process = process
        self._host = host

    @property
    def host(self) -> Host:
        return self._host

    def command(self, what: str, effect: Callable[[], T], fence: Fence | None = None, seconds: float = 0.0) -> T:
        """There and back again, with all that may happen on the way. seconds: what the work itself takes there."""
        machine, schedule = self.machine, self.machine.schedule
        name, chance = machine.name, machine.chance
        schedule.pause(chance.uniform(0.005, 0.1))
        if machine.away(self.process):
            machine.tell("no-contact", host=name, what=what)
            schedule.pause(CONNECT_TIMEOUT)
            raise Unreachable(name, "no route to host")
        lot = chance.random()
        if lot < machine.drops / 2:
            machine.tell("contact-lost", host=name, what=what, done=False)
            raise ContactLost(name, "the connection broke")
        if fence is not None:
            words = machine.lock.check(fence.number, fence.state, fence.run)
            if words:
                machine.tell("refused", host=name, what=what, number=fence.number, why=words[0])
                raise refusal(name, words)
            machine.tell("commanded", host=name, what=what, number=fence.number, run=fence.run)
        boot = machine.boot
        result = effect()
        schedule.pause(seconds + chance.uniform(0.005, 0.1))
        if machine.away(self.process) or machine.boot != boot or lot < machine.drops:
            machine.tell("contact-lost", host=name, what=what, done=True)
            raise ContactLost(name, "the connection broke")
        return result

    def run(self, command: Command) -> Output:
        if command.argv[2:3] == (scripts.READ_LOCK,):
            return self.command("read lock", lambda: Output(0, self.machine.lock.text().encode()))
        assert command.argv[2:3] == (scripts.CHANGE_LOCK,), f"not foreseen: {command.argv[:2]}"
        words = list(command.argv[4:])
        return self.command(f"lock {words[0]}", lambda: self._change_lock(words))

    def _change_lock(self, words: list[str]) -> Output:
        held = self.machine.lock.run
        said = self.machine.lock.change(words)
        kind = "commanded" if said.startswith("mainstay-lock ok") else "refused"
        if words[0] == "release" and held != words[4]:
            kind = "not-held"  # which is success, and changes nothing
        self.machine.tell(
            kind,
            host=self.machine.name,
            what=f"lock {words[0]}",
            number=int(words[2]),
            run=words[4],
            why=said[14:60].split()[0],
        )
        return Output(0, said.encode())

    def put(self, source: bytes | Path, path: str, *, fence: Fence, mode: int = 0o600) -> None:
        self.command(f"put {path}", lambda: None, fence)

    def get(self, path: str, into: BinaryIO, *, sudo: bool = False, limit: int = 1 << 31) -> str:
        raise FileMissing(self._host.name, f"there is no file {path}")

    def launch(self, job: Job, fence: Fence) -> None:
        self.command(f"launch {job.name}", lambda: self.machine.begin(job), fence)

    def poll(self, name: str, offset: int = 0, *, patience: float = 0.0) -> JobState:
        return self.command(f"poll {name}", lambda: self._state(name))

    def forward(self, local: tuple[str, int], port: int = 0) -> AbstractContextManager[int]:
        raise AssertionError("not foreseen: a forward")

    def _state(self, name: str) -> JobState:
        job = self.machine.jobs.get(name)
        if job is None:
            return JobState(JobStatus.ABSENT)
        if job.lost:
            return JobState(JobStatus.LOST)
        return JobState(JobStatus.RUNNING) if job.exit is None else JobState(JobStatus.EXITED, job.exit)

    def close(self) -> None:
        """Nothing is open."""


class SimShells:
    """Implements Shells for one process."""

    def __init__(self, machines: dict[str, Machine], process: Process) -> None:
        self._machines = machines
        self._process = process

    def open(self, host: Host, *, write: bool = True) -> SimShell:
        return SimShell(self._machines[host.name], self._process, host)

    def close(self) -> None:
        """Nothing is open."""

"""Hosts in memory, for tests of what stands on Shell. Held to the suite that the real one passes.

web1 = FakeHost("web1").answer("systemctl is-active nginx", "active\\n")
web1.job("run1-web1-apply", output="Setting up …\\n", exit=0, effect=lambda host: host.files.update(…))
shells = FakeShells([web1])
web1.drop("apt-get", after=True)     # the command runs, its answer is lost
web1.unreachable = "no route to host"
"""

from __future__ import annotations

import hashlib
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mainstay.inventory.host import Host, Ssh
from mainstay.runner.shell import scripts
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    DeadlineExceeded,
    Fence,
    FileMissing,
    HostKeyRefused,
    Job,
    JobState,
    JobStatus,
    Output,
    ShellError,
    SudoRefused,
    Unreachable,
)
from mainstay.runner.shell.fakelock import FakeLock
from mainstay.runner.shell.jobs import check_name
from mainstay.runner.shell.quote import quote, with_env
from mainstay.runner.shell.refusals import not_forwarded, port_taken, refusal
from mainstay.runner.shell.streams import Kept

Match = str | Callable[[Command], bool]
"""The first words of an argv as one writes them in a shell, or a question about the command. The last match wins."""
Reply = Output | bytes | str
Handler = Callable[["FakeHost", Command], Reply]


class Unanswered(AssertionError):
    """A test's host was asked something that the test did not foresee."""


class FakeTime:
    """Seconds that pass only when somebody lets them."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(slots=True)
class FakeJob:
    """What a launched job does: prints, takes its time, changes the host when it ends, exits."""

    output: bytes = b""
    exit: int = 0
    seconds: float = 0.0
    effect: Callable[[FakeHost], object] | None = None
    job: Job | None = None
    started: float = 0.0
    lost: bool = False
    done: bool = False


@dataclass(slots=True)
class FakeForward:
    """One that was asked for: where it leads, its port on the host, and whether it is open still."""

    local: tuple[str, int]
    port: int
    open: bool = True


@dataclass(slots=True)
class _Fault:
    matches: Callable[[Command], bool]
    after: bool
    times: int


@dataclass
class FakeHost:
    """One machine. Everything on it may be looked at and changed by the test.

    calls: the commands that were executed, in order, the lock's own and the file transfers left out. contacts: how
    often something reached it at all. sudo: whether its login may use sudo. slow: seconds that each answer takes.
    """

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    lock: FakeLock = field(default_factory=FakeLock)
    time: FakeTime = field(default_factory=FakeTime)
    unreachable: str = ""
    key: str = "known"
    """`known`, `unknown` or `changed`."""
    sudo: bool = True
    forwarding: bool = True
    """Whether its sshd lets ports be forwarded."""
    forwards: list[FakeForward] = field(default_factory=list)
    slow: float = 0.0
    boots: int = 1
    calls: list[Command] = field(default_factory=list)
    contacts: int = 0
    _handlers: list[tuple[Callable[[Command], bool], Handler]] = field(default_factory=list)
    _scripted: list[tuple[str, FakeJob]] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)
    _alone: threading.RLock = field(default_factory=threading.RLock)

    def host(self, **ssh: object) -> Host:
        """Its entry in an inventory."""
        return Host(name=self.name, address=f"{self.name}.test", ssh=Ssh.model_validate(ssh))

    def on(self, match: Match, handler: Handler) -> FakeHost:
        """Answer such commands by a function of the host and the command."""
        self._handlers.append((_matcher(match), handler))
        return self

    def answer(
        self,
        match: Match,
        stdout: bytes | str = b"",
        *,
        stderr: bytes | str = b"",
        status: int = 0,
        seconds: float = 0.0,
    ) -> FakeHost:
        reply = Output(status, _bytes(stdout), _bytes(stderr), seconds)
        return self.on(match, lambda host, command: reply)

    def job(
        self,
        prefix: str,
        output: bytes | str = b"",
        *,
        exit: int = 0,
        seconds: float = 0.0,
        effect: Callable[[FakeHost], object] | None = None,
    ) -> FakeHost:
        """What jobs whose name begins so do. Unscripted ones print nothing and exit with 0 at once."""
        self._scripted.append((prefix, FakeJob(_bytes(output), exit, seconds, effect)))
        return self

    def drop(self, match: Match, *, after: bool, times: int = 1) -> FakeHost:
        """Lose contact at such a command: after it was executed, or before. `launch` and `put` match by their name."""
        self._faults.append(_Fault(_matcher(match), after, times))
        return self

    def reboot(self) -> None:
        """Jobs that run are lost."""
        with self._alone:
            self.boots += 1
            for job in self.jobs.values():
                job.lost = job.lost or not self._ended(job)

    def reach(self) -> None:
        if self.unreachable:
            raise Unreachable(self.name, self.unreachable)
        if self.key != "known":
            trouble = "is not known" if self.key == "unknown" else "has changed"
            option = "" if self.key == "unknown" else " --replace"
            raise HostKeyRefused(
                self.name, f"its host key {trouble}; nothing was sent", hint=f"mainstay hosts trust {self.name}{option}"
            )
        self.contacts += 1

    def perform(self, command: Command) -> Output:
        """Run the command as far as the faults let it."""
        fault = next((fault for fault in self._faults if fault.times > 0 and fault.matches(command)), None)
        if fault:
            fault.times -= 1
        if fault and not fault.after:
            raise ContactLost(self.name, "the connection broke")
        self.calls.append(command)
        handler = next((handler for matches, handler in reversed(self._handlers) if matches(command)), None)
        if handler is None:
            raise Unanswered(
                f"{self.name} was asked for {quote(command.argv)}; foresee it with host.answer(…) or host.on(…)"
            )
        reply = handler(self, command)
        output = reply if isinstance(reply, Output) else Output(0, _bytes(reply))
        taken = output.seconds + self.slow
        self.time.advance(min(taken, command.deadline))
        if taken > command.deadline:
            raise DeadlineExceeded(
                self.name, f"{command.argv[0]} did not end within {command.deadline:g} s; it may still be running"
            )
        if fault:
            raise ContactLost(self.name, "the connection broke")
        out, err = _limited(output.stdout, command.limit), _limited(output.stderr, command.limit)
        return Output(output.status, out.value(), err.value(), taken, out.dropped + err.dropped)

    def listen(self, local: tuple[str, int], port: int) -> FakeForward:
        """Raises ForwardRefused."""
        with self._alone:
            if not self.forwarding:
                raise not_forwarded(self.name)
            if port and any(one.open and one.port == port for one in self.forwards):
                raise port_taken(self.name, port)
            self.forwards.append(FakeForward(local, port or 40001 + len(self.forwards)))
            return self.forwards[-1]

    def start(self, job: Job) -> None:
        with self._alone:
            if job.name in self.jobs:
                return
            found = next((one for prefix, one in reversed(self._scripted) if job.name.startswith(prefix)), FakeJob())
            self.jobs[job.name] = FakeJob(
                found.output, found.exit, found.seconds, found.effect, job=job, started=self.time.now
            )

    def state(self, name: str, offset: int) -> JobState:
        with self._alone:
            job = self.jobs.get(name)
            if job is None:
                return JobState(JobStatus.ABSENT)
            output = job.output[offset:]
            if job.lost:
                return JobState(JobStatus.LOST, None, output, offset + len(output))
            if not self._ended(job):
                return JobState(JobStatus.RUNNING, None, output, offset + len(output))
            return JobState(JobStatus.EXITED, job.exit, output, offset + len(output))

    def _ended(self, job: FakeJob) -> bool:
        if not job.done and not job.lost and self.time.now >= job.started + job.seconds:
            job.done = True
            if job.effect:
                job.effect(self)
        return job.done


class FakeShells:
    """Opens shells on fake hosts; a name that is none of them can't be reached."""

    def __init__(self, hosts: Iterable[FakeHost] = ()) -> None:
        self.hosts = {host.name: host for host in hosts}

    def __getitem__(self, name: str) -> FakeHost:
        return self.hosts[name]

    def open(self, host: Host, *, write: bool = True) -> FakeShell:
        there = self.hosts.get(host.name) or FakeHost(host.name, unreachable="there is no such host")
        return FakeShell(there, host, write=write)

    def close(self) -> None: ...


class FakeShell:
    def __init__(self, there: FakeHost, host: Host, *, write: bool = True) -> None:
        self.there = there
        self._host = host
        self._write = write

    @property
    def host(self) -> Host:
        return self._host

    def close(self) -> None: ...

    def run(self, command: Command) -> Output:
        # What the real one refuses before it connects is refused here as well.
        with_env(command.env, command.argv)
        self._may(command.sudo or command.user is not None or command.fence is not None)
        self.there.reach()
        self._sudo(command.sudo or command.user is not None or command.fence is not None)
        if command.argv[2:3] == (scripts.READ_LOCK,):
            return Output(0, self.there.lock.text().encode())
        if command.argv[2:3] == (scripts.CHANGE_LOCK,):
            return Output(0, self.there.lock.change(list(command.argv[4:])).encode())
        self._fence(command.fence)
        return self.there.perform(command)

    def put(self, source: bytes | Path, path: str, *, fence: Fence, mode: int = 0o600) -> None:
        data = source if isinstance(source, bytes) else source.read_bytes()
        self._change(fence, Command(("put", path)), lambda: self._write_file(path, data, mode))

    def get(self, path: str, into: BinaryIO, *, sudo: bool = False, limit: int = 1 << 31) -> str:
        self._may(sudo)
        self.there.reach()
        self._sudo(sudo)
        data = self.there.files.get(path)
        if data is None:
            raise FileMissing(self._host.name, f"there is no file {path}")
        if len(data) > limit:
            raise ShellError(self._host.name, f"{path} is larger than {limit} bytes")
        into.write(data)
        return hashlib.sha256(data).hexdigest()

    def launch(self, job: Job, fence: Fence) -> None:
        check_name(job.name)
        self._change(fence, Command(("launch", job.name)), lambda: self.there.start(job))

    def poll(self, name: str, offset: int = 0, *, patience: float = 0.0) -> JobState:
        check_name(name)
        self._may(True)
        self.there.reach()
        self._sudo(True)
        return self.there.state(name, offset)

    @contextmanager
    def forward(self, local: tuple[str, int], port: int = 0) -> Iterator[int]:
        self.there.reach()
        one = self.there.listen(local, port)
        try:
            yield one.port
        finally:
            one.open = False

    def _write_file(self, path: str, data: bytes, mode: int) -> None:
        self.there.files[path] = data
        self.there.modes[path] = mode

    def _change(self, fence: Fence, command: Command, work: Callable[[], None]) -> None:
        self._may(True)
        self.there.reach()
        self._sudo(True)
        self._fence(fence)
        for fault in self.there._faults:
            if fault.times > 0 and fault.matches(command):
                fault.times -= 1
                if fault.after:
                    work()
                raise ContactLost(self._host.name, "the connection broke")
        work()

    def _may(self, root: bool) -> None:
        if root and not self._write:
            raise SudoRefused(self._host.name, "this connection was opened for reading; it never uses sudo")

    def _sudo(self, root: bool) -> None:
        if root and self._host.ssh.user != "root" and not self.there.sudo:
            raise SudoRefused(self._host.name, f"sudo refused {self._host.ssh.user}: a password is required")

    def _fence(self, fence: Fence | None) -> None:
        if fence is not None:
            words = self.there.lock.check(fence.number, fence.state, fence.run)
            if words:
                raise refusal(self._host.name, words)


def _matcher(match: Match) -> Callable[[Command], bool]:
    if not isinstance(match, str):
        return match
    words = tuple(shlex.split(match))
    return lambda command: command.argv[: len(words)] == words


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _limited(data: bytes, limit: int) -> Kept:
    kept = Kept(limit)
    kept(data)
    return kept

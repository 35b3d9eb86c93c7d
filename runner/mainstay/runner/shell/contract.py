"""Shell: everything that reaches a host goes through this door, and carries a deadline and (if it changes something) the fence."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host

STATE_DIR = "/var/lib/mainstay"
"""On every managed host, root's, 0755. Everybody may read (0644) and only root may write:

`owner`: lines `site=…`, `state=…`, `run=…` (the last run that gave the lock back);
`lock`: lines `run=…`, `fence=…`, `since=…` (RFC 3339 UTC); absent where no run holds the host;
`fence`: one line, the highest number seen;
`jobs/<name>/{run,script,started,out,rc}`: root's alone (0700); output and exit status of detached work.
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """Who commands. A host refuses a number lower than the highest it has seen, and any other state's id.

    number: grows with every claim on any host of this state. state: id of the state database. run: id of the run.
    """

    number: int
    state: str
    run: str
    site: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One short command. `argv` never becomes shell text that was not quoted by `quote`.

    sudo: run as root; user: run as that user (via root). deadline: seconds, enforced by us, not by the library.
    A command with a fence changes the host; one without only reads. A fenced one that outlives its deadline is stopped on
    the host a few seconds later: what may take long is a Job.
    limit: bytes of stdout and of stderr that are kept (head and tail); the rest is drained and counted.
    """

    argv: tuple[str, ...]
    sudo: bool = False
    user: str | None = None
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 60.0
    fence: Fence | None = None
    limit: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """What came of a command. Bytes are raw and hostile: clean them before a person sees them."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    dropped: int = 0
    """Bytes over the limit that were not kept."""

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Job:
    """Long or risky work that outlives the connection. Runs as root, as `sh -s` fed with `script`, args as $1…

    name: unique per run, host and step, [A-Za-z0-9_-]+; it names the unit, so that launching twice is one job.
    """

    name: str
    script: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None


class JobStatus(StrEnum):
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"
    """Neither running nor ended with a status: it was killed, or the host went down in the middle."""
    ABSENT = "absent"
    """This host has never heard of it."""


@dataclass(frozen=True, slots=True)
class JobState:
    status: JobStatus
    exit: int | None = None
    output: bytes = b""
    """Output from `offset` on; combined stdout and stderr in the order written."""
    offset: int = 0
    """Where the next poll goes on."""


class Shell(Protocol):
    """A connection to one host, opened when first used and opened again when it broke.

    Raises Unreachable (nothing was sent), HostKeyRefused (nothing was sent), ContactLost (sent, end unknown),
    DeadlineExceeded, SudoRefused, FenceRefused. Safe for one thread at a time.
    """

    @property
    def host(self) -> Host: ...

    def run(self, command: Command) -> Output:
        """Run and wait. A status other than 0 is an answer, not an exception."""

    def put(self, source: bytes | Path, path: str, *, fence: Fence, mode: int = 0o600) -> None:
        """Write a file as root, whole or not at all; parents are made (0755)."""

    def get(self, path: str, into: BinaryIO, *, sudo: bool = False, limit: int = 1 << 31) -> str:
        """Copy a file from the host; returns its SHA-256 in hex. Raises FileMissing."""

    def launch(self, job: Job, fence: Fence) -> None:
        """Start the job detached. One that exists already, in whatever state, is success."""

    def poll(self, name: str, offset: int = 0, *, patience: float = 0.0) -> JobState:
        """How the job is, and what it has printed since `offset`. patience: seconds for which the host may put off the answer
        that it still works, so that its end is heard of at once; it need not."""

    def forward(self, local: tuple[str, int], port: int = 0) -> AbstractContextManager[int]:
        """While it is open, what connects to 127.0.0.1:`port` on the host arrives at `local`, as seen from the controller.

        port 0: the host's sshd chooses. Yields the port on the host; it listens on loopback alone. A connection that breaks
        meanwhile is made again, and the forward with it (same port), in the background, until it is closed: what was under
        way is reset on both sides. Nothing listens at `local`: the connection is closed. Whoever may log in to the host can
        reach the port, and can take it while the connection is broken: what is said there needs a password of its own.
        It has a connection to itself: this shell may be used meanwhile, also by another thread.
        Raises ForwardRefused (sshd does not allow it, or the port is taken), Unreachable, HostKeyRefused.
        """

    def close(self) -> None: ...


class Shells(Protocol):
    """Opens shells, and keeps what can be shared (jump hosts, keys)."""

    def open(self, host: Host, *, write: bool = True) -> Shell:
        """write=False uses `read_user` and never sudo."""

    def close(self) -> None: ...


class ShellError(MainstayError):
    """Something about reaching a host. `host` is its name."""

    kind = "ssh"

    def __init__(self, host: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{host}: {message}", hint=hint)
        self.host = host
        self.plain = message


class Unreachable(ShellError):
    """No connection; nothing was sent."""

    kind = "unreachable"


class HostKeyRefused(Unreachable):
    """The host's key is not pinned, or another one than the pinned; nothing was sent."""

    kind = "host-key"


class ContactLost(ShellError):
    """The connection broke after something was sent; how that ended is not known."""

    kind = "contact-lost"


class DeadlineExceeded(ContactLost):
    """The command did not end in its time; it may still be running."""

    kind = "deadline"


class SudoRefused(ShellError):
    kind = "sudo"


class FenceRefused(ShellError):
    """The host has seen a newer commander, or belongs to another state. Nothing was changed."""

    kind = "fence"
    exit_code = 4


class ForwardRefused(ShellError):
    """The host's sshd does not let a port of its loopback be forwarded, or not this one."""

    kind = "forward"


class FileMissing(ShellError):
    kind = "file-missing"

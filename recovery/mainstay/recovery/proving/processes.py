"""Programs of this machine that look at what was restored: with few rights, in the scratch place, and with an end."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mainstay.recovery.proving.attempt import CONTROLLER, Late, Untried
from mainstay.runner import calling_off

KEPT = 65536
"""Bytes of what a program prints that are read."""
WATCHING = 0.1
"""Seconds between two looks at what a program writes."""


@dataclass(frozen=True, slots=True)
class User:
    """Who runs a program, and on which machine. Where mainstay is not root: itself."""

    uid: int
    gid: int
    name: str
    machine: str = CONTROLLER

    @classmethod
    def of(cls, *names: str, machine: str = CONTROLLER) -> User:
        """The first of them that there is, if mainstay is root. Raises Untried where it has nobody to be instead of root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), pwd.getpwuid(os.geteuid()).pw_name, machine)
        for name in (*names, "nobody"):
            with suppress(KeyError):
                found = pwd.getpwnam(name)
                return cls(found.pw_uid, found.pw_gid, name, machine)
        raise Untried(f"mainstay is root on {machine}, which has no user {names[0]} or nobody to run a server")

    @property
    def other(self) -> bool:
        """Whether it is somebody else than mainstay itself."""
        return os.geteuid() == 0


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    stdout: bytes
    """The first KEPT bytes."""
    stderr: bytes
    """The last KEPT bytes."""


def environment(folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder), "TZ": "UTC", **(more or {})}


def run(
    argv: Sequence[str],
    folder: Path,
    user: User,
    seconds: float,
    *,
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Ended:
    """Run and wait. watch: is called again and again meanwhile; what it raises ends it. Raises Late after so many seconds, Untried
    where there is no such program."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = start(argv, folder, user, stdin=stdin, out=out, errors=errors, env=env)
        try:
            status = _ended(process, seconds, watch)
        except subprocess.TimeoutExpired:
            raise Late(f"max_time was over while {Path(argv[0]).name} worked", limit=True) from None
        finally:
            end(process)
        out.seek(0)
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - KEPT))
        return Ended(status, out.read(KEPT), errors.read(KEPT))


def _ended(process: subprocess.Popen[bytes], seconds: float, watch: Callable[[], None]) -> int:
    """Its exit status. Raises TimeoutExpired, Cancelled, and what `watch` does."""
    until = time.monotonic() + seconds
    while True:
        calling_off.look()
        watch()
        try:
            return process.wait(max(0.0, min(WATCHING, until - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise


def start(
    argv: Sequence[str],
    folder: Path,
    user: User,
    *,
    out: IO[bytes],
    errors: IO[bytes],
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """In a session of its own."""
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin or subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            cwd=folder,
            env=environment(folder, env),
            start_new_session=True,
            umask=0o077,
            user=user.uid if user.other else None,
            group=user.gid if user.other else None,
            extra_groups=[] if user.other else None,
        )
    except FileNotFoundError:
        raise Untried(f"there is no program {argv[0]} on {user.machine}") from None


def end(process: subprocess.Popen[bytes], how: int = signal.SIGKILL, patience: float = 30.0) -> None:
    """What it has started and left behind goes with the place."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""Whether an executor's process lives: it holds a lock on a file, and the kernel lets go of it when the process dies.

Executor ids are never used twice, so a file that is gone means an executor that is gone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Liveness:
    """`<directory>/<executor>.lock`; the pid in it is for people. Not for network file systems."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, int] = {}
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)

    def _path(self, executor: str) -> Path:
        return self._directory / f"{executor}.lock"

    def hold(self, executor: str) -> None:
        """From now until `release` or this process's end the executor is alive."""
        number = os.open(self._path(executor), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(number, fcntl.LOCK_EX)
        os.ftruncate(number, 0)
        os.write(number, f"{os.getpid()}\n".encode())
        self._held[executor] = number

    def release(self, executor: str) -> None:
        number = self._held.pop(executor, None)
        if number is not None:
            self._path(executor).unlink(missing_ok=True)
            os.close(number)

    def alive(self, executor: str) -> bool:
        """Whether some process, this one included, holds the executor's lock."""
        if not executor or "/" in executor:
            return False
        try:
            number = os.open(self._path(executor), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two processes that ask at the same time don't take each other for the owner.
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(number)
        return False

    def forget(self, executor: str) -> None:
        """Remove a dead executor's file."""
        self._path(executor).unlink(missing_ok=True)

    def seen(self) -> list[str]:
        """Executors that have a file, alive or not."""
        return sorted(path.stem for path in self._directory.glob("*.lock"))

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """One process at a time takes over from the dead."""
        number = os.open(self._directory / "recovery", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)

"""Whether an executor's process lives: it holds a lock that the kernel (or the database's server) lets go of when it
dies, and it shows again and again that it is not frozen.

Executor ids are never used twice, so one that holds nothing is gone for ever.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

log = logging.getLogger("mainstay.runner.engine")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. Tests make them shorter; what they mean to each other has to stay."""

    lease: float = 30.0
    """An executor that has given no sign of life for so long is frozen, and its work is taken over."""
    give_up: float = 20.0
    """One that notices that it has given none for so long is not the owner any more. Less than `lease`."""
    beat: float = 1.0
    """Between two signs of life."""
    answer: float = 5.0
    """PostgreSQL: how long its server may take to answer one."""
    fresh: float = 2.0
    """PostgreSQL: a step begins only when the lock was known to be held no longer ago than this."""
    grace: float = 2.5
    """PostgreSQL: a lock is free for at least so long before its executor's work is taken over. More than `fresh`."""
    look: float = 2.0
    """Between two looks of a serving process at what the dead have left."""


class Liveness(Protocol):
    """This process's own executor, and what can be known of the others."""

    @property
    def lost(self) -> threading.Event:
        """This process can't be sure of its work any more; never unset."""

    def hold(self, executor: str, version: str, serve: bool, when_lost: Callable[[], None]) -> None:
        """From now on until `release`, this process's end or `lost` the executor is alive."""

    def release(self) -> None: ...

    def sure(self) -> bool:
        """Whether the executor is still this process's: asked before each step. May wait until it is known."""

    def alive(self, executor: str) -> bool: ...

    def gone(self, executors: Collection[str], patient: bool) -> set[str]:
        """Those that are provably gone. What is not proved yet is waited for (patient) or left for the next time."""

    def serving(self) -> dict[str, str]:
        """executor → version of those that are alive and serve."""

    def sweep(self, owners: Collection[str]) -> None:
        """Forget the dead that own nothing."""


class FileLiveness:
    """A locked file per executor, `<directory>/<executor>.lock`: one machine. Not for network file systems.

    The sign of life is the machine's monotonic clock, which stands still while the machine is suspended. It is written
    by a thread of its own and needs no database. A process that was stopped notices at once that it has given none.
    """

    def __init__(self, directory: Path, timing: Timing) -> None:
        self._directory = directory
        self._timing = timing
        self._executor = ""
        self._number = -1
        self._told = 0.0
        self._about = ""
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._mutex = threading.Lock()
        self._when_lost: Callable[[], None] = lambda: None
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)

    @property
    def lost(self) -> threading.Event:
        return self._lost

    def _path(self, executor: str) -> Path:
        return self._directory / f"{executor}.lock"

    def hold(self, executor: str, version: str, serve: bool, when_lost: Callable[[], None]) -> None:
        self._executor, self._when_lost = executor, when_lost
        self._about = f"{os.getpid()} {'serves' if serve else 'runs'} {version}"
        self._number = self._locked(self._path(executor))
        self._told = time.monotonic()
        self._tell(self._told)
        threading.Thread(target=self._beat, name="sign-of-life", daemon=True).start()

    @staticmethod
    def _locked(path: Path) -> int:
        while True:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(number, fcntl.LOCK_EX)
            try:
                if os.path.samestat(os.fstat(number), path.stat()):
                    return number
            except FileNotFoundError:
                pass  # swept away by somebody who came between the two
            os.close(number)

    def _tell(self, now: float) -> None:
        # In place and always as long: it needs no room on a disk that is full.
        os.pwrite(self._number, f"{now:020.6f} {self._about}\n".encode(), 0)

    def _beat(self) -> None:
        while not self._stop.wait(self._timing.beat) and self._in_time():
            with self._mutex:
                if self._number < 0:
                    return
                now = time.monotonic()
                try:
                    self._tell(now)
                except OSError as error:
                    log.warning("no sign of life could be written: %s", error)
                else:
                    self._told = now

    def _in_time(self) -> bool:
        if time.monotonic() - self._told > self._timing.give_up and not self._lost.is_set():
            self._lost.set()
            log.error("this process stood still for longer than its lease: what it was doing is not its own any more")
            self._when_lost()
        return not self._lost.is_set()

    def sure(self) -> bool:
        return self._in_time()

    def release(self) -> None:
        self._stop.set()
        with self._mutex:
            if self._number >= 0:
                self._path(self._executor).unlink(missing_ok=True)
                os.close(self._number)
                self._number = -1

    def alive(self, executor: str) -> bool:
        return self._look(executor) is not None

    def _look(self, executor: str, forget: bool = False) -> list[str] | None:
        """[pid, serves|runs, version] of a living one. forget: take a dead one's file away."""
        if not executor or "/" in executor:
            return None
        try:
            number = os.open(self._path(executor), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            about = self._held(number)
            if about is None and forget:  # locked meanwhile: whoever has just made it must not hold what nobody sees
                self._path(executor).unlink(missing_ok=True)
        finally:
            os.close(number)
        return about

    def _held(self, number: int) -> list[str] | None:
        try:
            # Shared, so that two processes that ask at the same time don't take each other for the owner.
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._read(os.pread(number, 200, 0).decode(errors="replace").split())
        return None

    def _read(self, words: list[str]) -> list[str] | None:
        try:
            told = float(words[0])
        except (IndexError, ValueError):
            return []  # it has just been made, and is held
        return words[1:4] if time.monotonic() - told <= self._timing.lease else None

    def gone(self, executors: Collection[str], patient: bool) -> set[str]:
        return {executor for executor in executors if not self.alive(executor)}

    def serving(self) -> dict[str, str]:
        found = {executor: self._look(executor) for executor in self._seen()}
        return {executor: about[2] for executor, about in found.items() if about and about[1] == "serves"}

    def sweep(self, owners: Collection[str]) -> None:
        for executor in self._seen():
            if executor not in owners:
                self._look(executor, forget=True)

    def _seen(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.lock"))

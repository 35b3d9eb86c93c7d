"""restic as a process of its own for every command: its arguments, its environment, its errors."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mainstay.recovery.repository import Access
from mainstay.recovery.restic.adapters import process
from mainstay.recovery.restic.adapters.reading import Collected, Lines
from mainstay.recovery.restic.contract import ResticError, Tell, TooOld, Unreachable
from mainstay.recovery.restic.environment import PASSED, Impossible, copying, environment, limits, options
from mainstay.recovery.restic.failures import failure, retry
from mainstay.recovery.restic.messages import Reader, Said
from mainstay.recovery.restic.version import MIN, Version, parse_version, refuse_old
from mainstay.runner.calling_off import look, unheard

T = TypeVar("T")

WHOLE = frozenset({"init", "forget", "prune", "key"})
"""Commands of restic that are brought to their end where the run is cancelled meanwhile: they change what is in the repository for
all, and what is left in the middle of one takes another to be put right."""


@dataclass(frozen=True, slots=True)
class Program:
    """How restic runs here. path: of the program, or its name. cache: a folder of ours, made when it is not there."""

    path: str = "restic"
    cache: Path | None = None
    """None: without one."""
    patience: float = 600.0
    """Seconds that what only asks may take."""
    deadline: float = 86400.0
    """Seconds that what moves data may take."""
    retries: float = 30.0
    """Seconds that restic may wait in all to try again what failed, where it only asks; a quarter of an hour otherwise."""
    lock_wait: float = 10.0
    """Seconds that a lock of somebody else is waited for; restic itself asks again after 5 s."""
    nice: int = 10
    """0: as mainstay itself, for disks too; otherwise the last in line there."""
    grace: float = process.GRACE
    more: Mapping[str, str] = field(default_factory=dict)
    """More environment that is no secret."""
    known: dict[tuple[object, ...], Version] = field(default_factory=dict, repr=False, compare=False)
    """What a file has said of its version: it is asked again when it is another one."""

    def version(self, access: Access) -> Version:
        """Raises TooOld, also where there is no restic."""
        file = self._file()
        if file is not None and file in self.known:
            return self.known[file]
        version = self._asked(access)
        if file is not None:
            self.known[file] = version
        return version

    def _file(self) -> tuple[object, ...] | None:
        """Which file the program is, and as of when; None where that can't be told."""
        found = shutil.which(self.path)
        if found is None:
            return None
        try:
            seen = Path(found).stat()
        except OSError:
            return None
        return found, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns

    def _asked(self, access: Access) -> Version:
        said: list[bytes] = []
        least = ".".join(map(str, MIN))
        try:
            process.run([self.path, "version"], self.environment(), said.append, said.append, deadline=60.0)
        except process.NotStarted as error:
            raise TooOld(access, str(error), hint=f"Install restic {least} or newer on the controller.") from None
        text = b"".join(said).decode("utf-8", "replace")
        old, version = refuse_old(text), parse_version(text)
        if old or version is None:
            raise TooOld(access, f"{old} ({self.path})", hint=f"Install restic {least} or newer on the controller.")
        return version

    def environment(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in PASSED if name in os.environ}
        cache = {"RESTIC_CACHE_DIR": str(self.cache)} if self.cache else {}
        return {"LANG": "C.UTF-8", "RESTIC_PROGRESS_FPS": "1", **own, **cache, **self.more}

    def gently(self) -> list[str]:
        """What stands before the program, so that it leaves the machine to others."""
        if not self.nice:
            return []
        last = ["ionice", "-c", "2", "-n", "7"] if shutil.which("ionice") else []
        return ["nice", "-n", str(self.nice), *last]


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    reader: Reader
    data: bytes

    @property
    def said(self) -> Said:
        return self.reader.said


class Commands:
    """Runs restic on one repository."""

    def __init__(self, program: Program, access: Access) -> None:
        self.program = program
        self.access = access
        self._version: Version | None = None

    def version(self) -> Version:
        if self._version is None:
            self._version = self.program.version(self.access)
        return self._version

    def ask(self, command: str, *words: str, **more: Any) -> Done:
        """As `run`; raises the ResticError that an exit status other than 0 stands for."""
        done = self.run(command, *words, **more)
        if done.status:
            raise self.failed(command, done)
        return done

    def failed(self, command: str, done: Done) -> ResticError:
        return failure(self.access, command, done.status, self.version(), done.said)

    def run(
        self,
        command: str,
        *words: str,
        source: Access | None = None,
        out: Callable[[bytes], None] | None = None,
        line: Callable[[bytes], None] | None = None,
        reader: Reader | None = None,
        tell: Tell | None = None,
        deadline: float | None = None,
        patient: bool | None = None,
        pass_fds: Sequence[int] = (),
        watch: Callable[[], None] | None = None,
    ) -> Done:
        """out: takes stdout as it comes. line: takes it line by line. Otherwise it is kept, and read for messages.
        deadline: seconds; None: of what only asks. patient: restic may try again as long as it likes; None: unless it only asks."""
        version, access = self.version(), self.access
        reader = reader or Reader()
        kept = Collected()
        patient = deadline is not None if patient is None else patient
        left = math.inf if patient else self.program.retries

        def take(text: bytes) -> None:
            nonlocal left
            if b"retrying after" in text and (again := retry(text.decode("utf-8", "replace"))):
                left -= again[0]
                if left < 0:
                    raise Unreachable(access, f"no answer: {again[1]}")
            before = reader.progress
            reader.take(text)
            if tell is not None and reader.progress is not None and reader.progress is not before:
                tell(reader.progress)

        whole = Lines(line or take)
        errors = Lines(take)

        def both(data: bytes) -> None:
            if line is None:
                kept.add(data)
            whole.feed(data)

        try:
            told = copying(source, access) if source else environment(access)
            own = options(access, *([source] if source else []))
        except Impossible as error:
            raise ResticError(access, str(error)) from None
        wait = self.program.lock_wait if access.lock_wait is None else access.lock_wait
        flags = [*limits(access, *([source] if source else [])), "--retry-lock", f"{wait:.0f}s"]
        flags += [] if self.program.cache else ["--no-cache"]
        argv = [*self.program.gently(), self.program.path, *own, *flags, command, *words]
        try:
            look()
            with unheard() if command in WHOLE else nullcontext():
                ended = process.run(
                    argv,
                    {**self.program.environment(), **told},
                    out or both,
                    errors.feed,
                    deadline=wait + (self.program.patience if deadline is None else deadline),
                    grace=self.program.grace,
                    pass_fds=pass_fds,
                    watch=watch,
                )
        except process.NotStarted as error:
            raise ResticError(access, str(error)) from None
        whole.end()
        errors.end()
        if ended.expired:
            raise failure(access, command, ended.status, version, reader.said, expired=True)
        return Done(ended.status, reader, kept.data(access))

    def read_object(self, done: Done) -> dict[str, Any]:
        try:
            data = json.loads(done.data)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise ResticError(self.access, "restic's answer can't be read")
        return data

    def read_list(self, done: Done, read: Callable[[bytes], list[T] | None]) -> list[T]:
        found = read(done.data)
        if found is None:
            raise ResticError(self.access, "restic's answer can't be read")
        return found

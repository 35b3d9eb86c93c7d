"""Scratch places: where points are restored to be looked at, and the proof that nothing of it is left.

A place is a folder below the state's own, ours alone (0700). What a database server needs lies elsewhere where mainstay runs as
root: the server runs as somebody without rights, who could not come below the state's folder. Every process that is started works
in the place or in that folder (its cwd): so what a killed drill has left over is found by its folder alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.recovery.proving.waiting import until

LOCK = "lock"
ELSEWHERE = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - folders that are made there have unguessable names and are 0700
ENDING = 30.0
"""Seconds that processes which were killed have for their end."""


class Unclean(MainstayError):
    """Something of a scratch place is left over."""

    kind = "unclean"


@dataclass(slots=True)
class Place:
    """folder: ours alone."""

    folder: Path
    others: list[Path] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """What names of folders elsewhere begin with."""
        return f"mainstay-drill-{sha256(str(self.folder).encode()).hexdigest()[:12]}-"

    def elsewhere(self, uid: int, gid: int, *, short: bool = False) -> Path:
        """A folder for that user alone. short: for a socket, whose whole path may have 107 bytes."""
        made = Path(tempfile.mkdtemp(prefix=self.mark, dir=ELSEWHERE[1 if short else 0]))
        self.others.append(made)
        os.chown(made, uid, gid)
        return made

    def leave(self) -> None:
        """End what works in the folders elsewhere, and remove them. Raises Unclean."""
        _clear(self.others)

    def free(self, *, elsewhere: bool = True) -> int:
        """Bytes, of the fullest of the file systems that are used. elsewhere: the folders there are."""
        spaces = [os.statvfs(one) for one in ((self.folder, ELSEWHERE[0]) if elsewhere else (self.folder,))]
        return min(space.f_bavail * space.f_frsize for space in spaces)


@contextmanager
def place(root: Path, name: str) -> Iterator[Place]:
    """A new, empty place; what is there of an earlier one with that name is cleaned first. At the end it is gone, with all that
    was started in it. Raises Unclean where something stays."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / name
    clean(folder)
    folder.mkdir(mode=0o700)
    handle = os.open(folder / f".{LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Whoever sweeps takes one that nobody holds for left over: it is not seen before it is held.
        fcntl.flock(handle, fcntl.LOCK_EX)
        (folder / f".{LOCK}").rename(folder / LOCK)
        yield Place(folder)
    finally:
        try:
            clean(folder)
        finally:
            os.close(handle)


def sweep(root: Path) -> list[str]:
    """Clean what drills that were killed have left over. Returns the names of those places."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not held(folder):
            clean(folder)
            found.append(folder.name)
    return found


def held(folder: Path) -> bool:
    """Whether somebody works with that place, or is making it."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Being made right now, or left before it had one: only the second is old.
        with suppress(OSError):
            return time.time() - folder.lstat().st_mtime < 60
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def clean(folder: Path) -> None:
    """End every process that works in the place, and remove it. Raises Unclean where something is left afterwards."""
    mark = Place(folder).mark
    others = [path for where in ELSEWHERE for path in where.glob(f"{mark}*") if _ours(path)]
    _clear([*others, folder])


def _clear(folders: list[Path]) -> None:
    _end(folders)
    for one in folders:
        _remove(one)
    left = [str(one) for one in folders if one.exists() or one.is_symlink()]
    left += [f"process {pid}" for pid in working_in(folders)]
    if left:
        raise Unclean(f"still there after the drill: {', '.join(left)}")


def _ours(path: Path) -> bool:
    """Anybody may make a folder of that name in /tmp: only one that we could have made is taken away."""
    with suppress(OSError):
        found = path.lstat()
        return stat.S_ISDIR(found.st_mode) and (os.geteuid() == 0 or found.st_uid == os.geteuid())
    return False


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        if folder.is_symlink():
            folder.unlink()
            return
        for path, _, _ in os.walk(folder):
            with suppress(OSError):
                if os.geteuid() != 0:  # a restored folder may be closed to its owner
                    Path(path).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def working_in(folders: list[Path]) -> list[int]:
    """Processes whose working folder is one of them or below. Their own id is left out."""
    tops = [str(one) for one in folders]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            where = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
            if any(where == top or where.startswith(f"{top}/") for top in tops):
                found.append(int(entry.name))
    return found


def _end(folders: list[Path]) -> None:
    """Some may stay: whoever cleans looks afterwards."""
    end = time.monotonic() + ENDING
    until(lambda: not _killed(folders), lambda: end - time.monotonic())


def _killed(folders: list[Path]) -> list[int]:
    found = working_in(folders)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found

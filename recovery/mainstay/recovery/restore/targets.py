"""The folder that a restore goes into: what is there, and whether somebody else could send it astray."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mainstay.inventory.errors import Refused


@dataclass(frozen=True, slots=True)
class Target:
    """path: where it really is, without symlinks."""

    path: str
    exists: bool
    empty: bool
    """Also where it does not exist yet."""
    free: int
    """Bytes that we may write there."""

    @property
    def is_root(self) -> bool:
        return self.path == "/"


def look_at(folder: str, *, us: int | None = None) -> Target:
    """Raises Refused where the folder is none, or where somebody else than root and us (a user's number; that of this
    process) may change where it leads."""
    us = os.geteuid() if us is None else us
    real = _resolve(folder, us)
    exists = real.exists()
    if exists and not real.is_dir():
        raise Refused(f"{folder} is no folder")
    try:
        empty = not exists or not any(real.iterdir())
    except PermissionError:
        raise Refused(f"{folder} can't be looked into") from None
    there = real
    while not there.exists():
        there = there.parent
    space = os.statvfs(there)
    return Target(str(real), exists, empty, space.f_bavail * space.f_frsize)


def _resolve(folder: str, us: int) -> Path:
    """Go down part by part. Each symlink on the way has to be root's or ours, and to lie where nobody else can exchange it."""
    here, parts, links = Path("/"), [part for part in Path(folder).parts if part != "/"], 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            here = here.parent
            continue
        there = here / part
        try:
            found = there.lstat()
        except FileNotFoundError:
            return there.joinpath(*parts)
        except (NotADirectoryError, PermissionError) as error:
            raise Refused(f"{there}: {error.strerror}") from None
        if not stat.S_ISLNK(found.st_mode):
            here = there
            continue
        links += 1
        if links > 40:
            raise Refused(f"{folder} goes through symlinks in a circle")
        if found.st_uid not in (0, us) or not _kept(here.stat(), us):
            raise Refused(
                f"{there} is a symlink that somebody else may change",
                hint=f"--to {there.resolve()} says where it leads now" if there.exists() else None,
            )
        leads = there.readlink()
        if leads.is_absolute():
            here = Path("/")
        parts = [part for part in leads.parts if part != "/"] + parts
    return here


def _kept(folder: os.stat_result, us: int) -> bool:
    """Whether nobody else can exchange what is in the folder and is root's or ours."""
    if folder.st_uid not in (0, us):
        return False
    writable = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not writable or bool(folder.st_mode & stat.S_ISVTX)

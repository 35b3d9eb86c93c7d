"""Whether what was restored is what the repository has: asked anew, whatever the restore said of itself.

Contents by restic, which reads each file again and compares it with the hashes in the snapshot: at the restore's end
(`--verify`), and by a second one that writes nothing where that was not done, did not end well, or somebody has touched a file
since. Type, size, mode and time by the snapshot's listing.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mainstay.inventory.value import Json
from mainstay.recovery.listings import Ls
from mainstay.recovery.restic.contract import Restic
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.order import Piece
from mainstay.runner.steps import rfc3339

NAMED = 10
"""So many of what differs are named."""
TICK = 10_000_000
"""Nanoseconds that a file's own time may be behind the clock."""
NO_UTF_8 = "\ufffd"
"""What restic prints in a name for what is no UTF-8."""
TYPES = {
    "file": stat.S_IFREG,
    "dir": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "dev": stat.S_IFBLK,
    "chardev": stat.S_IFCHR,
    "fifo": stat.S_IFIFO,
}


@dataclass(slots=True)
class Compared:
    """files, bytes: regular files that were there to be compared, and are as they should be unless they are among what differs."""

    files: int = 0
    bytes: int = 0
    entries: int = 0
    differing: dict[str, str] = field(default_factory=dict)
    """path in the snapshot → what is wrong with its content, type or size; the first thousand."""
    differing_count: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    """path → mode or time that is not the snapshot's; the content is right."""
    attributes_count: int = 0

    absent: int = 0
    """Among what differs: what is not there at all, or is of another type."""

    linked: int = 0
    """Further names of files: restic does not compare those, and they are the same file as one that it has."""

    nameless: dict[str, int] = field(default_factory=dict)
    """Files whose names are no UTF-8, as restic prints them → how many: nobody but restic can be asked for those."""

    shared: int = 0
    """Of the bytes, those of files with further names: restic writes and counts them once."""

    newest: int = 0
    """The last time that anything about one of the files was changed, nanoseconds since 1970."""

    @property
    def verified(self) -> int:
        """Files that are as they should be."""
        return self.files - (self.differing_count - self.absent)

    def wrong(self, path: str, why: str, *, absent: bool = False) -> None:
        if path in self.differing:
            return
        self.differing_count += 1
        self.absent += absent
        if len(self.differing) < 1000:
            self.differing[path] = why

    def odd(self, path: str, why: str) -> None:
        self.attributes_count += 1
        if len(self.attributes) < 1000:
            self.attributes[path] = why

    @property
    def ok(self) -> bool:
        return not self.differing_count

    def in_words(self) -> str:
        """What differs; empty where nothing does."""
        return named(self.differing, self.differing_count)

    def attributes_in_words(self) -> str:
        return named(self.attributes, self.attributes_count)


@dataclass(frozen=True, slots=True)
class Verified:
    """What a restore that ended well has read again and compared with the hashes in the snapshot. files: folders among them.
    at: when that was over, nanoseconds since 1970 by the clock of the machine that has them; 0: not known."""

    files: int
    bytes: int
    at: int = 0

    def all_of(self, found: Compared) -> bool:
        """Whether none of those files can have been left out."""
        return found.files <= self.files and found.bytes - found.shared <= self.bytes


def measured(piece: Piece, to: str, found: Compared, seconds: float) -> Json:
    """What a record holds of one point's restore."""
    return {
        "point": piece.point.id,
        "at": piece.point.at,
        "of": piece.point.host,
        "repository": piece.point.repository,
        "paths": list(piece.paths or piece.point.paths),
        "to": to,
        "files": found.files,
        "bytes": found.bytes,
        "seconds": round(seconds, 3),
        "verified": found.verified,
        "differing": dict(list(found.differing.items())[:100]),
    }


def named(found: dict[str, str], count: int) -> str:
    listed = [f"{path} ({why})" if why else path for path, why in list(found.items())[:NAMED]]
    more = count - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more > 0 else "")


def compare(
    restic: Restic,
    snapshot: str,
    target: str,
    paths: Sequence[str] = (),
    verified: Verified | None = None,
    ls: Ls | None = None,
) -> Compared:
    """What of these paths (all, without any) of the snapshot is under `target`. Contents are read where `verified` does not tell
    of them, or one of the files was touched later. Raises ResticError where the repository can't be asked."""
    found = Compared()
    (ls or restic.ls)(snapshot, lambda node: _look(found, target, node), paths)
    if verified is None or not found.ok or not verified.all_of(found) or found.newest >= verified.at - TICK:
        _contents(found, restic, snapshot, target, paths)
    return found


def compare_files(restic: Restic, snapshot: str, target: str, files: Sequence[Node]) -> Compared:
    """The same of files whose listing is known. Each of them has to be called unchanged by restic."""
    found = Compared()
    for node in files:
        _look(found, target, node)
    for path in {node.path for node in files} - _contents(
        found, restic, snapshot, target, [node.path for node in files]
    ):
        found.wrong(path, "restic did not compare it")
    return found


def _contents(found: Compared, restic: Restic, snapshot: str, target: str, paths: Sequence[str]) -> set[str]:
    """Returns the files that restic has compared, where their paths are given."""
    asked, same, links = set(paths), set[str](), Links()

    def touched(action: str, path: str) -> None:
        if path in asked:
            same.add(path)
        if action == "unchanged" and found.nameless.get(path):
            found.nameless[path] -= 1
        try:
            there = under(target, path).lstat()
        except OSError:
            return  # the listing has told of it
        if stat.S_ISREG(there.st_mode):
            inode = (there.st_dev, there.st_ino) if there.st_nlink > 1 else None
            links.add(path, inode, well=action == "unchanged")

    restic.restore(snapshot, target, include=paths, overwrite="always", dry=True, touched=touched)
    links.settle(found)
    for path in [path for path, left in found.nameless.items() if left]:
        found.wrong(path, "restic did not find it to be the same")
    return same


class Links:
    """restic calls each further name of a file one that it would write; so what is the same file as one that is well, is well."""

    def __init__(self) -> None:
        self._well: set[object] = set()
        self._open: list[tuple[str, object]] = []

    def add(self, path: str, inode: object, *, well: bool) -> None:
        """inode: None for a file with one name."""
        if not well:
            self._open.append((path, inode))
        elif inode is not None:
            self._well.add(inode)

    def settle(self, found: Compared) -> None:
        for path, inode in self._open:
            if inode is not None and inode in self._well:
                found.linked += 1
            else:
                found.wrong(path, "its content is another")


def under(target: str, path: str) -> Path:
    """/etc/x under /srv → /srv/etc/x."""
    return Path(target) / path.lstrip("/")


def _look(found: Compared, target: str, node: Node) -> None:
    found.entries += 1
    if NO_UTF_8 in node.path:
        if node.type == "file":
            found.files, found.bytes = found.files + 1, found.bytes + node.size
            found.nameless[node.path] = found.nameless.get(node.path, 0) + 1
        return
    place = under(target, node.path)
    try:
        there = place.lstat()
    except OSError:
        if node.type != "socket":  # restic restores none
            found.wrong(node.path, "is not there", absent=True)
        return
    kind = TYPES.get(node.type)
    if kind is not None and stat.S_IFMT(there.st_mode) != kind:
        found.wrong(node.path, f"is no {node.type}", absent=True)
        return
    if node.type == "file":
        found.files += 1
        found.bytes += node.size
        found.shared += node.size if there.st_nlink > 1 else 0
        found.newest = max(found.newest, there.st_ctime_ns)
        if there.st_size != node.size:
            found.wrong(node.path, f"has {there.st_size:,} bytes instead of {node.size:,}")
    if node.type in ("file", "dir"):
        if stat.S_IMODE(there.st_mode) != node.mode:
            found.odd(node.path, f"mode {stat.S_IMODE(there.st_mode):o} instead of {node.mode:o}")
        elif node.modified_at and modified(there.st_mtime_ns) != node.modified_at:
            found.odd(node.path, f"changed {modified(there.st_mtime_ns)} instead of {node.modified_at}")


def modified(nanoseconds: int) -> str:
    """As a listing says it: RFC 3339 UTC, milliseconds."""
    whole, rest = divmod(nanoseconds, 10**9)
    return rfc3339(datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000))

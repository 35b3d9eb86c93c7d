"""Repositories in memory, held to the same contract suite as the real restic: for tests of what is built upon it."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import (
    NoRepository,
    NothingRestored,
    NotRemoved,
    Overwrite,
    Partial,
    ResticError,
    Tell,
    Unreachable,
    WrongPassword,
)
from mainstay.recovery.restic.environment import check_ids
from mainstay.recovery.restic.messages import BackupSummary, Unreadable
from mainstay.recovery.restic.replies import CheckSummary, Key, Lock, Node, RestoreSummary, Snapshot, Stats
from mainstay.recovery.restic.version import Version

Tree = Mapping[str, bytes]
"""Absolute path of a file → its content; folders are there by themselves."""

_NUMBERS = itertools.count(1)


def _id(*parts: str) -> str:
    return hashlib.sha256("|".join([str(next(_NUMBERS)), *parts]).encode()).hexdigest()


@dataclass
class MemoryRepository:
    """One repository. A test may change everything in it."""

    id: str
    passwords: dict[str, Key]
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By the snapshot's id."""
    locks: dict[str, Lock] = field(default_factory=dict)
    unused: int = 0
    """Bytes that no snapshot needs any more."""
    append_only: bool = False
    """Refuses to remove for `write`."""
    damaged: set[str] = field(default_factory=set)
    """Paths whose content can't be read any more."""
    asked: list[str] = field(default_factory=list)
    """Names of the methods that were called."""

    def back_up(
        self,
        tree: Tree,
        *,
        host: str,
        tags: Sequence[str] = (),
        at: str = "2026-01-01T00:00:00.000Z",
        paths: Sequence[str] = ("/",),
    ) -> str:
        """As a host does. Returns the snapshot's id."""
        id, size = _id(host, at), sum(len(content) for content in tree.values())
        made = BackupSummary(snapshot=id, files=len(tree), bytes=size, files_new=len(tree), added=size, began_at=at)
        digest = hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest()
        self.snapshots[id] = Snapshot(
            id=id,
            at=at,
            host=host,
            tags=tuple(tags),
            paths=tuple(paths),
            tree=digest,
            program="restic 0.18.0",
            summary=made,
        )
        self.trees[id] = dict(tree)
        return id

    def lock(self, *, host: str, pid: int, at: str, exclusive: bool = False) -> str:
        id = _id("lock")
        self.locks[id] = Lock(id=id, at=at, host=host, user="root", pid=pid, exclusive=exclusive)
        return id


@dataclass
class Memory:
    """All storage that there is. `open` is what the product is given."""

    repositories: dict[str, MemoryRepository] = field(default_factory=dict)
    """By address."""
    away: set[str] = field(default_factory=set)
    """Addresses that can't be reached."""

    def open(self, access: Access) -> MemoryRestic:
        return MemoryRestic(self, access)

    def make(self, access: Access) -> MemoryRepository:
        """As `open(access).init()`, for tests. Returns what is there, if there is one already."""
        if access.url not in self.repositories:
            self.open(access).init()
        return self.repositories[access.url]


class MemoryRestic:
    """`Restic` on memory."""

    def __init__(self, memory: Memory, access: Access) -> None:
        self._memory = memory
        self._access = access

    @property
    def access(self) -> Access:
        return self._access

    def version(self) -> Version:
        return (0, 18, 0)

    def identity(self) -> str | None:
        return self._open("identity").id if self._there() else None

    def init(self, like: Access | None = None) -> str:
        if self._there():
            raise ResticError(self._access, "there is a repository at its address already; it was left as it is")
        if like is not None:
            MemoryRestic(self._memory, like)._open("init")
        key = Key(id=_id("key"), user="root", created="2026-01-01 00:00:00")
        repository = MemoryRepository(_id("repository"), {self._access.password.reveal(): key})
        self._memory.repositories[self._access.url] = repository
        return repository.id

    def snapshots(self, *, tags: Sequence[str] = (), host: str | None = None) -> list[Snapshot]:
        found = self._open("snapshots").snapshots.values()
        return sorted(
            (one for one in found if set(tags) <= set(one.tags) and (host is None or one.host == host)),
            key=lambda one: (one.at, one.id),
        )

    def stats(self, ids: Sequence[str] = ()) -> Stats:
        check_ids(ids)
        here = self._open("stats")
        wanted = [tree for id, tree in here.trees.items() if not ids or id in ids]
        size = sum(len(content) for content in {content for tree in wanted for content in tree.values()})
        return Stats(bytes=size, snapshots=len(wanted), uncompressed=size)

    def forget(self, ids: Sequence[str]) -> list[str]:
        check_ids(ids)
        here = self._open("forget")
        there = [id for id in dict.fromkeys(ids) if id in here.snapshots]
        self._may_remove(here, there, "snapshots")
        for id in there:
            here.unused += sum(map(len, here.trees[id].values()))
            del here.snapshots[id], here.trees[id]
        return there

    def prune(self, *, max_unused: str = "5%", tell: Tell | None = None) -> int | None:
        here = self._open("prune")
        self._may_remove(here, ["data"], "packs of data")
        freed, here.unused = here.unused, 0
        return freed

    def check(self, part: tuple[int, int] | None = None, *, tell: Tell | None = None) -> CheckSummary:
        here = self._open("check")
        bad = sorted(here.damaged) if part else []
        return CheckSummary(errors=len(bad), said=tuple(f"{path} can't be read" for path in bad))

    def copy(self, source: Access, ids: Sequence[str], *, tell: Tell | None = None) -> dict[str, str]:
        check_ids(ids)
        here, there = self._open("copy"), MemoryRestic(self._memory, source)._open("copy")
        if missing := [id for id in ids if id not in there.snapshots]:
            raise Partial(self._access, f"{len(missing)} of {len(ids)} snapshots are not in {source.repository}")
        ours = {one.original or one.id: one.id for one in here.snapshots.values()}
        for id in ids:
            snapshot = there.snapshots[id]
            original = snapshot.original or snapshot.id
            if original not in ours:
                new = _id("copy", id)
                here.snapshots[new] = snapshot.model_copy(update={"id": new, "original": original})
                here.trees[new] = dict(there.trees[id])
                ours[original] = new
        return {id: ours[there.snapshots[id].original or id] for id in ids}

    def restore(
        self,
        snapshot: str,
        target: str,
        *,
        include: Sequence[str] = (),
        subfolder: str = "",
        overwrite: Overwrite = "always",
        verify: bool = False,
        dry: bool = False,
        touched: Callable[[str, str], None] | None = None,
        tell: Tell | None = None,
        watch: Callable[[], None] | None = None,
    ) -> RestoreSummary:
        here, tree = self._tree("restore", snapshot)
        if subfolder:
            tree = {f"/{path[len(subfolder) :].lstrip('/')}": tree[path] for path in tree if _within(path, [subfolder])}
        wanted = {path: content for path, content in tree.items() if not include or _within(path, include)}
        if not wanted:
            raise NothingRestored(self._access, f"nothing of what was asked for is in snapshot {snapshot[:8]}")
        done = skipped = size = skipped_size = 0
        lost = [path for path in wanted if f"{subfolder}{path}" in here.damaged]
        for path in wanted.keys() - set(lost):
            content, file = wanted[path], Path(target) / path.lstrip("/")
            same = file.is_file() and file.read_bytes() == content
            leave = same or (file.exists() and overwrite == "never")
            if touched:
                touched("unchanged" if leave else "updated" if file.exists() else "restored", path)
            if leave:
                skipped, skipped_size = skipped + 1, skipped_size + len(content)
                continue
            done, size = done + 1, size + len(content)
            if not dry:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        if lost and not dry:
            items = [Unreadable(item=path, during="restore", message="its data is damaged") for path in lost]
            raise Partial(self._access, f"{len(lost)} could not be restored", items)
        return RestoreSummary(
            files=done, restored=done, skipped=skipped, bytes=size, bytes_restored=size, bytes_skipped=skipped_size
        )

    def dump(self, snapshot: str, path: str, into: BinaryIO) -> int:
        here, tree = self._tree("dump", snapshot)
        if path in here.damaged:
            raise ResticError(self._access, f"{path} can't be read: its data is damaged")
        if path in tree:
            return into.write(tree[path])
        inside = {one: content for one, content in tree.items() if _within(one, [path])}
        if not inside:
            raise ResticError(self._access, f'cannot dump file: path "{path}" not found in snapshot')
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for one, content in sorted(inside.items()):
                entry = tarfile.TarInfo(one.lstrip("/"))
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return into.write(packed.getvalue())

    def ls(
        self, snapshot: str, each: Callable[[Node], None], paths: Sequence[str] = (), *, patient: bool = True
    ) -> int:
        _, tree = self._tree("ls", snapshot)
        nodes = [node for node in _nodes(tree) if not paths or _within(node.path, paths)]
        for node in nodes:
            each(node)
        return len(nodes)

    def find(self, pattern: str, ids: Sequence[str] = ()) -> list[tuple[str, Node]]:
        check_ids(ids)
        here = self._open("find")
        return [
            (id, node)
            for id, tree in here.trees.items()
            if not ids or id in ids
            for node in _nodes(tree)
            if any(_matches(one, pattern) for one in (Path(node.path), *Path(node.path).parents))
        ]

    def locks(self) -> list[Lock]:
        return list(self._open("locks").locks.values())

    def unlock(self, ids: Iterable[str]) -> list[str]:
        wanted = list(dict.fromkeys(ids))
        check_ids(wanted)
        here = self._open("unlock")
        return [id for id in wanted if here.locks.pop(id, None) is not None]

    def keys(self) -> list[Key]:
        here = self._open("keys")
        mine = self._access.password.reveal()
        return [key.model_copy(update={"current": word == mine}) for word, key in here.passwords.items()]

    def add_key(self, password: Secret, *, user: str = "", host: str = "") -> None:
        key = Key(id=_id("key"), user=user or "root", host=host, created="2026-01-01 00:00:00")
        self._open("add_key").passwords[password.reveal()] = key

    def _there(self) -> bool:
        if self._access.url in self._memory.away:
            raise Unreachable(self._access, "connection refused")
        return self._access.url in self._memory.repositories

    def _open(self, method: str) -> MemoryRepository:
        if not self._there():
            raise NoRepository(self._access, f"there is none at its address, {self._access.url}")
        here = self._memory.repositories[self._access.url]
        here.asked.append(method)
        if self._access.password.reveal() not in here.passwords:
            raise WrongPassword(self._access, "its password is wrong")
        return here

    def _tree(self, method: str, snapshot: str) -> tuple[MemoryRepository, dict[str, bytes]]:
        check_ids([snapshot])
        here = self._open(method)
        if snapshot not in here.trees:
            raise ResticError(self._access, f'failed to find snapshot: no matching ID found for prefix "{snapshot}"')
        return here, here.trees[snapshot]

    def _may_remove(self, here: MemoryRepository, wanted: Sequence[str], what: str) -> None:
        if here.append_only and self._access.purpose == "write" and wanted:
            raise NotRemoved(self._access, f"{len(wanted)} of {len(wanted)} {what} are still there")


def _matches(path: Path, pattern: str) -> bool:
    """restic also finds what lies in a folder that matches."""
    if "/" not in pattern:
        return fnmatchcase(path.name, pattern)
    return len(path.parts) == len(Path(pattern).parts) and all(map(fnmatchcase, path.parts, Path(pattern).parts))


def _within(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder.rstrip("/") or path.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _nodes(tree: Mapping[str, bytes]) -> list[Node]:
    folders = {str(parent) for path in tree for parent in Path(path).parents} - {"/"}
    files = [Node(path=path, type="file", size=len(content), mode=0o644) for path, content in tree.items()]
    return sorted([*files, *(Node(path=path, type="dir", mode=0o755) for path in folders)], key=lambda node: node.path)

"""What restic answers about a repository, as frozen values. Pure, and as tolerant as `messages`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mainstay.inventory.value import Value
from mainstay.recovery.restic import messages
from mainstay.recovery.restic.messages import BackupSummary, backup_summary, count_of, moment, text_of
from mainstay.runner.shell.printable import printable


class Snapshot(Value):
    """One snapshot of a repository."""

    id: str
    """64 hexadecimal digits."""
    at: str
    """The moment whose data it holds, RFC 3339 UTC."""
    host: str = ""
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    tree: str = ""
    """Two snapshots with the same tree hold the same."""
    original: str = ""
    """The snapshot that this one is a copy of, or was before its tags were changed."""
    program: str = ""
    """`restic 0.18.0`."""
    summary: BackupSummary | None = None
    """Of the backup that made it; None of a restic before 0.17."""

    def tagged(self, key: str) -> str:
        """The value of a tag `key=value`; empty where it has none."""
        return next((tag.partition("=")[2] for tag in self.tags if tag.startswith(f"{key}=")), "")


class Node(Value):
    """One entry of a snapshot."""

    path: str
    """Where restic's name of it is no UTF-8, U+FFFD stands for what is not: it can't be asked for by that."""
    type: str
    """file, dir, symlink, dev, chardev, fifo, socket."""
    size: int = 0
    modified_at: str = ""
    mode: int = 0
    """Permission bits."""


class Lock(Value):
    """A lock file of a repository. restic refreshes one every 5 minutes by writing a new one, with a new id."""

    id: str
    at: str
    """RFC 3339 UTC; empty where it can't be read."""
    host: str = ""
    user: str = ""
    pid: int = 0
    exclusive: bool = False


class Key(Value):
    id: str
    current: bool = False
    user: str = ""
    host: str = ""
    created: str = ""
    """As restic prints it, in the controller's time: `2026-11-22 16:57:36`."""


class CheckSummary(Value):
    errors: int = 0
    broken_packs: tuple[str, ...] = ()
    """Their data, or part of it, is lost."""
    suggest_repair_index: bool = False
    suggest_prune: bool = False
    said: tuple[str, ...] = ()
    """What was found, fit for a sentence."""

    @property
    def sound(self) -> bool:
        return not (self.errors or self.broken_packs)


class RestoreSummary(Value):
    """What restic says of a restore; it leaves out what is zero."""

    files: int = 0
    """Files and folders that were asked for, are in the snapshot, and were not skipped."""
    restored: int = 0
    """Done of those; the folders above what was asked for, too."""
    skipped: int = 0
    """They were there already as they should be, or were not to be overwritten."""
    deleted: int = 0
    bytes: int = 0
    """Of `files`."""
    bytes_restored: int = 0
    bytes_skipped: int = 0


class ForgetGroup(Value):
    """What a policy keeps and removes of one group."""

    host: str = ""
    paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keep: tuple[Snapshot, ...] = ()
    remove: tuple[Snapshot, ...] = ()


class Stats(Value):
    bytes: int = 0
    """What the repository keeps for these snapshots, compressed. What nothing needs any more and was not pruned is not
    counted."""
    files: int = 0
    snapshots: int = 0
    uncompressed: int = 0


def snapshots(data: bytes) -> list[Snapshot] | None:
    """Of `snapshots --json`; None where what came is none."""
    listed = _first_list(data)
    return None if listed is None else list(_snapshots(listed))


def forget_groups(data: bytes) -> list[ForgetGroup] | None:
    """Of `forget --json`, with whatever stands behind it."""
    listed = _first_list(data)
    if listed is None:
        return None
    return [
        ForgetGroup(
            host=text_of(group.get("host")),
            paths=_texts(group.get("paths")),
            tags=_texts(group.get("tags")),
            keep=tuple(_snapshots(group.get("keep"))),
            remove=tuple(_snapshots(group.get("remove"))),
        )
        for group in listed
        if isinstance(group, dict)
    ]


def keys(data: bytes) -> list[Key] | None:
    listed = _first_list(data)
    if listed is None:
        return None
    return [
        Key(
            id=text_of(one.get("id")),
            current=one.get("current") is True,
            user=text_of(one.get("userName")),
            host=text_of(one.get("hostName")),
            created=text_of(one.get("created")),
        )
        for one in listed
        if isinstance(one, dict) and text_of(one.get("id"))
    ]


def found(data: bytes) -> list[tuple[str, Node]] | None:
    """Of `find --json`: (id of the snapshot, what was found in it)."""
    listed = _first_list(data)
    if listed is None:
        return None
    return [
        (text_of(group.get("snapshot")), hit)
        for group in listed
        if isinstance(group, dict) and isinstance(group.get("matches"), list)
        for one in group["matches"]
        if isinstance(one, dict) and (hit := node(one)) is not None
    ]


def snapshot(data: dict[str, Any]) -> Snapshot | None:
    id = text_of(data.get("id"))
    if len(id) != 64:
        return None
    made = data.get("summary")
    return Snapshot(
        id=id,
        at=moment(data.get("time")),
        host=text_of(data.get("hostname")),
        tags=_texts(data.get("tags")),
        paths=_texts(data.get("paths")),
        tree=text_of(data.get("tree")),
        original=text_of(data.get("original")),
        program=text_of(data.get("program_version"))[:100],
        summary=backup_summary({**made, "snapshot_id": id}) if isinstance(made, dict) else None,
    )


def node(data: dict[str, Any]) -> Node | None:
    """An entry of `ls --json` or `find --json`; None of what is none (`ls` begins with the snapshot itself)."""
    path, type = text_of(data.get("path")), text_of(data.get("type"))
    if not path or not type:
        return None
    mode = count_of(data.get("mode"))
    return Node(
        path=path,
        type=type,
        size=count_of(data.get("size")),
        modified_at=moment(data.get("mtime")),
        # The rest is Go's own; its bits for setuid, setgid and sticky are others than those of Unix.
        mode=mode & 0o777 | (mode >> 23 & 1) << 11 | (mode >> 22 & 1) << 10 | (mode >> 20 & 1) << 9,
    )


def lock(id: str, data: dict[str, Any]) -> Lock:
    return Lock(
        id=id,
        at=moment(data.get("time")),
        host=text_of(data.get("hostname")),
        user=text_of(data.get("username")),
        pid=count_of(data.get("pid")),
        exclusive=data.get("exclusive") is True,
    )


def check_summary(message: dict[str, Any], said: Iterable[str]) -> CheckSummary:
    return CheckSummary(
        errors=count_of(message.get("num_errors")),
        broken_packs=_texts(message.get("broken_packs")),
        suggest_repair_index=message.get("suggest_repair_index") is True,
        suggest_prune=message.get("suggest_prune") is True,
        said=tuple(printable(one, 500) for one in said),
    )


def restore_summary(message: dict[str, Any]) -> RestoreSummary:
    return RestoreSummary(
        files=count_of(message.get("total_files")),
        restored=count_of(message.get("files_restored")),
        skipped=count_of(message.get("files_skipped")),
        deleted=count_of(message.get("files_deleted")),
        bytes=count_of(message.get("total_bytes")),
        bytes_restored=count_of(message.get("bytes_restored")),
        bytes_skipped=count_of(message.get("bytes_skipped")),
    )


def pruned(data: bytes) -> int | None:
    """Bytes, of the line `total prune:  3 blobs / 1.200 MiB`; restic before 0.20 has no JSON for it."""
    found = re.search(rb"^total prune:\s+\d+ blobs / (\d{1,9}(?:\.\d{1,6})?) (B|[KMGTPE]iB)\s*$", data, re.MULTILINE)
    return round(float(found[1]) * 1024 ** b"BKMGTPE".index(found[2][:1])) if found else None


def stats(message: dict[str, Any]) -> Stats:
    return Stats(
        bytes=count_of(message.get("total_size")),
        files=count_of(message.get("total_file_count")),
        snapshots=count_of(message.get("snapshots_count")),
        uncompressed=count_of(message.get("total_uncompressed_size")),
    )


def _first_list(data: bytes) -> list[Any] | None:
    return next((value for value in messages.values(data) if isinstance(value, list)), None)


def _snapshots(listed: Any) -> Iterator[Snapshot]:
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and (made := snapshot(one)) is not None:
            yield made


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()

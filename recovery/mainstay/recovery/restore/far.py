"""A restore's target on another machine: what is there before, and what came. Asked through the shell, read only."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.recovery.listings import Ls
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.comparing import NO_UTF_8, TYPES, Compared, Links, Verified, under
from mainstay.recovery.restore.order import Piece
from mainstay.recovery.restore.previewing import Overwritten
from mainstay.recovery.restore.script import LOOK_AT, STAT
from mainstay.recovery.restore.targets import Target
from mainstay.recovery.words import counted, sized
from mainstay.runner.shell.contract import Command, Shell, ShellError
from mainstay.runner.shell.printable import printable

AT_ONCE = 5000
"""Paths of one question."""
Found = tuple[int, int, int, str]
"""st_mode, size, seconds of its last change; and its inode, empty where that has one name alone."""


def look_at(shell: Shell, folder: str, *, sudo: bool = False) -> tuple[Target, str]:
    """(the target, a folder that can't be looked into; empty where it can). Raises Refused as targets.look_at does."""
    said = shell.run(Command(("sh", "-c", LOOK_AT, "mainstay", folder), sudo=sudo))
    found: dict[str, str] = {}
    for line in said.text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, rest)
    if "refused" in found:
        raise Refused(printable(found["refused"], 500))
    if "real" not in found:
        raise ShellError(shell.host.name, f"{folder} could not be looked at: {printable(said.stderr)}")
    free = found.get("free", "")
    unseen = found.get("unseen", "") or (found["real"] if found.get("empty") == "unknown" else "")
    return (
        Target(
            path=found["real"],
            exists=found.get("there") == "yes",
            empty=found.get("empty") == "yes",
            free=int(free) * 1024 if free.isdigit() else 0,
        ),
        printable(unseen),
    )


def overwritten(shell: Shell, ls: Ls, piece: Piece, target: str, found: Overwritten) -> None:
    """Existing files with another size or time than in the point differ; nothing is read for it."""

    def batch(nodes: Sequence[Node]) -> None:
        there, denied = _stat(shell, [str(under(target, node.path)) for node in nodes], sudo=False)
        found.hidden = found.hidden or denied
        for node in nodes:
            place = str(under(target, node.path))
            if place not in there:
                continue
            mode, size, changed, _ = there[place]
            if stat.S_ISREG(mode) and size == node.size and changed == _seconds(node):
                found.same += 1
            elif not (stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and node.type == "symlink")):
                found.add(place)

    _batches(ls, piece, batch, ("file", "symlink"))


def compare(shell: Shell, ls: Ls, piece: Piece, target: str, other: Collection[str]) -> Compared:
    """other: paths that the second restic would still have written, where there was one. Raises ResticError, ShellError."""
    found, touched, links = Compared(), set(other), Links()

    def batch(nodes: Sequence[Node]) -> None:
        there, _ = _stat(shell, [str(under(target, node.path)) for node in nodes], sudo=True)
        for node in nodes:
            place = there.get(str(under(target, node.path)))
            _judge(found, node, place)
            if place is not None and stat.S_ISREG(place[0]):
                found.shared += node.size if place[3] else 0
                links.add(node.path, place[3] or None, well=node.path not in touched)

    def nameless(node: Node) -> None:
        """How many restic found to be the same is compared with all files, these too."""
        found.entries += 1
        if node.type == "file":
            found.files, found.bytes = found.files + 1, found.bytes + node.size
            if node.path in touched:
                found.wrong(node.path, "its content is another")

    _batches(ls, piece, batch, tuple(TYPES), nameless)
    links.settle(found)
    return found


def judge(piece: Piece, found: Compared, said: Mapping[str, Any]) -> list[str]:
    """What is wrong with one point's restore. said: what the job told of it."""
    if not found.entries:
        return ["nothing of what was asked for is in the point"]
    wrong = [found.in_words()] if not found.ok else []
    if said.get("verified"):
        if not (read := Verified(**said["verified"])).all_of(found):
            wrong.append(
                f"restic read {sized(read.bytes)} again, of {counted(found.files, 'file')} with {sized(found.bytes)}"
            )
    elif said.get("compared") != 0:
        wrong.append(
            f"its content could not be compared (restic ended with {said.get('compared')}: {said.get('last', '')})"
        )
    elif said.get("same", 0) + found.linked + found.differing_count < found.files:
        wrong.append(f"restic compared {said.get('same', 0):,} of {counted(found.files, 'file')}")
    if found.files < piece.files:
        wrong.append(f"{counted(found.files, 'file')} instead of {piece.files:,}")
    if wrong and said.get("errors"):
        wrong.append(f"restic said: {said['errors'][0]}")
    return wrong


def _judge(found: Compared, node: Node, there: Found | None) -> None:
    found.entries += 1
    if there is None:
        found.wrong(node.path, "is not there", absent=True)
        return
    mode, size, changed, _ = there
    if stat.S_IFMT(mode) != TYPES[node.type]:
        found.wrong(node.path, f"is no {node.type}", absent=True)
        return
    if node.type == "file":
        found.files += 1
        found.bytes += node.size
        if size != node.size:
            found.wrong(node.path, f"has {size:,} bytes instead of {node.size:,}")
    if node.type in ("file", "dir"):
        if stat.S_IMODE(mode) != node.mode:
            found.odd(node.path, f"mode {stat.S_IMODE(mode):o} instead of {node.mode:o}")
        elif node.modified_at and changed != _seconds(node):
            found.odd(node.path, "another time")


def _seconds(node: Node) -> int:
    return int(datetime.fromisoformat(node.modified_at).timestamp() // 1) if node.modified_at else -1


def _batches(
    ls: Ls,
    piece: Piece,
    each: Any,
    types: Collection[str],
    nameless: Callable[[Node], None] = lambda node: None,
) -> None:
    """nameless: hears of those whose name is no UTF-8, as nobody can be asked for it."""
    nodes: list[Node] = []

    def collect(node: Node) -> None:
        if node.type not in types:
            return
        if NO_UTF_8 in node.path:
            nameless(node)
            return
        nodes.append(node)
        if len(nodes) == AT_ONCE:
            each(list(nodes))
            nodes.clear()

    ls(piece.point.id, collect, piece.paths)
    if nodes:
        each(nodes)


def _stat(shell: Shell, paths: Sequence[str], *, sudo: bool) -> tuple[dict[str, Found], bool]:
    """(those that are there, whether of some it may not be asked)."""
    asked = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    said = shell.run(Command(("sh", "-c", STAT), sudo=sudo, stdin=asked, deadline=300))
    found: dict[str, Found] = {}
    for line in said.stdout.split(b"\0"):
        words = line.decode("utf-8", "surrogateescape").split(" ", 5)
        if len(words) == 6:
            mode, size, changed, names, inode, path = words
            found[path] = (int(mode, 16), int(size), int(changed), inode if int(names) > 1 else "")
    return found, b"Permission denied" in said.stderr

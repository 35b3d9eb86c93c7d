"""What a restore would do to what is there: by a restic that writes nothing."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

from mainstay.recovery.listings import Ls
from mainstay.recovery.restic.contract import Restic
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.comparing import under
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.recovery.restore.targets import Target
from mainstay.recovery.words import counted, sized
from mainstay.runner.operation import Forecast

EXAMPLES = 10
MARGIN = 64 * 2**20
"""Bytes that stay free in any case."""


@dataclass(slots=True)
class Overwritten:
    """Files that are there and differ, and those that are there and are the same."""

    differ: int = 0
    same: int = 0
    examples: list[str] = field(default_factory=list)
    hidden: bool = False
    """Some of what may be there can't be looked at."""

    def add(self, path: str) -> None:
        self.differ += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(path)

    def in_words(self) -> str:
        """Empty where nothing would be overwritten."""
        if not self.differ:
            return ""
        more = self.differ - len(self.examples)
        listed = ", ".join(self.examples) + (f" and {more:,} more" if more > 0 else "")
        verb = "differs and is" if self.differ == 1 else "differ and are"
        return f"{counted(self.differ, 'existing file')} {verb} overwritten: {listed}"


def look(restic: Restic, ls: Ls, piece: Piece, target: str, found: Overwritten) -> None:
    """What this piece would overwrite under the target."""
    links = set[str]()

    def each(node: Node) -> None:
        if node.type == "symlink":
            links.add(node.path)

    ls(piece.point.id, each, piece.paths)

    def touched(action: str, path: str) -> None:
        if action == "unchanged":
            found.same += 1
            return
        place = under(target, path)
        try:
            kind = stat.S_IFMT(place.lstat().st_mode)
        except OSError:
            return
        # restic tells of folders and symlinks alike, whether they are as they should be or not.
        if kind != stat.S_IFDIR and not (kind == stat.S_IFLNK and path in links):
            found.add(str(place))

    restic.restore(piece.point.id, target, include=piece.paths, overwrite="always", dry=True, touched=touched)


def forecast(order: RestoreOrder, target: Target, found: Overwritten) -> Forecast:
    """count: files that are restored. items: what is overwritten, as far as it is named."""
    limits = [words] if (words := found.in_words()) else []
    if target.is_root:
        limits.insert(0, "it goes over the running system: /")
    notes = [
        f"{sized(target.free)} free in {target.path}",
        *([f"{counted(found.same, 'file')} there already, and the same"] if found.same else []),
        *_unseen(target, found),
    ]
    return Forecast(
        change={"to": target.path},
        count=max(order.files, 1),
        reversible=0,
        items=tuple(sorted((path, "is there", "overwritten") for path in found.examples)),
        irreversible=tuple((path, "no copy of it is kept") for path in sorted(found.examples)),
        reboot="no",
        download_bytes=order.bytes,
        notes=tuple(notes),
        limits=tuple(limits),
        refused=refused(order, target),
    )


def _unseen(target: Target, found: Overwritten) -> list[str]:
    if found.hidden:
        return ["some of what may be there can't be looked at without root's rights: it is overwritten too"]
    return ["none of it is there now"] if not (target.empty or found.differ or found.same) else []


def refused(order: RestoreOrder, target: Target) -> str:
    """Why nothing is written there; empty where it may be."""
    if not target.empty and not order.confirmed:
        return (
            f"{target.path} is not empty: --confirm={order.name_to_confirm} says that what is there may be overwritten"
        )
    if target.free < order.bytes + MARGIN:
        return f"{sized(order.bytes)} are to be written, and {target.path} has room for {sized(target.free)}"
    return ""

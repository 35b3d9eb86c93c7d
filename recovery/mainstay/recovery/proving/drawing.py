"""What of a point is restored to prove it: a sample of its files, or its one dump."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from mainstay.recovery.proofs_due import Sample, askable, sample
from mainstay.recovery.proving.attempt import NotProved, Untried
from mainstay.recovery.restic.contract import Restic, ResticError
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.words import sized
from mainstay.runner.shell.printable import printable

MOST_LISTED = 50_000
"""So many entries of a point are looked at when a sample is drawn; of more, those that a hash picks."""
NO_FILE = "no file: it may be empty"


SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


def gone(point: str) -> Untried:
    """point: its id."""
    since = "retention, or somebody else, has removed it since it was chosen"
    return Untried(f"point {point[:SHOWN]} is gone from the repository: {since}")


def is_gone(restic: Restic, point: str) -> bool:
    """Raises ResticError."""
    return point not in {snapshot.id for snapshot in restic.snapshots()}


@contextmanager
def there(restic: Restic, point: str) -> Iterator[None]:
    """What goes wrong meanwhile says nothing of a point that somebody has removed meanwhile: raises Untried instead."""
    try:
        yield
    except (NotProved, ResticError):
        with suppress(ResticError):
            if is_gone(restic, point):
                raise gone(point) from None
        raise


class Drawn(Sample):
    """Without files where there is none, and there need not be one."""

    @property
    def scope(self) -> str:
        return super().scope if self.files else NO_FILE


def draw_files(restic: Restic, point: str, n: int, max_bytes: int, may_be_empty: bool) -> Drawn:
    """point: its id. Raises NotProved, Untried where none may be taken, ResticError."""
    listing, count = _listing(restic, point)
    if not count:
        if may_be_empty:
            return Drawn()
        raise NotProved("the point holds no file")
    drawn = sample(listing, n, point, max_bytes)
    if not drawn.files:
        raise Untried(f"nothing could be tried: {'; '.join(drawn.left_out)}", limit=True)
    return Drawn(files=drawn.files, of=count, bytes=drawn.bytes, left_out=drawn.left_out)


def draw_dump(restic: Restic, point: str, max_bytes: int) -> Drawn:
    """Of a stream: its one file. Raises NotProved, Untried, ResticError."""
    listing, count = _listing(restic, point)
    if count != 1:
        raise NotProved(f"the point holds {count} files instead of one dump")
    (node,) = listing
    if ".." in node.path.split("/"):
        raise NotProved(f"the dump's path leads out of the place that it is restored to: {node.path}")
    if not askable(node.path):
        raise NotProved(f"restic can't be asked for the dump by its name: {printable(node.path)}")
    if not node.size:
        raise NotProved("the dump is empty")
    if node.size > max_bytes:
        raise Untried(f"for max_bytes: {node.path} has {sized(node.size)}, {sized(max_bytes)} are left", limit=True)
    return Drawn(files=(node,), of=1, bytes=node.size)


def _listing(restic: Restic, point: str) -> tuple[list[Node], int]:
    """Files of the point, at most MOST_LISTED; and how many there are."""
    kept: list[tuple[bytes, str, Node]] = []
    count = 0

    def each(node: Node) -> None:
        nonlocal count
        if node.type != "file":
            return
        count += 1
        # The smallest hashes stay: which files those are does not depend on the order, and is another choice for each point.
        rank = sha256(f"{point}\0{node.path}".encode("utf-8", "backslashreplace")).digest()
        entry = (bytes(255 - byte for byte in rank), node.path, node)
        if len(kept) < MOST_LISTED:
            heapq.heappush(kept, entry)
        elif entry[:2] > kept[0][:2]:
            heapq.heapreplace(kept, entry)

    restic.ls(point, each)
    return [node for _, _, node in kept], count

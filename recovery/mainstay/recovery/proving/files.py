"""Files of a point: some of them restored, and compared with the repository. The one of a dump is proved further (`trying`)."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proofs_due import sample
from mainstay.recovery.proving.attempt import RESERVE, Attempt, Brought, NotProved, Tried, Untried
from mainstay.recovery.proving.trying import DUMPS, try_dump
from mainstay.recovery.restic.contract import Damaged, NothingRestored, Partial, Restic
from mainstay.recovery.restic.messages import Progress
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.comparing import compare_files, under
from mainstay.recovery.words import sized
from mainstay.runner.verdict import Verdict

MOST_LISTED = 50_000
"""So many entries of a point are looked at when a sample is drawn; of more, those that a hash picks."""


@dataclass(slots=True, kw_only=True)
class PointAttempt(Attempt):
    """A point of a repository, restored by restic. bytes_left: of what is restored for its host."""

    point: RecoveryPoint
    restic: Restic
    sample: int
    bytes_left: int
    may_be_empty: bool = False
    """As it is expected of the source."""

    def dump(self) -> Brought:
        return _only_file(self)


def try_out(attempt: PointAttempt) -> Tried:
    """Raises NotProved, Untried, ResticError."""
    return try_dump(attempt) if attempt.kind in DUMPS else prove_files(attempt)


def prove_files(attempt: PointAttempt) -> Tried:
    attempt.phase("locate")
    listing, count = _listing(attempt)
    if not count:
        if attempt.may_be_empty:
            return Tried(Verdict.SUCCEEDED, scope="no file: it may be empty")
        raise NotProved("the point holds no file")
    drawn = sample(listing, attempt.sample, attempt.point.id, attempt.bytes_left)
    drawn = drawn.model_copy(update={"of": count})
    if not drawn.files:
        raise Untried(f"nothing could be tried: {'; '.join(drawn.left_out)}", limit=True)
    bring(attempt, drawn.files)
    attempt.measures |= {"files": len(drawn.files), "bytes": drawn.bytes}
    return Tried(Verdict.SUCCEEDED, scope=drawn.scope, left_out=drawn.left_out, bytes=drawn.bytes)


def _listing(attempt: PointAttempt) -> tuple[list[Node], int]:
    """Files of the point, at most MOST_LISTED; and how many there are."""
    kept: list[tuple[bytes, str, Node]] = []
    count = 0

    def each(node: Node) -> None:
        nonlocal count
        if node.type != "file":
            return
        count += 1
        # The smallest hashes stay: which files those are does not depend on the order, and is another choice for each point.
        rank = sha256(f"{attempt.point.id}\0{node.path}".encode("utf-8", "backslashreplace")).digest()
        entry = (bytes(255 - byte for byte in rank), node.path, node)
        if len(kept) < MOST_LISTED:
            heapq.heappush(kept, entry)
        elif entry[:2] > kept[0][:2]:
            heapq.heapreplace(kept, entry)

    attempt.restic.ls(attempt.point.id, each)
    return [node for _, _, node in kept], count


def bring(attempt: PointAttempt, files: Sequence[Node]) -> list[Brought]:
    """Restore these files into the place, and compare them. Raises NotProved, Untried where there is no room or no time."""
    attempt.phase("transfer")
    size, free = sum(node.size for node in files), attempt.place.free()
    if size + RESERVE > free:
        raise Untried(f"{sized(size)} are to be restored, and {attempt.machine} has {sized(free)} free", limit=True)

    def tell(progress: Progress) -> None:
        attempt.left()
        attempt.progress(f"{attempt.unit}: {progress.percent:.0f} %")

    attempt.left()
    into = str(attempt.place.folder / "files")
    paths = [node.path for node in files]
    wrong = ""
    try:
        attempt.restic.restore(attempt.point.id, into, include=paths, tell=tell)
    except NothingRestored:
        raise NotProved("nothing could be restored") from None
    except (Partial, Damaged) as error:
        wrong = error.plain
    attempt.phase("verify")
    found = compare_files(attempt.restic, attempt.point.id, into, files)
    if not found.ok:
        raise NotProved(f"not as in the repository: {found.in_words()}" + (f" ({wrong})" if wrong else ""))
    if wrong:
        raise NotProved(wrong)
    attempt.left()
    return [Brought(under(into, node.path), node.size) for node in files]


def _only_file(attempt: PointAttempt) -> Brought:
    """Of a stream: its one file, restored and compared."""
    attempt.phase("locate")
    listing, count = _listing(attempt)
    if count != 1:
        raise NotProved(f"the point holds {count} files instead of one dump")
    (node,) = listing
    if not node.size:
        raise NotProved("the dump is empty")
    if node.size > attempt.bytes_left:
        raise Untried(
            f"for max_bytes: {node.path} has {sized(node.size)}, {sized(attempt.bytes_left)} are left", limit=True
        )
    (brought,) = bring(attempt, [node])
    attempt.measures |= {"files": 1, "bytes": node.size}
    return brought

"""Files of a point: some of them restored, and compared with the repository. The one of a dump is proved further (`trying`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving.attempt import RESERVE, Attempt, Brought, NotProved, Tried, Untried, few, out_of_room
from mainstay.recovery.proving.drawing import draw_dump, draw_files, there
from mainstay.recovery.proving.trying import DUMPS, try_dump
from mainstay.recovery.proving.watching import Watch, overrun
from mainstay.recovery.restic.contract import Damaged, NothingRestored, Partial, Restic
from mainstay.recovery.restic.messages import Progress
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.comparing import compare_files, under
from mainstay.recovery.words import sized
from mainstay.runner.verdict import Verdict


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
    with there(attempt.restic, attempt.point.id):
        drawn = draw_files(attempt.restic, attempt.point.id, attempt.sample, attempt.bytes_left, attempt.may_be_empty)
        if not drawn.files:
            return Tried(Verdict.SUCCEEDED, scope=drawn.scope)
        bring(attempt, drawn.files)
    attempt.measures |= {"files": len(drawn.files), "bytes": drawn.bytes}
    return Tried(Verdict.SUCCEEDED, scope=drawn.scope, left_out=drawn.left_out, bytes=drawn.bytes)


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
        attempt.restic.restore(
            attempt.point.id,
            into,
            include=paths,
            tell=tell,
            watch=partial(_watched, attempt, Watch(attempt.place, size)),
        )
    except NothingRestored:
        raise NotProved("nothing could be restored") from None
    except (Partial, Damaged) as error:
        wrong = error.plain
        items = error.items if isinstance(error, Partial) else ()
        if out := out_of_room(wrong, [one.message for one in items]):
            raise Untried(f"the disk of {attempt.machine} was full: {out}", limit=True) from None
    attempt.phase("verify")
    found = compare_files(attempt.restic, attempt.point.id, into, files)
    if not found.ok:
        raise NotProved(f"not as in the repository: {found.in_words()}" + (f" ({wrong})" if wrong else ""))
    if wrong:
        raise NotProved(wrong)
    attempt.left()
    return [Brought(under(into, node.path), node.size) for node in files]


def _watched(attempt: PointAttempt, watch: Watch) -> None:
    """Raises Untried where restic has to end."""
    found = watch.found()
    if "free" in found:
        raise few(found["free"], attempt.machine)
    if "written" in found:
        raise overrun(found["written"], watch.listed)


def _only_file(attempt: PointAttempt) -> Brought:
    """Of a stream: its one file, restored and compared."""
    attempt.phase("locate")
    with there(attempt.restic, attempt.point.id):
        (node,) = draw_dump(attempt.restic, attempt.point.id, attempt.bytes_left).files
        (brought,) = bring(attempt, [node])
    attempt.measures |= {"files": 1, "bytes": node.size}
    return brought

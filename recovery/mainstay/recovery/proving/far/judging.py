"""What a point under proof on another machine came to. Pure."""

from __future__ import annotations

from collections.abc import Callable

from mainstay.inventory.value import Json
from mainstay.recovery.proving.attempt import Tried, Untried, few, out_of_room
from mainstay.recovery.proving.drawing import gone
from mainstay.recovery.proving.far.change import DrillChange, Take
from mainstay.recovery.proving.far.output import JobSaid, TakeSaid
from mainstay.recovery.proving.trying import untried
from mainstay.recovery.proving.watching import overrun
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import Locked, Stopped, TooOld, Unreachable
from mainstay.recovery.restic.failures import failure, reason
from mainstay.recovery.restic.version import parse_version
from mainstay.recovery.restore.comparing import named
from mainstay.recovery.words import counted, sized
from mainstay.runner.verdict import Verdict

TIMED_OUT, KILLED, NOT_STARTED = 124, 137, (126, 127)
"""Exit statuses of timeout(1), which stands before restic."""
TERMINATED = 143
"""Of what watches until it is told to end."""
UNCLEAN = 71
"""Of the tool: something of a scratch place stays."""
_VERDICTS = (Verdict.SUCCEEDED, Verdict.FAILED, Verdict.REFUSED, Verdict.UNKNOWN)
_ASIDE = (Unreachable, Locked, TooOld, Stopped)
"""What does not speak against the point."""


def tried(
    change: DrillChange, number: int, job: JobSaid, access: Access, removed: Callable[[str], bool] = lambda point: False
) -> tuple[Tried, Json]:
    """(what came of it, its measures). removed: whether the point of that id is not in the repository any more; it is asked only of
    one that restic could not restore as it should be."""
    take, said = change.takes[number], job.takes.get(str(number))
    if take.verdict is not None:
        return Tried(take.verdict, take.reason, take.scope, take.left_out), {}
    if said is None:
        return Tried(Verdict.UNKNOWN, f"not tried: {_broken_off(job)}"), {}
    try:
        found, measures = _tried(change, take, said, job, access, removed)
    except Untried as error:
        found, measures = untried(take.unit, error), {}
    if said.gone not in (0, None) and found.verdict is Verdict.SUCCEEDED:
        found = Tried(Verdict.FAILED, f"its scratch place could not be cleaned: {job.last}")
    return found, measures


def _tried(
    change: DrillChange, take: Take, said: TakeSaid, job: JobSaid, access: Access, removed: Callable[[str], bool]
) -> tuple[Tried, Json]:
    """Raises Untried."""
    if said.free is not None:
        raise few(said.free, change.host)
    if said.written is not None:
        raise overrun(said.written, take.bytes)
    ends = (said.restored, said.compared)
    if said.late or TIMED_OUT in ends:
        raise Untried("max_time was over", limit=True)
    if KILLED in ends:
        raise Untried(f"restic was killed on {change.host}, for want of time or of memory")
    if any(end in NOT_STARTED for end in ends):
        raise Untried(f"restic can't be started on {change.host}: {job.last}")
    if said.room is not None:
        free = f"{change.host} has {sized(said.room)} free"
        raise Untried(f"{sized(take.bytes)} are to be restored, and {free}", limit=True)
    if said.unheld is not None:
        if said.unheld == UNCLEAN:
            return Tried(Verdict.FAILED, f"there is no clean scratch place on {change.host}: {job.last}"), {}
        raise Untried(f"{change.host} has made no scratch place ({said.unheld}): {job.last}")
    if said.compared is None or said.restored is None or said.watched is None:
        raise Untried(_broken_off(job))
    if said.watched != TERMINATED:
        raise Untried(f"what watches the disk of {change.host} ended with {said.watched}: {job.last}")
    if why := _differs(change, take, said, access):
        if why.verdict is Verdict.FAILED and removed(take.point):
            raise gone(take.point)
        return why, {}
    measures = {"transfer": said.seconds, "files": len(take.files), "bytes": take.bytes}
    if not take.order:
        return Tried(Verdict.SUCCEEDED, scope=take.scope, left_out=take.left_out), measures
    if said.proved is None:
        raise Untried(_broken_off(job))
    if said.proved != 0 or said.answer.get("verdict") not in _VERDICTS:
        raise Untried(f"what proves dumps ended with {said.proved} on {change.host}: {job.last}")
    answer = said.answer
    its = answer["measures"]
    seconds = its.get("recover", 0) + its.get("verify", 0)
    measures |= {**its, "transfer": round(max(0.0, said.seconds - seconds), 3)}
    left = tuple(answer["left_out"])
    return Tried(Verdict(answer["verdict"]), answer["reason"], answer["scope"], left), measures


def _differs(change: DrillChange, take: Take, said: TakeSaid, access: Access) -> Tried | None:
    """Why what was restored is not as in the repository. Raises Untried where there was no room for it."""
    status = said.restored or said.compared or 0
    words = reason(said.said)
    if status:
        error = failure(access, "restore", status, parse_version(change.program.version) or (0, 17, 1), said.said)
        if isinstance(error, _ASIDE):
            return Tried(Verdict.UNKNOWN, f"could not be tried: {error.plain}")
        words = error.plain
        if out := out_of_room(words, [one.message for one in said.said.unreadable]):
            raise Untried(f"the disk of {change.host} was full: {out}", limit=True)
    wrong = {path: "its content is another" for path in said.other if path not in said.linked}
    lost = {one.item for one in said.said.unreadable}
    wrong = {path: "" if path in lost else why for path, why in wrong.items()}
    if wrong:
        more = f" ({words})" if words else ""
        return Tried(Verdict.FAILED, f"not as in the repository: {named(wrong, len(wrong))}{more}")
    if status:
        return Tried(Verdict.FAILED, words)
    if said.same + len(said.linked) < len(take.files):
        return Tried(Verdict.FAILED, f"restic compared {said.same:,} of {counted(len(take.files), 'file')}")
    return None


def _broken_off(job: JobSaid) -> str:
    if job.stopped:
        return "the run was cancelled"
    return f"the job was broken off{f': {job.last}' if job.last else ''}" if not job.done else "the job left it out"

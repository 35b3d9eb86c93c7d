"""The look at a host that was lost and answers again: what boot it is in, how its job is, what the package manager needs."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Json
from mainstay.runner.hooks import UNREAD
from mainstay.runner.shell.contract import JobStatus
from mainstay.runner.steps import StepIO
from mainstay.runner.track import Track
from mainstay.runner.words import spell

_JOBS = ("apply", "apply-again")


def look(track: Track, lost: Json) -> Json:
    """One step, `reconcile`: the host is claimed anew, with a higher number, and asked. What is not as it was left is a
    concern; that contact was lost is a note. lost: as carried. Returns {boot_id, job: status or None}. Raises Stopped."""
    careful = track.request.careful
    track.limit = min(careful.apply_timeout, max(careful.reconcile_for, careful.lost_after))
    found: Json = track.step("reconcile", lambda io: _look(track, io, lost))
    track.held = track.recorder.sent = True
    # One that was to reboot is meant to be in another boot, and what a job was cut short by is found with its end.
    meant = lost["step"].removeprefix("undo.") in ("reboot.launch", "reboot")
    if not meant and found["job"] != JobStatus.LOST:
        track.booted(found["boot_id"], f"while there was no contact to it (in {lost['step']})")
    track.concerns += found["repaired"]
    return found


def _look(track: Track, io: StepIO, lost: Json) -> Json:
    work = track.work(io)
    boot = track.patiently(io, lambda: track.tools.upkeep.probe(track.shell)).boot_id
    job = _job(track, io, lost["step"])
    repaired: list[str] = []
    # While the job is at work, what looks half done is not; what it left is mended after its end, where it is followed.
    if job is not JobStatus.RUNNING and (job is not JobStatus.LOST or track.phase == "look"):
        try:
            repaired = track.patiently(io, lambda: track.operation.prepare(work, wait=track.request.careful.lock_wait))
        except Refused as no:
            io.notes.append(f"the package manager could not be looked at: {no.message}")
    silent = (track.tools.clock.now() - datetime.fromisoformat(lost["since"])).total_seconds()
    same = "the same boot" if boot == track.boot else "another boot"
    words = [same, *([f"its job: {_IN_WORDS[job]}"] if job else []), *repaired]
    io.detail = f"answers again; {'; '.join(words)}"
    told = lost["fault"] or f"contact lost for {spell(silent)} in {lost['step']}"
    io.notes.append(f"{told}; reconciled: {'; '.join(words)}")
    return {"boot_id": boot, "job": job, "repaired": repaired}


def _job(track: Track, io: StepIO, step: str) -> JobStatus | None:
    """How the job of that step is; None where the step has none that is followed. Where the step is not known: the one of
    all that there may be which matters most."""
    name = step.removesuffix(".launch")
    if track.phase == "look":
        names = [f"{prefix}{job}" for prefix in ("", "undo.") for job in _JOBS]
    elif name.removeprefix("undo.") in _JOBS:
        names = [name]
    else:
        return None
    # Past the end of what it printed: a job that has ended is told to run while there is more of that to be read.
    found = {track.patiently(io, partial(track.shell.poll, track.job(one), UNREAD)).status for one in names}
    return next(status for status in _IN_WORDS if status in found)


_IN_WORDS = {
    JobStatus.RUNNING: "still at work",
    JobStatus.LOST: "was cut short",
    JobStatus.EXITED: "had ended by itself",
    JobStatus.ABSENT: "had not begun",
}
"""What matters most comes first."""

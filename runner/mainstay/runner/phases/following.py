"""Watching a detached job to its end, over breaks in contact; and ending it, where the run is cancelled and it can be."""

from __future__ import annotations

from contextlib import suppress

from mainstay.inventory.value import Value
from mainstay.runner.engine.contract import Unkept
from mainstay.runner.shell.contract import JobState, JobStatus, ShellError
from mainstay.runner.steps import GaveUp, HostFailed, StepIO
from mainstay.runner.track import Silence, Track

POLL_FIRST, POLL_LATER = 0.2, 1.0
"""Seconds between two looks at a detached job, unless its end is heard of before: short work is seen soon, long work is not
asked all the time. A host that puts its answer off tells the end at once, and so for longer."""

WORTH_SAYING = 10.0
"""Seconds of silence, in the middle of the work, that the record names."""


LOOK = 5.0
"""Seconds between two looks at whether the run is cancelled, and between two tries to stop the job."""


class Stopping:
    """Nothing of it is kept: a process that goes on with the step finds the same wish in the state."""

    def __init__(self, track: Track, io: StepIO, name: str, change: Value) -> None:
        self._track, self._io, self._name, self._change = track, io, name, change
        self._next = track.tools.monotonic() if track.operation.stoppable else float("inf")
        self.words = ""
        """For whoever watches: that it is being stopped."""

    def look(self) -> None:
        now = self._track.tools.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK
        if not self.words:
            if not (by := called_off(self._track)):
                return
            self.words = f"being stopped, {by}"
            self._io.progress(self.words)
        with suppress(ShellError):  # how long there has been no contact is what polling counts
            self._track.operation.stop(self._track.work(self._io), self._change, self._name)


def cancelled(track: Track, run: str = "") -> str:
    """By whom and why, in words; empty where the run is not cancelled, or that can't be known now. run: another than the one
    that is worked on."""
    with suppress(Unkept):
        row = track.tools.state.standing(run or track.request.id)
        if row is not None and row.wish == "cancel":
            return f"cancelled by {row.wish_by}" + (f": {row.wish_reason}" if row.wish_reason else "")
    return ""


def called_off(track: Track) -> str:
    """As cancelled. The wish may be that of the run which is reconciled: nobody may have been able to stop its job since."""
    reconciled = track.of if track.of != track.request.id else ""
    return (cancelled(track, reconciled) if reconciled else "") or cancelled(track)


def follow(track: Track, io: StepIO, name: str, change: Value) -> tuple[JobState, bytes]:
    """Returns the job's end and all that it printed. Raises GaveUp after `lost_after` seconds without contact, or where it
    still works after `apply_timeout`; HostFailed where the host knows nothing of it."""
    tools = track.tools
    limit = track.request.careful.apply_timeout if track.limit is None else track.limit
    track.work(io)
    started, silence = tools.monotonic(), Silence(track, io)
    output, offset, pause = bytearray(), 0, POLL_FIRST
    stopping = Stopping(track, io, name, change)
    while True:
        try:
            asked = tools.monotonic()
            state = track.shell.poll(name, offset, patience=2 * pause)
        except ShellError as error:
            # Whatever the reason: the job may be at work all the same, and how it ends is not known from here.
            silence.bear(error)
            continue
        if (silent := silence.over()) > WORTH_SAYING:
            io.notes.append(f"no contact for {silent:.0f} s while it worked")
        if state.output:
            io.output(state.output)
            output += state.output
            far = track.operation.progress(bytes(output[-65536:]), change)
            io.progress(f"{stopping.words}: {far}" if stopping.words else far)
        offset = state.offset
        if state.status is JobStatus.ABSENT:
            raise HostFailed(f"the host knows nothing of job {name}")
        if state.status is not JobStatus.RUNNING:
            return state, bytes(output)
        if tools.monotonic() - started > limit:
            raise GaveUp(track.host.name, f"still working after {limit:.0f} s; it is left alone")
        stopping.look()
        if not state.output:
            # A host that has put its answer off has waited already.
            tools.sleep(max(0.0, pause - (tools.monotonic() - asked)))
            pause = min(POLL_LATER, pause * 1.5)

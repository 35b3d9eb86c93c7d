"""The way back on one host, by the rollout itself: only where it is known to be safe, and proved like the change."""

from __future__ import annotations

from mainstay.inventory.value import Json, Value
from mainstay.runner.phases.change import make
from mainstay.runner.steps import StepIO, Stopped
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict


def may_go_back(track: Track) -> str:
    """Why this host is not taken back automatically; empty where it is."""
    if track.request.on_failure == "halt":
        return "the plan halts on failure"
    if track.undo is None or track.change is None:
        return "nothing to go back to was captured"
    never = track.operation.never_automatic(track.change)
    if never:
        return f"not taken back without a human: {', '.join(never)}"
    return ""


def go_back(track: Track, why: str, start: str = "") -> tuple[Verdict, str]:
    """Put the host back after its change went wrong. Returns its verdict and reason. Never raises Stopped.
    start: the step to go on with, where contact was lost in it."""
    assert track.undo is not None
    back: Value = track.operation.undo(track.undo)
    track.phase, track.why = "back", why
    try:
        if not start or start == "undo.stage":
            staged, start = track.patient_step("undo.stage", lambda io: _stage(track, io, back)), ""
            track.back = staged
        assert track.back is not None, "staged before anything later"
        make(track, track.operation.read_change(track.back), prefix="undo.", start=start.removeprefix("undo."))
    except Stopped as stop:
        if stop.verdict is Verdict.UNKNOWN:
            return Verdict.UNKNOWN, f"{why}; contact lost on the way back: {stop.reason}"
        return Verdict.FAILED, f"{why}; could not be put back: {stop.step}: {stop.reason}"
    track.step("undo.note", lambda io: note(track, io, why))
    return Verdict.ROLLED_BACK, f"{why}; put back and checked"


def _stage(track: Track, io: StepIO, back: Value) -> Json:
    # A transaction that failed in the middle is brought to an end first: going back starts from a sound package database.
    work = track.work(io)
    io.detail = "; ".join(track.operation.prepare(work, wait=track.request.careful.lock_wait))
    staged = track.operation.stage(work, back, keep=False)
    result: Json = staged.to_json()
    return result


def note(track: Track, io: StepIO, why: str) -> None:
    """Remember that this change was taken back here, so that it is not tried again by itself."""
    assert track.change is not None
    state, run, host = track.tools.state, track.of or track.request.id, track.host.name
    state.block(host, track.operation.fingerprint(track.change), run)
    state.mark_undone(run, host, run)
    io.detail = f"not tried again here until --retry: {why}"

"""The end of a host's work: back into service if it is well, other updaters let go, lock given back, after-state kept."""

from __future__ import annotations

from datetime import datetime

from mainstay.inventory.value import Json
from mainstay.runner.budget import FAILURES
from mainstay.runner.phases.change import hooks
from mainstay.runner.shell import hostlock
from mainstay.runner.steps import StepIO, Stopped
from mainstay.runner.track import Track
from mainstay.runner.words import spell


def into_service(track: Track, *, well: bool, start: str = "") -> None:
    """Run the `after` hooks on a host proved well; otherwise it stays drained, and the record names it.
    start: the step to go on with, where contact was lost in one of them."""
    if not track.drained:
        return
    if not well:
        if track.request.careful.before or track.request.careful.after:
            track.measures["drained"] = True
            track.recorder.notes.append("stays out of service: it is not proved well")
        return
    try:
        # Not by the name that they had when it was put back first: as jobs they would be found as done.
        hooks(track, "undo.after" if track.taken_back else "after", track.request.careful.after, start)
        track.drained = False
    except Stopped as stop:
        track.measures["drained"] = True
        track.concerns.append(f"not put back into service: {stop.reason}")


def release(track: Track) -> None:
    """Give back what was taken. What can't be given back is named, and makes the host degraded. Never raises Stopped.
    A host that does not answer is not asked once more: it is reconciled when it does."""
    if not track.held:
        return
    if track.lost:
        track.concerns.append("the host's lock was not given back")
        return
    if track.updaters_fenced:
        try:
            left = track.step("release-updaters", lambda io: _release_updaters(track, io))
            if left:
                track.concerns.append(f"other updaters are still fenced: {', '.join(left)}")
        except Stopped as stop:
            track.concerns.append(f"other updaters may still be fenced (the fence ends by itself): {stop.reason}")
            if track.lost:
                return
    try:
        ended = track.step("release", lambda io: _release(track, io))
    except Stopped as stop:
        track.concerns.append(f"the host's lock was not given back: {stop.reason}")
        return
    if ended["after"]:
        track.after = ended["after"]
        track.booted(ended["after"]["boot_id"], "after it was checked")
    if ended["late"]:
        track.concerns.append(ended["late"])
    if ended["foreign"]:
        track.measures["changed_by_others"] = ended["foreign"]
        track.concerns.append("changed by somebody else meanwhile: " + ", ".join(ended["foreign"]))


def _release_updaters(track: Track, io: StepIO) -> list[str]:
    work = track.work(io)
    left = list(track.patiently(io, lambda: track.tools.upkeep.release_updaters(work)))
    io.detail = f"left: {', '.join(left)}" if left else "gone, checked"
    return left


def _release(track: Track, io: StepIO) -> Json:
    work, upkeep = track.work(io), track.tools.upkeep
    after: Json = {}
    foreign: tuple[str, ...] = ()
    if track.change is not None and track.recorder.touched and track.operation.software:
        facts = track.patiently(io, lambda: upkeep.probe(track.shell))
        snapshot = track.patiently(io, lambda: track.operation.snapshot(work, track.change))
        stale = track.measures.get("stale", [])
        after = {**snapshot, "boot_id": facts.boot_id, "kernel": facts.kernel, "stale": stale}
    if track.log_mark and track.change is not None:
        change, mark = track.change, track.log_mark
        foreign = track.patiently(io, lambda: track.operation.changed_by_others(work, mark, change))
    track.patiently(io, lambda: hostlock.release(track.shell, work.fence, of=track.of))
    return {"after": after, "foreign": list(foreign), "late": overdue(track) if track.recorder.touched else ""}


def overdue(track: Track) -> str:
    """In words, how much longer than `overrun` the host has taken since the run was stopped or its window ended, whichever
    was first; empty where it has not."""
    stopped, overrun = _stopped_at(track), track.request.careful.overrun
    moments = [(stopped, "the run was stopped")] if stopped else []
    moments += [(track.ends, "the window's end")] if track.ends else []
    if not moments:
        return ""
    taken, since = max((_since(track, at), what) for at, what in moments)
    if taken <= overrun:
        return ""
    return f"brought to its end {spell(taken)} after {since}, {spell(overrun)} are allowed (overrun)"


def _since(track: Track, moment: str) -> float:
    return (track.tools.clock.now() - datetime.fromisoformat(moment)).total_seconds()


def _stopped_at(track: Track) -> str | None:
    """When the run was asked to stop, or its budget was used up; RFC 3339 UTC."""
    state, run, careful = track.tools.state, track.request.id, track.request.careful
    moments = [one.at for one in state.interventions(run) if one.wish == "cancel"][:1]
    tolerated = 0 if track.wave == 1 else careful.budget.of(track.total)
    others = state.outcomes(run, FAILURES).keys() - {track.host.name}
    if len(others) > tolerated:  # only then are the parts read: they are as many as hosts have ended
        parts = [part for part in state.parts(run) if part.host in others and part.verdict in FAILURES]
        moments += sorted(part.steps[-1].finished_at for part in parts if part.steps)[tolerated : tolerated + 1]
    return min(moments, default=None)

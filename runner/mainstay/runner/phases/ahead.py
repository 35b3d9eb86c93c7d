"""Ahead of a window: what the occurrence will install is brought onto the host, and the host is given back as it was."""

from __future__ import annotations

from mainstay.runner.phases.finish import release
from mainstay.runner.phases.prepare import prepare
from mainstay.runner.record import HostPart
from mainstay.runner.steps import Stopped
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict


def stage_alone(track: Track) -> tuple[HostPart, str]:
    """All of an admitted host's work in such a run. Returns its part and the kind of stop ("" where there was none)."""
    track.keep = False
    try:
        something = prepare(track)
    except Stopped as stop:
        release(track)
        return _left(track, stop)
    track.log_mark = ""  # what somebody else changes meanwhile is the occurrence's to find
    release(track)
    track.carried = None
    if not something:
        return track.part(Verdict.SUCCEEDED, "nothing to do"), ""
    assert track.change is not None, "something is to change"
    track.measures["staged"] = track.operation.changes(track.change)
    return track.part(Verdict.SUCCEEDED, f"{track.measures['staged']} downloaded, nothing changed"), ""


def _left(track: Track, stop: Stopped) -> tuple[HostPart, str]:
    """A host that contact was lost to is not unknown: nothing was changed, and whoever comes next takes its lock over."""
    if stop.kind != "contact-lost":
        return track.part(stop.verdict, stop.reason), stop.kind
    track.carried = None
    track.concerns.clear()
    return track.part(Verdict.REFUSED, f"{stop.step}: {stop.reason}; nothing had been changed"), "unreachable"

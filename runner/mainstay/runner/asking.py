"""The gate as a rollout asks it: of the run and of its waves, which may wait, and of a host in hand, which does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mainstay.inventory.value import Json
from mainstay.runner.ports import Permission
from mainstay.runner.request import RunRequest
from mainstay.runner.state.contract import State
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict

WHOLE = ""
"""In the place of a host's name: what is noted of the run as a whole."""

SOON, LATE = 0.5, 2.0
"""Seconds between two looks at what is waited for: at first, and after a while."""
SHORTEST = 0.05
"""Seconds to the next look where it should have opened already: clocks differ."""


def permitted(tools: Toolbox, request: RunRequest, step: str) -> Json:
    """Until the gate lets the run (or its wave) begin or refuses it; somebody who cancels or pauses it meanwhile is heard.
    Returns {refused, verdict}: why it does not begin, empty where it does. Work for a step."""
    told, pause = "", SOON
    try:
        while True:
            answer = _answer(tools, request, step)
            if not isinstance(answer, Held):
                return answer
            if answer.why != told:
                note(tools, request.id, answer.why)
                told = answer.why
            tools.doze(min(pause, answer.left(tools.clock.now())))
            pause = min(LATE, pause * 1.5)
    finally:
        if told:
            note(tools, request.id, "")


def wait(tools: Toolbox, run: str, until: datetime) -> None:
    """For so long, unless the run is cancelled meanwhile. Work for a step."""
    while tools.clock.now() < until:
        row = tools.state.standing(run)
        if row is not None and row.wish == "cancel":
            return
        tools.doze(1.0)


@dataclass(frozen=True, slots=True)
class Held:
    """Why it waits, in words. until: when the gate will have another answer, as far as it knows."""

    why: str
    until: datetime | None = None

    def left(self, now: datetime) -> float:
        """Seconds to the moment at which to look again at the latest: what opens for a short time only is not slept over."""
        return max(SHORTEST, (self.until - now).total_seconds()) if self.until is not None else LATE


def _answer(tools: Toolbox, request: RunRequest, step: str) -> Json | Held:
    row = tools.state.standing(request.id)
    if row is not None and row.wish == "cancel":
        return {"refused": f"cancelled by {row.wish_by}: {row.wish_reason}", "verdict": Verdict.CANCELLED}
    if row is not None and row.wish == "pause":
        return Held(f"paused by {row.wish_by}")
    permission = tools.gate(request).permit(request.id, None, step, None)
    if permission.answer == "wait":
        return Held(in_words(permission), datetime.fromisoformat(permission.until) if permission.until else None)
    return {"refused": refused(permission), "verdict": permission.verdict}


def note(tools: Toolbox, run: str, words: str) -> None:
    """What the run as a whole waits for, for whoever shows it."""
    tools.state.note_step(run, WHOLE, "permit", words)


def waits_for(state: State, run: str) -> str:
    """What the run as a whole waits for; empty where it does not."""
    return str(state.notes(run).get(WHOLE, {}).get("detail", ""))


def in_words(permission: Permission) -> str:
    """Of one that waits."""
    until = f" until {permission.until}" if permission.until else ""
    return f"waiting{until}: {permission.reason}"


def refused(permission: Permission) -> str:
    """Why it does not start; empty where it does."""
    return "" if permission.answer == "start" else permission.reason or f"the gate {permission.gate} is closed"


def of_host(tools: Toolbox, request: RunRequest, host: str) -> str:
    """Why this host would not start now, where it can't wait."""
    return refused(tools.gate(request).permit(request.id, host, "host", None))


def put_off(tools: Toolbox, request: RunRequest) -> list[str]:
    """Hosts that the gate would refuse now. They come last: in a first wave they would prove nothing, and stop the run."""
    gate = tools.gate(request)
    return [
        host.name for host in request.hosts if gate.permit(request.id, host.name, "survey", None).answer == "refuse"
    ]


def may(track: Track, name: str, step: str) -> str:
    """Ask for a host in hand, in a checkpoint of that name. Returns why not; empty where it may. A run that is bound to
    nothing is not asked about."""
    if not track.request.timing:
        return ""

    def ask() -> Json:
        gate = track.tools.gate(track.request)
        return {"refused": refused(gate.permit(track.request.id, track.host.name, step, None))}

    answer: str = track.recorder.context.step(name, ask)["refused"]
    return answer

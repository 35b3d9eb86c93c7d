"""Errand: what is done for a host on the controller, with nothing sent to the host: retention, prune, check, copy, drill.

It is a run like any other: waves, places, gates, parts, a record. The host is neither locked nor probed, and whether it is up
does not matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mainstay.inventory.host import Host
from mainstay.runner import calling_off
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.operation import Forecast
from mainstay.runner.phases.following import cancelled
from mainstay.runner.phases.prepare import NotAdmitted, admit
from mainstay.runner.record import HostPart
from mainstay.runner.steps import StepIO, Stopped
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Desk:
    """What an errand works with for one host. step: one checkpoint (name, work) → what the work returned, plain JSON; done
    once, whatever happens to this process in between, and named in the record. Raises Stopped, which ends the host's errand.
    A work that asks `calling_off.look` now and then ends by it where the run is cancelled, and the host's errand with it.

    A work that is begun again after a crash finds what it did before: it has to be safe to do twice.
    """

    run: str
    host: Host
    artifacts: Artifacts
    step: Callable[[str, Callable[[StepIO], Any]], Any]
    now: Callable[[], float]
    """Unix seconds."""


class Errand(ABC):
    """Raise Refused in a step for what policy forbids (nothing was touched); any other MainstayError is a failure.
    Concerns and measures go through StepIO."""

    @property
    @abstractmethod
    def kind(self) -> str: ...

    @abstractmethod
    def preview(self, host: Host, now: float) -> Forecast:
        """What would be done for the host; reads only. count 0: nothing. now: Unix seconds."""

    @abstractmethod
    def work(self, desk: Desk, forecast: Forecast) -> str:
        """Do it. Returns what was done, in words."""

    software = False


def attend_to(track: Track, errand: Errand, total: int) -> tuple[HostPart, str]:
    """Returns the host's part and the kind of stop ("" where there was none)."""
    try:
        admit(track, total)
    except NotAdmitted as refusal:
        return track.part(refusal.verdict, refusal.reason), "not-admitted"
    tools = track.tools

    def step(name: str, work: Callable[[StepIO], Any]) -> Any:
        def live(io: StepIO) -> Any:
            with calling_off.heard(lambda: cancelled(track)):
                return work(io)

        return track.step(name, live)

    desk = Desk(track.request.id, track.host, tools.artifacts, step, lambda: tools.clock.now().timestamp())
    try:
        return track.part(Verdict.SUCCEEDED, errand.work(desk, track.forecast)), ""
    except Stopped as stop:
        off = stop.verdict is Verdict.CANCELLED
        said = f"{stop.reason} (in {stop.step})" if off else f"{stop.step}: {stop.reason}"
        return track.part(stop.verdict, said), stop.kind

"""Staging: what an occurrence will install is downloaded ahead of its opening, by a run of its own that changes nothing.

It is a rollout of the plan's own operation over all its hosts at once, that goes with each as far as the downloads.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property

from mainstay.inventory.amounts import Share
from mainstay.inventory.host import Host
from mainstay.runner.plan import Plan, WaveSpec
from mainstay.runner.ports import Clock, Permission
from mainstay.runner.record import STAGE
from mainstay.runner.request import Asking, RunRequest
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.gate import Freezing, Frozen
from mainstay.schedules.in_force import moment
from mainstay.schedules.occurrences import Schedule, occurrence_request, run_id
from mainstay.schedules.openings import Opening
from mainstay.schedules.timing import timing_of

_ALL = Share(percent=100)
GENTLE = {
    "waves": (WaveSpec(size=_ALL),),
    "prove_first": False,
    "budget": _ALL,
    "strict_budget": False,
    "strict": False,
    "unreachable": _ALL,
    "soak": 0.0,
    "before": (),
    "after": (),
    "health": (),
    "restart": "none",
    "reboot": "never",
    "other_updaters": "report",
    "reconcile_for": 0.0,
}
"""No host's failure stops another, and nothing is done to a host that would disturb it or that needs a window."""


def stages_at(plan: Plan, opening: Opening) -> datetime | None:
    """When the downloads for that opening begin; None where the plan does not stage."""
    return opening.starts_at - timedelta(seconds=plan.stage) if plan.stage else None


def stage_id(schedule: str, at: datetime) -> str:
    """The id of the run that stages for the opening at that moment, whoever asks for it and however often. It sorts right
    before the occurrence's."""
    return run_id(f"{schedule}\0{STAGE}", at - timedelta(milliseconds=1))


def stage_request(schedule: Schedule, opening: Opening, loaded: LoadedSite, asking: Asking) -> RunRequest:
    """The run that stages for that opening. asking: of the clock. For the record it names the occurrence and its run."""
    request = occurrence_request(schedule, opening, loaded, asking)
    new = {
        "id": stage_id(schedule.id, opening.starts_at),
        "kind": STAGE,
        "careful": request.careful.model_copy(update=GENTLE),
        "on_failure": "halt",
        "occurrence": {**request.occurrence, "run": request.id},
    }
    return request.model_copy(update=new)


class StagingGate:
    """Implements Gate for one run that stages: as long as its opening has not begun, and no freeze holds now. No window and
    no approval is asked about. What will not be done in the opening is not staged for it."""

    def __init__(self, request: RunRequest, *, clock: Clock, freezes: Callable[[], Freezing]) -> None:
        self._request = request
        self._clock = clock
        self._freezes = freezes

    @cached_property
    def _opening(self) -> Opening:
        one = timing_of(self._request).occurrence
        assert one is not None, "what is staged for is an occurrence"
        starts, ends, cutoff = (datetime.fromisoformat(at) for at in (one.at, one.ends_at, one.cutoff_at))
        return Opening(one.window, starts, ends, cutoff, one.zone)

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        now, opening = self._clock.now(), self._opening
        if now >= opening.starts_at:
            opened = moment(opening.starts_at, opening.zone)
            return _refuse("window", f"its window opened {opened}; what is not there yet is downloaded in it")
        freezes, plan = self._freezes(), self._request.plan
        if why := freezes.usable(plan, now):
            return _refuse("freeze", why)
        if why := freezes.allows(timing_of(self._request).rules, opening.starts_at):
            return _refuse("calendar", why)
        place = self._request.host(host) if host is not None else None
        if frozen := freezes.at(plan, place, now):
            return _refuse("freeze", f"frozen: {self._named(frozen)}")
        if frozen := _throughout(freezes, plan, place, opening):
            return _refuse("freeze", f"nothing will be installed: frozen: {self._named(frozen)}")
        return Permission(answer="start")

    def _named(self, frozen: Frozen) -> str:
        return f"{frozen.name} (until {moment(frozen.ends_at, self._opening.zone)})"


def _throughout(freezes: Freezing, plan: str, host: Host | None, opening: Opening) -> Frozen | None:
    """What keeps anything from starting until the opening's cutoff."""
    at, last = opening.starts_at, None
    while at < opening.cutoff_at:
        last = freezes.at(plan, host, at)
        if last is None:
            return None
        at = last.ends_at
    return last


def _refuse(gate: str, reason: str) -> Permission:
    return Permission(answer="refuse", reason=reason, gate=gate)

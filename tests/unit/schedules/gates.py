"""A gate with everything around it in words: windows, freezes, approval and past that a test sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.plan import PatchPlan, Timed
from mainstay.runner.ports import Permission
from mainstay.runner.record import HostPart, Step
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.approvals import Standing
from mainstay.schedules.estimates import Estimates
from mainstay.schedules.freezes import Calendared, Freeze
from mainstay.schedules.gate import SiteGate
from mainstay.schedules.openings import Opening
from mainstay.schedules.store.memory import MemorySchedules
from mainstay.schedules.timing import Occurrence, Timing
from mainstay.schedules.windows import Window

NIGHT = Window.model_validate(
    {
        "name": "night",
        "rrule": "FREQ=DAILY",
        "start": "02:00",
        "duration": "3h",
        "cutoff": "1h",
        "timezone": "Europe/Berlin",
    }
)
"""In winter from 01:00 to 04:00 UTC, and nothing starts from 03:00 on."""


def utc(text: str) -> datetime:
    """`11 02:30` of December 2026."""
    day, _, time = text.partition(" ")
    return datetime.fromisoformat(f"2026-12-{day}T{time}:00Z")


@dataclass
class Around:
    """What the gate asks of others. asked: the openings that an approval was asked for."""

    clock: FakeClock
    store: MemorySchedules = field(default_factory=MemorySchedules)
    freezes: list[tuple[str, str | None, datetime, datetime]] = field(default_factory=list)
    """(name, host or None for all, start, end)"""
    stale: str = ""
    business: bool = True
    """Whether calendars have an event at every moment, or never."""
    approval: Standing = field(default_factory=lambda: Standing("granted"))
    asked: list[Opening | None] = field(default_factory=list)
    past: dict[str, list[float]] = field(default_factory=dict)
    """host → seconds that it took, the newest first."""

    def at(self, plan: str, host: Host | None, moment: datetime) -> Freeze | None:
        name = host.name if host else None
        over = [(n, s, e) for n, on, s, e in self.freezes if on in (None, name) and s <= moment < e]
        return max((Freeze(n, "f.ics", s, e) for n, s, e in over), key=lambda one: one.ends_at, default=None)

    def usable(self, plan: str, now: datetime) -> str:
        return self.stale

    def allows(self, plan: Calendared, moment: datetime) -> str:
        return "" if self.business else f"no event of calendar {shown(plan.calendar[0])}"

    def approved(self, request: RunRequest, now: datetime, opening: Opening | None) -> Standing:
        self.asked.append(opening)
        return self.approval

    def recent_parts(self, plan: str, host: str | None, last: int) -> list[HostPart]:
        return [
            worked(name, seconds) for name, spent in self.past.items() if host in (None, name) for seconds in spent
        ][:last]

    def gate(self, request: RunRequest) -> SiteGate:
        return SiteGate(
            request,
            clock=self.clock,
            timezone="Europe/Berlin",
            freezes=lambda: self,
            approved=self.approved,
            estimates=Estimates(self, request.plan),
            carry=self.store.carry,
        )

    def ask(self, request: RunRequest, host: str | None = None, step: str = "", now: str = "") -> Permission:
        """Of a fresh gate, at that moment."""
        if now:
            self.clock = FakeClock(utc(now))
        return self.gate(request).permit(request.id, host, step or ("host" if host else "run"), None)


def worked(host: str, seconds: float, *, change: float = 0.0, verdict: Verdict = Verdict.SUCCEEDED) -> HostPart:
    """Its work took so long, of that the last `change` seconds from the change on."""
    begin = datetime.fromisoformat("2026-11-01T00:00:00Z")
    marks = {
        "admit": -500.0,
        "lock": 0.0,
        "apply.launch": seconds - change,
        "apply": seconds - change,
        "health": seconds,
    }
    steps = tuple(
        Step(
            name=name,
            verdict=Verdict.SUCCEEDED,
            started_at=rfc3339(begin + timedelta(seconds=at)),
            finished_at=rfc3339(begin + timedelta(seconds=at)),
        )
        for name, at in marks.items()
    )
    return HostPart(host=host, verdict=verdict, steps=steps)


def request_of(
    *windows: Window,
    hosts: str = "w1 w2",
    occurrence: Occurrence | None = None,
    queued: bool = False,
    rules: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    **more: Any,
) -> RunRequest:
    """A patch run over these hosts (`w2@Asia/Tokyo`: with a zone of its own)."""
    made = PatchPlan.model_validate({"name": "patch-web", "targets": "all", **(plan or {})})
    named = [text.partition("@") for text in hosts.split()]
    places = [
        Host.model_validate({"name": name, "address": f"10.0.0.{n}", "timezone": zone or None})
        for n, (name, _, zone) in enumerate(named, 1)
    ]
    timing = Timing(windows=windows, occurrence=occurrence, queued=queued, rules=Timed.model_validate(rules or {}))
    asking = Asking(requested_by="anna", asked_at="2026-12-10T12:00:00.000Z")
    return plan_request(made, places, asking).model_copy(update={"timing": timing.to_json(), **more})


def occurrence(start: str, end: str, cutoff: str, **more: Any) -> Occurrence:
    at, ends_at, cutoff_at = (rfc3339(utc(text)) for text in (start, end, cutoff))
    return Occurrence(
        schedule="patch-web/night",
        at=at,
        window="night",
        zone="Europe/Berlin",
        ends_at=ends_at,
        cutoff_at=cutoff_at,
        **more,
    )


def around(now: str = "11 01:30") -> Around:
    return Around(FakeClock(utc(now)))

"""The gate of a site: whether a run, a wave or a host may start now, by window, freezes, calendars and approval.

What is asked of it, and when, says `mainstay.runner.ports.Gate`. A run that was asked for without a timing (a rollback, a
reconciliation) has another one, `AlwaysOpen`. Passed over: by break-glass everything, by a skipped gate (`GATES`) that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from mainstay.inventory.host import Host
from mainstay.recovery.required import GATE as BACKUP
from mainstay.runner.ports import Clock, Permission
from mainstay.runner.request import RunRequest
from mainstay.runner.steps import rfc3339
from mainstay.runner.words import spell
from mainstay.schedules.approvals import Standing
from mainstay.schedules.estimates import Estimates, Span
from mainstay.schedules.in_force import InForce, moment
from mainstay.schedules.openings import Opening
from mainstay.schedules.store.contract import Carried
from mainstay.schedules.timing import Timing, timing_of

GATES = ("window", "freeze", "calendar", "approval", BACKUP)
"""Each may be passed over by its name. The last one is asked in `mainstay.recovery.required`."""
WAITING = ("run", "wave", "soaked", "host")
"""The steps before which there may be a wait."""


class Frozen(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def ends_at(self) -> datetime: ...


class Freezing(Protocol):
    """What is asked of `freezes.Freezes`, which says what it means."""

    def at(self, plan: str, host: Host | None, moment: datetime) -> Frozen | None: ...
    def usable(self, plan: str, now: datetime) -> str: ...
    def allows(self, plan: Calendared, moment: datetime) -> str: ...


class Calendared(Protocol):
    @property
    def calendar(self) -> tuple[str, ...]: ...


class SiteGate:
    """Implements Gate for one run. freezes: as they are now. approved: how its approval stands, which is asked for where it
    was not, open until the cutoff of that opening. carry: keeps a host for which no time was left."""

    def __init__(
        self,
        request: RunRequest,
        *,
        clock: Clock,
        timezone: str,
        freezes: Callable[[], Freezing],
        approved: Callable[[RunRequest, datetime, Opening | None], Standing],
        estimates: Estimates,
        carry: Callable[[Carried], None],
    ) -> None:
        self._request = request
        self._clock = clock
        self._timezone = timezone
        self._freezes = freezes
        self._approved = approved
        self._estimates = estimates
        self._carry = carry

    @cached_property
    def _timing(self) -> Timing:
        return timing_of(self._request)

    @cached_property
    def _in_force(self) -> InForce:
        request = self._request
        asked_at = datetime.fromisoformat(request.asked_at)
        soaks = request.careful.soak > 0
        return InForce(self._timing, request.hosts, self._timezone, soaks=soaks, asked_at=asked_at)

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        if step == "survey":
            return Permission(answer="start")
        occurrence = self._timing.occurrence
        if occurrence is not None and occurrence.missed:
            return _refuse("window", occurrence.missed, missed=True)
        if occurrence is not None and occurrence.refused:
            return _refuse("plan", occurrence.refused)
        if glass := self._request.break_glass.strip():
            return Permission(answer="start", gate="window", reason=f"break-glass: {glass}")
        now = self._clock.now()
        if host is None:
            return self._of_run(now, step)
        if step in ("restart", "reboot"):
            return self._to_its_end(now, self._request.host(host))
        return self._of_host(now, self._request.host(host), step, estimate)

    def _holds(self, gate: str) -> bool:
        """Whether it was not passed over."""
        return not self._request.skip_gates.get(gate, "").strip()

    # The run and its waves

    def _of_run(self, now: datetime, step: str) -> Permission:
        opening = self._in_force.at(now) if self._windowed else None
        held = (self._closed(now, opening, step) if self._windowed else None) or self._kept(now, None, opening, step)
        if step != "run" or (held is not None and held.answer == "refuse" and held.verdict == "refused"):
            return held or _start(opening)
        # Asked also while it waits for its window; and that nobody has approved it is a better reason than that it is late.
        approval = self._approval(now, opening)
        if approval is not None and approval.answer == "refuse":
            return approval
        return held or approval or _start(opening)

    @property
    def _windowed(self) -> bool:
        return self._in_force.bound and self._holds("window")

    def _closed(self, now: datetime, opening: Opening | None, step: str) -> Permission | None:
        """None where something may start in this opening now."""
        if opening is not None and opening.may_start(now):
            return None
        timing, occurrence = self._timing, self._timing.occurrence
        if occurrence is not None and opening is not None and now < opening.starts_at:
            return _wait("window", opening.starts_at, f"window {opening.window} {_opens(opening)}")
        later = self._in_force.next(now)
        if later is not None and (step == "soaked" or (step == "run" and timing.queued)):
            return _wait("window", later.starts_at, f"window {later.window} {_opens(later)}")
        again = f"; {later.window} {_opens(later)}" if later else ""
        if step != "run":
            return _refuse("window", f"{_past(opening, now)}; what is left is carried over{again}")
        if occurrence is None:
            return _refuse("window", f"{_outside(opening, self._in_force.names, now)}{again}")
        why = "no window of the plan is open any more" if occurrence.late else _past(opening, now)
        return _refuse("window", f"it came to its turn too late: {why}{again}", missed=True)

    def _approval(self, now: datetime, opening: Opening | None) -> Permission | None:
        """None where it is there, or none is needed."""
        if not self._holds("approval") or self._timing.rules.approval == "none":
            return None
        if self._windowed and self._timing.occurrence is None and not (opening and opening.may_start(now)):
            opening = self._in_force.next(now)
        standing = self._approved(self._request, now, opening)
        if standing.answer == "granted":
            return None
        if standing.answer == "refused":
            return _refuse("approval", standing.reason)
        return Permission(answer="wait", until=standing.until or None, reason=standing.reason, gate="approval")

    def _kept(self, now: datetime, host: Host | None, opening: Opening | None, step: str) -> Permission | None:
        """By a freeze or a calendar; None where neither does. Waits for the end of a freeze if that comes before the cutoff,
        and after a soak for as long as it takes; a host in hand does not."""
        plan, freezes = self._request.plan, self._freezes()
        if self._holds("freeze"):
            if why := freezes.usable(plan, now):
                return _refuse("freeze", why)
            frozen = freezes.at(plan, host, now)
            if frozen is not None:
                until = f"until {moment(frozen.ends_at, opening.zone if opening else self._timezone)}"
                soon = step in WAITING and opening is not None and frozen.ends_at < opening.cutoff_at
                if soon or step == "soaked":
                    return _wait("freeze", frozen.ends_at, f"frozen: {frozen.name} ({until})")
                return _refuse("freeze", f"frozen: {frozen.name} ({until})")
        if self._timing.rules.calendar and self._holds("calendar"):
            why = freezes.allows(self._timing.rules, opening.starts_at if opening else now)
            if why and step == "soaked" and opening is not None:
                return _wait("calendar", opening.ends_at, why)
            if why:
                return _refuse("calendar", why)
        return None

    # One host

    def _of_host(self, now: datetime, host: Host, step: str, estimate: float | None) -> Permission:
        patient = step == "host"
        opening: Opening | None = None
        if self._windowed:
            opening = self._in_force.at(now, host)
            if opening is None:
                return self._not_open(now, host, patient)
            if now < opening.starts_at and patient:
                return _wait("window", opening.starts_at, f"window {opening.window} {_opens(opening)}")
            if not opening.may_start(now):
                return self._carried(now, host, _past(opening, now))
        if no := self._kept(now, host, opening, step):
            return no
        if opening is not None:
            turn = self._turn(host, opening)
            if patient and now < turn:
                return _wait("window", turn, f"its turn in {opening.window} comes then (jitter)")
            if short := self._short(now, host, opening, "whole" if patient else "change", estimate):
                return self._carried(now, host, short)
        return _start(opening)

    def _not_open(self, now: datetime, host: Host, patient: bool) -> Permission:
        later = self._in_force.next(now, host)
        if patient and later is not None and self._timing.queued:
            return _wait("window", later.starts_at, f"window {later.window} {_opens(later)}")
        again = f"; {later.window} {_opens(later)}" if later else ""
        return _refuse("window", f"no window of the plan is open on it{again}")

    def _turn(self, host: Host, opening: Opening) -> datetime:
        """When a host's turn comes by the plan's jitter, always at the same place; always before the cutoff. A run that was
        asked for by hand to start at once has none."""
        by_the_clock = self._timing.occurrence is not None or self._timing.queued
        spread = timedelta(seconds=self._timing.rules.jitter if by_the_clock else 0.0)
        share = int.from_bytes(hashlib.sha256(f"{self._request.plan}\0{host.name}".encode()).digest()[:6]) / 2**48
        return opening.starts_at + min(spread, opening.cutoff_at - opening.starts_at) * share

    def _short(self, now: datetime, host: Host, opening: Opening, span: Span, estimate: float | None) -> str:
        """In words, that what is left of the window is too little for it; empty where it is not."""
        room = (opening.ends_at - opening.starts_at).total_seconds()
        left = (opening.ends_at - now).total_seconds()
        need = self._estimates.of(host.name, span, room).seconds if estimate is None else estimate
        if need <= left:
            return ""
        never = "; all of it is too short" if need > room else ""
        return f"no time left in {opening.window}: needs about {spell(need)}, {spell(left)} are there{never}"

    def _carried(self, now: datetime, host: Host, why: str) -> Permission:
        reason = f"{why}; carried over"
        plan, run = self._request.plan, self._request.id
        self._carry(Carried(plan=plan, host=host.name, run=run, at=rfc3339(now), reason=reason))
        return _refuse("window", reason)

    def _to_its_end(self, now: datetime, host: Host) -> Permission:
        """A host in hand is brought to its end, but nothing more of it is disturbed once `overrun` is over too."""
        opening = self._in_force.at(now, host) if self._windowed else None
        overrun = self._request.careful.overrun
        if opening is None and self._windowed:
            return _refuse("window", f"its window ended long ago, and {spell(overrun)} are allowed (overrun)")
        if opening is None or now < opening.ends_at + timedelta(seconds=overrun):
            return _start(opening)
        over = spell((now - opening.ends_at).total_seconds())
        return _refuse("window", f"{opening.window} ended {over} ago, and {spell(overrun)} are allowed (overrun)")


def _start(opening: Opening | None) -> Permission:
    return Permission(answer="start", until=rfc3339(opening.ends_at) if opening else None)


def _wait(gate: str, until: datetime, reason: str) -> Permission:
    return Permission(answer="wait", until=rfc3339(until), reason=reason, gate=gate)


def _refuse(gate: str, reason: str, *, missed: bool = False) -> Permission:
    return Permission(answer="refuse", verdict="missed" if missed else "refused", reason=reason, gate=gate)


def _opens(opening: Opening) -> str:
    local = f"opens {moment(opening.starts_at, opening.zone)}"
    return local if local.endswith(" UTC") else f"{local} ({opening.starts_at:%Y-%m-%d %H:%M} UTC)"


def _past(opening: Opening | None, now: datetime) -> str:
    if opening is None:
        return "no window of the plan is open any more"
    if opening.contains(now):
        return f"past the cutoff of {opening.window}, {moment(opening.cutoff_at, opening.zone)}"
    return f"{opening.window} ended {moment(opening.ends_at, opening.zone)}"


def _outside(opening: Opening | None, names: tuple[str, ...], now: datetime) -> str:
    if opening is not None and opening.contains(now):
        return _past(opening, now)
    return f"outside the window {names[0]}" if len(names) == 1 else f"outside the windows {', '.join(names)}"

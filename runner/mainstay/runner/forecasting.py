"""What a run would do, host by host: reads only, in parallel, without sudo and without a trace on the hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.engine.contract import Unkept
from mainstay.runner.errand import Errand
from mainstay.runner.leftover import refuse_unknown
from mainstay.runner.operation import Forecast, Look
from mainstay.runner.plan import Carefulness
from mainstay.runner.ports import Clock
from mainstay.runner.record import HostPart
from mainstay.runner.shell.contract import HostKeyRefused, Shells, Unreachable
from mainstay.runner.state.contract import State
from mainstay.runner.steps import rfc3339, survey_step
from mainstay.runner.upkeep import Upkeep
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import Candidate


@dataclass(frozen=True, slots=True)
class HostForecast:
    """What is expected of one host. forecast is None exactly where there is an error."""

    host: Host
    facts: Facts | None = None
    forecast: Forecast | None = None
    error: str = ""
    """Why nothing can be said, for people; empty where something can."""
    unreachable: bool = False
    """No contact, and nothing was sent."""
    seconds: float = 0.0

    @property
    def refused(self) -> str:
        return self.error or (self.forecast.refused if self.forecast else "")

    @property
    def candidate(self) -> Candidate:
        facts = self.facts or Facts()
        machine = f"{facts.machine_id}/{facts.boot_id}" if facts.machine_id and facts.boot_id else ""
        return Candidate(self.host, facts.cohort, machine)

    def to_json(self) -> Json:
        return {
            "facts": self.facts.to_json() if self.facts else None,
            "forecast": self.forecast.to_json() if self.forecast else None,
            "error": self.error,
            "unreachable": self.unreachable,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, host: Host, data: Json) -> HostForecast:
        facts = Facts.from_json(data["facts"]) if data["facts"] else None
        forecast = Forecast.from_json(data["forecast"]) if data["forecast"] else None
        return cls(host, facts, forecast, data["error"], data["unreachable"], data["seconds"])


def forecast(
    hosts: Sequence[Host],
    careful: Carefulness,
    operation: Any,
    shells: Shells,
    upkeep: Upkeep,
    state: State,
    clock: Clock,
    *,
    parallel: int = 20,
    retry: bool = False,
    told: Callable[[HostForecast], None] = lambda one: None,
) -> dict[str, HostForecast]:
    """Probe every host and ask the operation what it would do there; an errand is asked and nothing is sent. An error of one
    host is data, never raised.

    What was seen on offer is noted in the state, as the first-seen record. retry: also what was rolled back here.
    told: called as each host is done.
    """

    def look(host: Host) -> HostForecast:
        started = time.monotonic()
        blocked = (lambda digest: None) if retry else (lambda digest: state.blocked(host.name, digest))
        result = _look(host, careful, operation, shells, upkeep, state, clock, blocked)
        result = replace(result, seconds=time.monotonic() - started)
        told(result)
        return result

    with ThreadPoolExecutor(max_workers=max(1, min(parallel, len(hosts))), thread_name_prefix="forecast") as pool:
        return {one.host.name: one for one in pool.map(look, hosts)}


def _look(
    host: Host,
    careful: Carefulness,
    operation: Any,
    shells: Shells,
    upkeep: Upkeep,
    state: State,
    clock: Clock,
    blocked: Callable[[str], str | None],
) -> HostForecast:
    facts: Facts | None = None
    if isinstance(operation, Errand):
        return _errand(host, operation, clock)
    operation.look_ahead(host)
    shell = shells.open(host, write=False)
    try:
        facts = upkeep.probe(shell)
        refuse_unknown(state, facts.lock_run, host.name)
        judgement = upkeep.judge(facts, careful, packages=operation.software)
        if judgement.refusals:
            return HostForecast(host, facts, error="; ".join(judgement.refusals))
        now = clock.now()
        seen = state.sightings(facts.cohort)
        found = operation.preview(Look(host, shell, facts, now.timestamp(), seen, blocked))
        state.see(facts.cohort, [pair for pair in found.seen if pair not in seen], rfc3339(now))
        return HostForecast(host, facts, found.model_copy(update={"notes": (*judgement.notes, *found.notes)}))
    except Unkept:
        raise
    except MainstayError as error:
        away = isinstance(error, Unreachable) and not isinstance(error, HostKeyRefused)
        plain = redact(getattr(error, "plain", error.message) + (f" ({error.hint})" if error.hint else ""))
        return HostForecast(host, facts, error=f"unreachable: {plain}" if away else plain, unreachable=away)
    finally:
        shell.close()


def _errand(host: Host, errand: Errand, clock: Clock) -> HostForecast:
    try:
        return HostForecast(host, forecast=errand.preview(host, clock.now().timestamp()))
    except Unkept:
        raise
    except MainstayError as error:
        return HostForecast(host, error=redact(error.message + (f" ({error.hint})" if error.hint else "")))


def workable(forecasts: Mapping[str, HostForecast]) -> list[Candidate]:
    """The hosts that have something to do and may do it."""
    return [one.candidate for one in forecasts.values() if one.forecast and one.forecast.count and not one.refused]


def survey_part(one: HostForecast, verdict: Verdict, reason: str, now: str) -> HostPart:
    """Of a host that was only asked. now: RFC 3339 UTC."""
    facts = one.facts
    state = {"boot_id": facts.boot_id, "kernel": facts.kernel} if facts else {}
    return HostPart(
        host=one.host.name,
        verdict=verdict,
        reason=reason,
        cohort=facts.cohort if facts else "",
        steps=(survey_step(verdict, reason, now, one.seconds),),
        before=state,
        after=state,
    )

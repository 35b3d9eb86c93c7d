"""Why a host is not fully patched, and who or what changes that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from mainstay.console.render import times
from mainstay.console.render.hosts import Known
from mainstay.console.render.packages import SHOWN
from mainstay.console.render.spans import Line, Span, line, span, verdict
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.recovery.required import Backing
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.observing import Observed
from mainstay.runner.operation import Forecast, LeftOut

MANY = 4
"""More packages than that with the same fate are told together."""


MEANT = ("not-security", "excluded")
"""Reasons that are the plan's own wish."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one plan would do on the host."""

    plan: str
    found: HostForecast
    backing: Backing | None = None
    """How the host stands to the backup that the plan requires; None where it requires none."""

    @property
    def refused(self) -> str:
        """Why a run would refuse the host now; empty where it would not."""
        return self.found.refused or (self.backing.reason if self.backing else "")


def screen(
    known: Known,
    answers: Sequence[Answer],
    package: str | None,
    zone: tzinfo,
    columns: int,
    observed: Observed | None = None,
    *,
    everything: bool = False,
) -> list[Line]:
    """observed: the last look that `mainstay serve` had at it. everything: each package, however many have the same fate."""
    name = known.host.name
    if not answers:
        return wrap(f"{name}   no patch plan targets it, so nothing ever patches it.", indent="", columns=columns)
    lines: list[Line] = []
    many = None if everything else MANY
    for answer in answers:
        lines += [*_answer(name, answer, package, zone, columns, many), line()]
    lines.append((span(f"{name}   last run "), verdict(known.verdict), span(f"   {known.reason}")))
    return lines + (wrap(_observed(name, observed, zone), indent="", columns=columns) if observed else [])


def _observed(name: str, observed: Observed, zone: tzinfo) -> str:
    if not observed.error:
        pending = "" if observed.pending is None else f": {times.counted(observed.pending, 'update')} waiting"
        return f"{name}   observed {times.local(observed.at, zone)}{pending}"
    seen = f"; it last answered {times.local(observed.seen_at, zone)}" if observed.seen_at != observed.at else ""
    seen = seen if observed.seen_at else "; it has never answered"
    return f"{name}   observed {times.local(observed.at, zone)}: {observed.error}{seen}"


def _answer(name: str, answer: Answer, package: str | None, zone: tzinfo, columns: int, many: int | None) -> list[Line]:
    forecast = answer.found.forecast
    head = f"{name} · plan {answer.plan}   "
    if forecast is None:
        return wrap(f"{head}can't say: {answer.found.error}", indent="", columns=columns)
    items: Sequence[tuple[str, str, str]] = [item for item in forecast.items if package in (None, item[0])]
    left = [entry for entry in forecast.left_out if package in (None, entry.item)]
    if package is not None and not items and not left:
        return [line(f"{head}{package}: {_nothing(forecast, package)}")]
    if not items and not left:
        return [(span(head), Span("fully patched", "good"), span(": nothing newer is on offer for it"))]
    told = []
    if items:
        told.append(f"{times.counted(len(items), 'update')} waiting for the plan's next run")
    if left:
        told.append(f"{len(left)} left out")
    meant = not items and all(entry.reason in MEANT for entry in left)
    lines = [line(f"{head}{'patched as the plan asks' if meant else 'not fully patched'}: {', '.join(told)}")]
    if answer.refused:
        lines += wrap(f"a run would refuse this host: {answer.refused}", columns=columns)
    if many is not None and len(items) > many:
        changes = " · ".join(f"{n} {b or '–'} → {a or '–'}" for n, b, a in items[:SHOWN])
        more = f"{len(items) - SHOWN} more (--all)"
        lines += wrap(f"mainstay run {answer.plan} takes: {changes} · {more}", columns=columns)
        items = []
    rows: list[list[Cell]] = [[n, f"{b or '–'} → {a or '–'}", f"mainstay run {answer.plan}"] for n, b, a in items]
    return lines + table(rows + _left_rows(left, answer.plan, zone, many), columns=columns)


def _left_rows(left: Sequence[LeftOut], plan: str, zone: tzinfo, many: int | None) -> list[list[Cell]]:
    """One row each, but packages that are left out for the same reason together where they are many."""
    alike: dict[tuple[str, str, str | None], list[LeftOut]] = {}
    for entry in left:
        alike.setdefault((entry.reason, entry.detail, entry.until), []).append(entry)
    rows: list[list[Cell]] = []
    for entries in alike.values():
        if many is None or len(entries) <= many:
            rows += [[entry.item, _reason(entry), _remedy(entry, plan, zone)] for entry in entries]
            continue
        names = ", ".join(entry.item for entry in entries[:2])
        one = entries[0].model_copy(update={"version": None})
        rows.append([f"{names} and {len(entries) - 2} more (--all)", _reason(one), _remedy(one, plan, zone)])
    return rows


def _nothing(forecast: Forecast, package: str) -> str:
    offered = [version for name, version in forecast.seen if name == package]
    if offered:
        return f"on offer is {offered[-1]}, and nothing is left to do for it"
    return "nothing newer is on offer for it on this host (or it is not installed)"


def _reason(entry: LeftOut) -> str:
    word = {"too-young": "too young", "kept-back": "kept back", "not-security": "not security"}.get(
        entry.reason, entry.reason
    )
    version = f" ({entry.version})" if entry.version else ""
    return f"{word}: {entry.detail}{version}" if entry.detail else f"{word}{version}"


def _remedy(entry: LeftOut, plan: str, zone: tzinfo) -> str:
    if entry.until:
        return f"next chance {times.local(entry.until, zone)}"
    return {
        "held": f"someone has to decide: apt-mark unhold {entry.item}",
        "pinned": "someone has to decide: the host's apt preferences pin it",
        "excluded": f"the plan {plan} excludes it",
        "too-young": "follows when it is old enough",
        "phased": "follows by itself",
        "kept-back": "it needs packages removed or added: see allow_remove and allow_new",
        "not-security": f"the plan {plan} takes security updates only",
        "untested": "the first wave did not have it",
        "newer": "the host is ahead; it is left as it is",
        "blocked": f"was rolled back here: mainstay run {plan} --retry",
        "dependency": "follows what it depends on",
    }.get(entry.reason, "")


def to_json(known: Known, answers: Sequence[Answer], package: str | None, observed: Observed | None = None) -> Json:
    """See docs/reference/cli.md, `why --json`."""
    return {
        "host": known.host.name,
        "package": package,
        "last_run": {"run": known.run or None, "verdict": known.verdict, "at": known.at, "reason": known.reason},
        "observed": observed.to_json() if observed else None,
        "plans": [_plan_json(answer, package) for answer in answers],
    }


def _plan_json(answer: Answer, package: str | None) -> Json:
    forecast = answer.found.forecast
    items = forecast.items if forecast else ()
    left = forecast.left_out if forecast else ()
    return {
        "plan": answer.plan,
        "error": answer.found.error or None,
        "refused": answer.refused or None,
        "waiting": [{"name": n, "before": b, "after": a} for n, b, a in items if package in (None, n)],
        "left_out": [entry.to_json() for entry in left if package in (None, entry.item)],
    }

"""How runs ended: what of a plan's errands was called off or broke off without a word, and which backups were in vain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import cache
from logging import WARNING
from typing import TYPE_CHECKING, cast, get_args

from mainstay.inventory.errors import MainstayError
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Tended, Tending
from mainstay.recovery.proving.order import DRILL, drilled
from mainstay.recovery.retention.strays import IN_VAIN, Ended
from mainstay.recovery.tending.errand import CANCELLED, FAILED, note, tended
from mainstay.runner.engine.contract import Unkept
from mainstay.runner.log.events import tell
from mainstay.runner.record import Step
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

LOOKED_BACK = timedelta(days=32)
"""Runs that ended longer ago have been looked at, or are past by now."""
LAUNCH = "apply.launch"
"""The step that begins a job on a host."""
WELL = (Verdict.SUCCEEDED, Verdict.DEGRADED)
FAULTS = (MainstayError, ValueError, LookupError, TypeError)
"""Of what one plan declares, or what one run was asked for: another version of mainstay may have written that."""
BY_ITSELF = frozenset(get_args(Tending)) - {"init", "lock", "prove", "rename"} | {DRILL}
"""Kinds of runs that are begun by themselves."""


def ended(app: Application) -> Ended:
    """How a run ended for a host; each run is read once. In vain only where its job was begun: runs of one schedule have the
    same ids on every controller, and what is in the repository of one that began none here was made by another."""

    @cache
    def of(run: str) -> dict[str, Verdict]:
        row = app.state.run(run)
        found = app.state.outcomes(run) if row is not None and row.state == "ended" else {}
        if not set(found.values()).isdisjoint(IN_VAIN):
            begun = {part.host for part in app.state.each_part(run) if any(_begun(one) for one in part.steps)}
            found = {host: verdict for host, verdict in found.items() if verdict not in IN_VAIN or host in begun}
        return found

    return lambda run, host: of(run).get(host)


def _begun(step: Step) -> bool:
    return step.name == LAUNCH and step.verdict is not Verdict.CANCELLED


def note_ends(app: Application, now: datetime) -> None:
    """Write down, of each errand that ended without having written anything down itself, that it was called off or went wrong:
    otherwise it would be begun again each hour, and nobody would be told."""
    rows = [row for row in app.state.runs() if row.kind in BY_ITSELF and row.state == "ended"]
    rows = [row for row in rows if row.ended_at and datetime.fromisoformat(row.ended_at) > now - LOOKED_BACK]
    if not rows:
        return
    noted: dict[tuple[str, ...], list[Tended]] = {}
    for one in app.points.tended():
        noted.setdefault(_key(one), []).append(one)
    for row in sorted(rows, key=lambda row: row.ended_at or ""):
        try:
            for made in _unnoted(app, row, noted):
                note(app.points, made)
                noted.setdefault(_key(made), []).append(made)
        except Unkept:
            raise
        except FAULTS as error:
            tell(WARNING, "how a run ended can't be read", run=row.id, fault=error)


def _unnoted(app: Application, row: RunRow, noted: dict[tuple[str, ...], list[Tended]]) -> Iterator[Tended]:
    plan = app.plans.get(row.plan)
    operation = row.request["operation"]
    if not isinstance(plan, BackupPlan):
        return
    repository = plan.repository if row.kind == DRILL else operation["repository"]
    if repository not in plan.repositories:
        return
    what = cast(Tending, "prove" if row.kind == DRILL else row.kind)
    at = row.ended_at or row.started_at
    outcomes: dict[str, Verdict] | None = None
    hosts = {one["name"]: one["name"] for one in row.request["hosts"]}
    for host, machine in (drilled(operation) if row.kind == DRILL else hosts).items():
        made = tended(plan, what, repository, host, FAILED, row.id, at, Verdict.FAILED, "")
        if _known(row, noted.get(_key(made), ())):
            continue
        outcomes = app.state.outcomes(row.id) if outcomes is None else outcomes
        verdict = outcomes.get(machine)
        if verdict in WELL:
            continue
        off = verdict is Verdict.CANCELLED or (verdict is None and row.wish == "cancel")
        by = f" by {row.wish_by}" if row.wish_by else ""
        how = f" {verdict}" if verdict else ""
        detail = f"called off{by}" if off else f"its run ended{how} without having done it"
        part = CANCELLED if off else FAILED
        yield tended(plan, what, repository, host, part, row.id, at, verdict or Verdict.FAILED, detail)


def _known(row: RunRow, noted: Iterable[Tended]) -> bool:
    """Whether the run, or another one since it was asked for, has written down how it went. Of a shared repository one host
    stands for all."""
    asked = datetime.fromisoformat(row.request["asked_at"])
    return any(one.run == row.id or datetime.fromisoformat(one.at) >= asked for one in noted)


def _key(one: Tended) -> tuple[str, ...]:
    return one.repository, one.host, one.what, one.subject

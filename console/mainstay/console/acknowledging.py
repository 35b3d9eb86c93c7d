"""Somebody has looked at what went wrong, and says so: who, when and why, kept beside the record, which itself never changes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mainstay.console.render.hosts import Known
from mainstay.inventory.errors import UsageError
from mainstay.inventory.validation import did_you_mean, one_of
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

SHORTEST = 8
"""Characters of a point's id that are enough to name it."""


def acknowledge(app: Application, text: str, *, reason: str, host: str = "", source: str = "") -> Ack:
    """text: of a record (see History.record) or of a point (the beginning of its id). Raises UsageError where it names nothing,
    or nothing that somebody has to look at."""
    reason = reason.strip()
    if not reason:
        raise UsageError("The reason is empty.", hint="Say why it is settled: --reason TEXT")
    point = _point(app, text)
    if point is None:
        item = _of_record(app, app.record(text), host, source)
    else:
        item = _of_point(point, host, source)
        host, source = point.host, point.unit
    ack = Ack(item, host, source, app.requested_by, rfc3339(app.clock.now()), reason)
    app.points.acknowledge(ack)
    return ack


def _point(app: Application, text: str) -> RecoveryPoint | None:
    """None where it is not the beginning of a point's id."""
    if len(text) < SHORTEST or not re.fullmatch(r"[0-9a-f]+", text):
        return None
    found = {(one.repository, one.id): one for one in app.points.find(text)}
    if len(found) > 1:
        ids = ", ".join(f"{one.id[:16]}… in {one.repository}" for one in list(found.values())[:5])
        raise UsageError(f'"{text}" names {len(found)} points: {ids}', hint="Write more of it.")
    return next(iter(found.values()), None)


def _of_point(point: RecoveryPoint, host: str, source: str) -> str:
    if host not in ("", point.host) or source not in ("", point.source, point.unit):
        raise UsageError(
            f"Point {point.id[:12]} is of {point.unit} on {point.host}.", hint="Leave out --host and --source."
        )
    # One of several items of a source may be gone for good: then its last point is looked at, however well it ended.
    if point.verdict is Verdict.SUCCEEDED and not point.anomalies and not point.item:
        raise UsageError(f"Point {point.id[:12]} succeeded: nobody has to look at it.")
    return point.id


def _of_record(app: Application, record: MaintenanceRecord, host: str, source: str) -> str:
    summary, verdicts = record.summary, {part.host: part.verdict for part in record.hosts}
    if host and host not in verdicts:
        raise UsageError(
            f"Record {record.seq} holds no host {host}.", hint=did_you_mean(host, verdicts) or _all(verdicts)
        )
    points = app.points.points(run=summary.id, removed=True)
    if source:
        _check_source(app, summary.plan, source, points, record.seq)
    if summary.verdict is Verdict.UNKNOWN and (not host or verdicts[host] is Verdict.UNKNOWN):
        raise UsageError(
            f"Record {record.seq} is unknown: what became of it can't be settled by looking.",
            hint=f"mainstay runs reconcile {summary.id}",
        )
    mine = [point for point in points if host in ("", point.host) and source in ("", point.source, point.unit)]
    odd = any(point.anomalies or point.verdict is not Verdict.SUCCEEDED for point in mine)
    verdict = verdicts[host] if host else summary.verdict
    if verdict is Verdict.SUCCEEDED and not odd:
        what = f"Record {record.seq}{f', {host}' if host else ''}"
        raise UsageError(f"{what} succeeded: nobody has to look at it.")
    return summary.id


def _check_source(app: Application, plan: str, source: str, points: Iterable[RecoveryPoint], seq: int) -> None:
    known = {name for point in points for name in (point.source, point.unit)}
    declared = app.plans.get(plan)
    known |= set(declared.sources) if isinstance(declared, BackupPlan) else set()
    if source not in known:
        hint = did_you_mean(source, known) or (_all(known) if known else "Leave out --source.")
        raise UsageError(f'Record {seq} holds no source "{source}".', hint=hint)


def _all(names: Collection[str]) -> str:
    return f"There is {one_of(sorted(names))}." if len(names) <= 10 else ""


def looked_at(known: Sequence[Known], acks: Sequence[Ack]) -> list[Known]:
    """The same, each with who has acknowledged its newest part. What is unknown stays so."""
    said = {(one.item, one.host): one for one in acks if not one.source}
    found = []
    for one in known:
        ack = said.get((one.run, one.host.name)) or said.get((one.run, ""))
        settled = ack is not None and one.verdict != Verdict.UNKNOWN
        found.append(replace(one, looked=f"acknowledged by {ack.by}: {ack.reason}") if ack and settled else one)
    return found


def acks_of(app: Application, record: MaintenanceRecord) -> list[Ack]:
    """What was said to this record or to one of its points, oldest first."""
    return by_run(app, [record.summary.id]).get(record.summary.id, [])


def by_run(app: Application, runs: Sequence[str]) -> dict[str, list[Ack]]:
    """Run → what was said to it or to one of its points, oldest first."""
    found: dict[str, list[Ack]] = {}
    wanted = set(runs)
    for ack in app.points.acks():
        run = ack.item
        if run not in wanted:
            run = next((point.run for point in app.points.find(ack.item) if point.run in wanted), "")
        if run:
            found.setdefault(run, []).append(ack)
    return found

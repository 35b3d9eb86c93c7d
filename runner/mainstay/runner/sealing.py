"""The end of a run: every host gets a part, the summary is made from them, and the ledger seals it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from mainstay.inventory.value import Json
from mainstay.runner import verdict as verdicts
from mainstay.runner.ledger.contract import Entry, SealConflict
from mainstay.runner.record import STAGE, HostPart, MaintenanceRecord, Summary, hosts_digest
from mainstay.runner.request import RunRequest
from mainstay.runner.state.contract import State, StateConflict
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.verdict import Verdict
from mainstay.runner.wire import get_json

_UNTOUCHED = (Verdict.REFUSED, Verdict.CANCELLED)
"""A host that ended so has relied on nothing."""


def seal(tools: Toolbox, request: RunRequest, reason: str, results: Mapping[str, Json]) -> Json:
    """Idempotent: a run that is sealed already is returned as it is. results: host → what its child returned."""
    entry = tools.ledger.get(request.id)
    if entry is None:
        _write_missing_parts(tools, request, reason, results)
        summary = summarise(tools, request, reason)
        entry = _seal_first(tools, request.id, summary)
    summary = Summary.from_json(entry.body)
    tools.state.set_run(request.id, state="ended", ended_at=summary.finished_at)
    tools.state.free_slots(request.id)
    tools.listener.run_finished(MaintenanceRecord(seq=entry.seq, hash=entry.hash, summary=summary))
    return {"verdict": summary.verdict.value, "seq": entry.seq}


def _seal_first(tools: Toolbox, run: str, summary: Summary) -> Entry:
    """Whoever seals first has sealed it: another process may have come to this run's end in the same moment."""
    try:
        return tools.ledger.seal(run, summary.to_json())
    except SealConflict:
        entry = tools.ledger.get(run)
        if entry is None:
            raise
        return entry


def _write_missing_parts(tools: Toolbox, request: RunRequest, reason: str, results: Mapping[str, Json]) -> None:
    written = {part.host for part in tools.state.each_part(request.id)}
    begun = tools.state.notes(request.id)
    for host in request.hosts:
        if host.name in written:
            continue
        result = results.get(host.name)
        if result is not None:
            part = HostPart.from_json(get_json(tools.artifacts, result["part"]))
        elif begun.get(host.name, {}).get("step", "survey") in ("survey", "admit"):
            part = HostPart(host=host.name, verdict=Verdict.CANCELLED, reason=f"not started: {reason}")
        elif request.kind == STAGE:
            part = HostPart(host=host.name, verdict=Verdict.FAILED, reason=f"nothing had been changed: {reason}")
        else:
            part = HostPart(host=host.name, verdict=Verdict.UNKNOWN, reason=f"work was under way: {reason}")
        write_first(tools.state, request.id, part)


def write_first(state: State, run: str, part: HostPart) -> None:
    """Write a part that says when it was written: where another process that held this run (and was taken for dead, or
    takes us for it) has written one meanwhile, that one stands."""
    with suppress(StateConflict):
        state.write_part(run, part)


def summarise(tools: Toolbox, request: RunRequest, reason: str) -> Summary:
    state = tools.state
    of_hosts: list[Verdict] = []
    relied, proved = set(request.links.relies_on), set(request.links.proves)
    for part in state.each_part(request.id):
        of_hosts.append(part.verdict)
        if part.verdict not in _UNTOUCHED:
            relied.update(part.measures.get("relies_on", ()))
        # A drill that was cancelled in the middle has proved what it had tried.
        proved.update(part.measures.get("proves", ()))
    verdict = verdicts.of_run(of_hosts)
    row = tools.state.run(request.id)
    assert row is not None
    if reason.startswith("internal error") and verdict in (Verdict.SUCCEEDED, Verdict.DEGRADED, Verdict.REFUSED):
        verdict = Verdict.FAILED
    now = tools.clock.now()
    return Summary(
        id=request.id,
        kind=request.kind,
        plan=request.plan,
        maintenance_type=request.maintenance_type,
        verdict=verdict,
        reason=reason,
        trigger=request.trigger,
        requested_by=request.requested_by,
        window=request.window,
        site=request.site,
        mainstay_version=request.mainstay_version,
        started_at=row.started_at,
        finished_at=rfc3339(now),
        links=request.links.model_copy(update={"relies_on": tuple(sorted(relied)), "proves": tuple(sorted(proved))}),
        interventions=tuple(tools.state.interventions(request.id)),
        approvals=tuple(tools.said(request)),
        measures=_measures(request, state.each_part(request.id), row.started_at, now),
        counts=dict(sorted(Counter(of_hosts).items())),
        hosts_digest=hosts_digest(state.each_part(request.id)),
    )


def _measures(request: RunRequest, parts: Iterable[HostPart], started_at: str, now: datetime) -> Json:
    changed = reboots = pending = 0
    for part in parts:
        after = part.after.get("packages", {})
        changed += sum(before != after.get(name) for name, before in part.before.get("packages", {}).items())
        reboots += part.measures.get("reboots", 0)
        pending += "reboot_pending" in part.measures
    measures: Json = {
        "wall_seconds": round((now - datetime.fromisoformat(started_at)).total_seconds(), 3),
        "packages_changed": changed,
        "reboots": reboots,
        "reboots_pending": pending,
    }
    measures |= {"occurrence": request.occurrence} if request.occurrence else {}
    # What was passed over is loud in the record.
    measures |= {"break_glass": request.break_glass} if request.break_glass else {}
    measures |= {"skipped_gates": request.skip_gates} if request.skip_gates else {}
    measures |= {"asked_because": request.reason} if request.reason else {}
    return measures

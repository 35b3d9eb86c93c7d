"""What a notice says: a record, or a request for approval, as plain JSON that is as long as a letter and no longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.ledger.contract import Entry
from mainstay.runner.record import HostPart, Summary
from mainstay.runner.verdict import Verdict
from mainstay.schedules.approvals import Standing
from mainstay.schedules.store.contract import Approval

NAMED = 100
"""Hosts that a notice names, those that are not well; `records show` has all."""
LONGEST = 2000
"""Characters of one text in it."""


def of_record(entry: Entry, parts: Iterable[HostPart], site: str) -> Json:
    """The record without what is as long as the run had hosts: of these only the ones that are not well, and how each ended.
    parts: of all its hosts."""
    found = list(
        islice(((part.host, part.verdict, part.reason) for part in parts if part.verdict != "succeeded"), NAMED + 1)
    )
    record = {
        **{key: value for key, value in entry.body.items() if key != "hosts_digest"},
        "seq": entry.seq,
        "hash": entry.hash,
        "hosts": [{"host": host, "verdict": str(verdict), "reason": reason} for host, verdict, reason in found[:NAMED]],
        "more_hosts": len(found) > NAMED,
    }
    return _fit({"event": entry.body["verdict"], "site": site, "record": record})


def of_approval(approval: Approval, standing: Standing, site: str, *, reminder: bool) -> Json:
    told = {
        **approval.to_json(),
        "have": standing.have,
        "votes": [{"at": vote.at, "by": vote.by, "says": vote.says, "reason": vote.reason} for vote in standing.by],
        "reminder": reminder,
        "approve": f"mainstay runs approve {approval.run}",
        "reject": f"mainstay runs reject {approval.run}",
    }
    told.pop("withdrawn_at")
    told["preview"]["hosts"] = told["preview"].get("hosts", [])[:NAMED]
    return _fit({"event": "approval", "site": site, "approval": told})


def of_start(run: str, plan: str) -> Json:
    return {"event": "start", "run": run, "plan": plan}


def of_end(summary: Summary) -> Json:
    """For a dead man's switch: how it ended, and why."""
    well = summary.verdict in (Verdict.SUCCEEDED, Verdict.DEGRADED)
    counts = ", ".join(f"{count} {word}" for word, count in sorted(summary.counts.items()))
    told = {"verdict": str(summary.verdict), "reason": summary.reason, "hosts": counts, "at": summary.finished_at}
    return _fit({"event": "success" if well else "fail", "run": summary.id, "plan": summary.plan, **told})


def _fit(body: Json) -> Json:
    fitted: Json = _short(redact.deeply(body))
    return fitted


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[:LONGEST] + "…"
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_short(item) for item in value]
    return value

"""Runs that wait for somebody's yes: in a list, and one of them as it is put before whoever is to say it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from mainstay.console.approving import Waiting
from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line, span
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.schedules.approvals import Standing
from mainstay.schedules.store.contract import Approval

NAMED = 20
"""Hosts that the question names."""


def to_come(waiting: Sequence[Waiting]) -> list[Json]:
    """Of occurrences that have no run yet."""
    return [to_json(one) for one in waiting if one.row is None]


def of_row(waiting: Sequence[Waiting], run: str) -> Json:
    """What is added to a run that is there."""
    asked = [asked_json(one.approval, one.standing) for one in waiting if one.approval.run == run]
    return {"approval": asked[0] if asked else None}


def to_json(one: Waiting) -> Json:
    """An occurrence without a run, in `runs --json`."""
    return {
        "id": one.approval.run,
        "kind": None,
        "plan": one.approval.plan,
        "state": "waiting-for-approval",
        "wave": None,
        "waves": None,
        "started_at": None,
        "standing": None,
        "executor": None,
        "needs_version": None,
        "waiting": one.standing.reason,
        "approval": asked_json(one.approval, one.standing),
    }


def asked_json(approval: Approval, standing: Standing) -> Json:
    return {
        "hash": approval.hash,
        "need": standing.need,
        "have": standing.have,
        "votes": [{"at": vote.at, "by": vote.by, "says": vote.says, "reason": vote.reason} for vote in standing.by],
        "asked_at": approval.asked_at,
        "expires_at": approval.expires_at,
        "requested_by": approval.requested_by or None,
        **{
            key: approval.preview.get(key)
            for key in ("targets", "count", "window", "starts_at", "ends_at", "plan_hash")
        },
    }


def listing(waiting: Sequence[Waiting], zone: tzinfo, now: datetime, columns: int) -> list[Line]:
    """Nothing where nothing waits."""
    if not waiting:
        return []
    rows: list[list[Cell]] = []
    for one in waiting:
        preview, lacking = one.approval.preview, f"{one.standing.have} of {one.standing.need}"
        opens = times.local(preview.get("starts_at"), zone)
        until = times.about(times.age(_stamp(now), times.parse(one.approval.expires_at)))
        rows.append([one.approval.run, one.approval.plan, Span(lacking, "warn"), opens, until])
    head = ("run", "plan", "approved", "window opens", "open for")
    told = wrap("Answer with mainstay runs approve RUN or mainstay runs reject RUN --reason TEXT.", columns=columns)
    return [line(), line(span("Waiting for approval", "bold")), *table(rows, head=head, columns=columns), *told]


def question(approval: Approval, standing: Standing, zone: tzinfo, columns: int) -> list[Line]:
    """What is being approved."""
    preview = approval.preview
    names, count = preview.get("hosts", []), preview.get("count", 0)
    more = f" and {count - NAMED} more" if count > NAMED else ""
    rows: list[list[Cell]] = [
        ["plan", approval.plan],
        ["targets", f"{preview.get('targets', '')} ({times.counted(count, 'host')})"],
        ["hosts", ", ".join(names[:NAMED]) + more],
        ["window", _window(approval, zone)],
        ["until", f"{times.local(approval.expires_at, zone)}; not approved by then, it is refused"],
        ["asked", f"{times.local(approval.asked_at, zone)} by {approval.requested_by or 'the clock'}"],
    ]
    if preview.get("reason"):
        rows.append(["reason", preview["reason"]])
    for vote in standing.by:
        why = f": {vote.reason}" if vote.reason else ""
        rows.append([vote.says, f"{vote.by}, {times.local(vote.at, zone)}{why}"])
    lacking = f"{standing.have} of {standing.need}"
    rows += [["approved", f"by {lacking}"], ["hash", approval.hash[:16]]]
    return [line(span(f"Run {approval.run}", "bold")), *table(rows, columns=columns)]


def _window(approval: Approval, zone: tzinfo) -> str:
    preview = approval.preview
    if not preview.get("starts_at"):
        return "at once"
    return f"{preview.get('window', '')}, {times.local(preview['starts_at'], zone)} to {times.local(preview['ends_at'], zone)}"


def _stamp(moment: datetime) -> str:
    return times.rfc3339(moment)

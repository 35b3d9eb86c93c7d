"""Runs in flight."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.runner.state.contract import RunRow


def listing(rows: Sequence[RunRow], left: Collection[str], zone: tzinfo, now: datetime, columns: int) -> list[Line]:
    """left: runs that no living process works on."""
    if not rows:
        return [line("No run is in flight.")]
    body: list[list[Cell]] = []
    remarks: list[Line] = []
    for row in rows:
        state: Cell = Span("left behind", "warn") if row.id in left else row.state
        age = times.about(times.age(row.started_at, now))
        body.append([row.id, row.plan, state, row.wave, times.local(row.started_at, zone), age])
        if row.wish:
            remarks += wrap(f"{row.wish} was asked for by {row.wish_by}: {row.wish_reason}", columns=columns)
        if row.id in left:
            remarks += wrap(f"Its process is gone; take it up: mainstay runs resume {row.id}", columns=columns)
    head = ("run", "plan", "state", "wave", "started", "age")
    return [*table(body, head=head, right=frozenset({3}), columns=columns), *remarks]


def to_json(row: RunRow) -> Json:
    return {"id": row.id, "plan": row.plan, "state": row.state, "wave": row.wave, "started_at": row.started_at}

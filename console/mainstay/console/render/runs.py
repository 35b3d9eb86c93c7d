"""Runs in flight."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line
from mainstay.console.render.table import Cell, table
from mainstay.inventory.value import Json
from mainstay.runner.state.contract import RunRow


def listing(rows: Sequence[RunRow], left: Collection[str], zone: tzinfo, now: datetime, columns: int) -> list[Line]:
    """left: runs that no living process works on."""
    if not rows:
        return [line("No run is in flight.")]
    body: list[list[Cell]] = []
    for row in rows:
        state: Cell = Span("left behind", "warn") if row.id in left else row.state
        wish = {"pause": "pause asked for", "cancel": "cancel asked for"}.get(row.wish, "")
        told = f"{wish} by {row.wish_by}: {row.wish_reason}" if wish else ""
        if row.id in left:
            told = f"its process is gone: mainstay runs resume {row.id}" + (f"; {told}" if told else "")
        age = times.about(times.age(row.started_at, now))
        body.append([row.id, row.plan, state, row.wave, f"{times.local(row.started_at, zone)}, {age} ago", told])
    return table(body, head=("run", "plan", "state", "wave", "started", ""), right=frozenset({3}), columns=columns)


def to_json(row: RunRow) -> Json:
    return {"id": row.id, "plan": row.plan, "state": row.state, "wave": row.wave, "started_at": row.started_at}

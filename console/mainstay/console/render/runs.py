"""Runs in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from types import MappingProxyType

from mainstay.console.render import times
from mainstay.console.render.progress import planned
from mainstay.console.render.spans import Line, Span, line
from mainstay.console.render.table import Cell, table, wrap
from mainstay.console.working import Works, where
from mainstay.inventory.value import Json
from mainstay.runner.engine.naming import short
from mainstay.runner.record import STAGE
from mainstay.runner.state.contract import RunRow


def listing(
    rows: Sequence[RunRow],
    works: Works,
    waves: Mapping[str, int],
    zone: tzinfo,
    now: datetime,
    columns: int,
    waiting: Mapping[str, str] = MappingProxyType({}),
) -> list[Line]:
    """waves: run → how many it has, 0 where that is not known yet. waiting: run → what it waits for, where it does."""
    if not rows:
        return [line("No run is in flight.")]
    body: list[list[Cell]] = []
    remarks: list[Line] = []
    for row in rows:
        standing = works.standing(row.id)
        state: Cell = Span("left behind", "warn") if standing == "left-behind" else state_of(row)
        if standing == "waiting" or waiting.get(row.id):
            state = Span("waiting", "warn")
        wave = f"{row.wave} of {waves[row.id]}" if row.wave and waves.get(row.id) else row.wave
        age = times.about(times.age(row.started_at, now))
        plan = f"{row.plan} (downloads)" if row.kind == STAGE else planned(row.plan, row.kind)
        body.append([row.id, plan, state, wave, times.local(row.started_at, zone), age])
        if row.wish:
            remarks += wrap(f"{row.id}: {row.wish} was asked for by {row.wish_by}: {row.wish_reason}", columns=columns)
        for text in _remarks(works, row.id, waiting.get(row.id, "")):
            remarks += wrap(text, columns=columns)
    head = ("run", "plan", "state", "wave", "started", "age")
    return [*table(body, head=head, right=frozenset({3}), columns=columns), *remarks]


def state_of(row: RunRow) -> str:
    """Where it is, in one word: what was asked of it counts from the moment it was asked."""
    return {"pause": "paused", "cancel": "stopping"}.get(row.wish, row.state)


def _remarks(works: Works, run: str, waiting: str) -> list[str]:
    told = [f"{run}: {waiting}"] if waiting else []
    if works.standing(run) == "in-hand":
        return [*told, f"{run}: worked on by {short(works.executor(run))}"]
    if waiting and run not in works.owners:
        if works.served:
            return told
        return [*told, f"{run}: no process serves that would begin it then: mainstay serve"]
    if works.standing(run) == "waiting":
        return [f"{run}: {where(works, run)}"]
    if works.foreign(run):
        return [of_another_version(run, works)]
    return [f"{run}: its process is gone; take it up: mainstay runs resume {run}"]


def of_another_version(run: str, works: Works) -> str:
    return (
        f"Run {run} was begun by a mainstay of another version (its work has version {works.foreign(run)}, this one "
        f"goes on with {works.version} alone): start a worker of that version, it brings the run to its end."
    )


def to_json(
    row: RunRow, works: Works, waves: Mapping[str, int], waiting: Mapping[str, str] = MappingProxyType({})
) -> Json:
    """See docs/reference/cli.md, `runs --json`."""
    return {
        "id": row.id,
        "kind": row.kind,
        "plan": row.plan,
        "state": state_of(row),
        "wave": row.wave,
        "waves": waves.get(row.id) or None,
        "started_at": row.started_at,
        "standing": works.standing(row.id),
        "executor": works.executor(row.id) or None,
        "needs_version": works.foreign(row.id) or None,
        "waiting": waiting.get(row.id) or None,
    }

"""What a restore would do, before anybody says yes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line, span
from mainstay.console.render.table import Cell, table
from mainstay.inventory.value import Json
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restore.choosing import SHOWN, Choice
from mainstay.recovery.restore.order import CONTROLLER, RestoreOrder
from mainstay.recovery.words import counted, sized
from mainstay.recovery.words import span as spell
from mainstay.runner.forecasting import HostForecast


@dataclass(frozen=True, slots=True)
class Restoring:
    order: RestoreOrder
    choice: Choice
    look: HostForecast
    zone: tzinfo
    now: datetime


def screen(view: Restoring, columns: int) -> list[Line]:
    order, look = view.order, view.look
    rows: list[list[Cell]] = []
    for piece in order.pieces:
        what = ", ".join(piece.paths) or piece.point.unit
        rows.append(["brings", f"{what}: {counted(piece.files, 'file')}, {sized(piece.bytes)}"])
        rows.append(["from", _point(view, piece.point)])
    rows.append(["to", _target(order)])
    rows += [[Span("careful", "warn"), note] for note in view.choice.notes]
    if look.forecast is not None:
        rows += [[Span("careful", "warn"), span(limit)] for limit in look.forecast.limits]
        rows += [["there", note] for note in look.forecast.notes]
    if look.refused:
        rows.append([Span("refused", "bad"), span(look.refused)])
    return [line(f"Restore of {order.host}"), line(), *table(rows, columns=columns), line()]


def _point(view: Restoring, point: RecoveryPoint) -> str:
    age = spell(max(0.0, (view.now - datetime.fromisoformat(point.at)).total_seconds()))
    proved = view.choice.proved.get(point.id)
    words = f"proved {times.local(proved, view.zone, short=True)}" if proved else "never proved"
    when = times.local(point.at, view.zone)
    where = f"{'a copy in ' if point.copy_of else ''}{point.repository}"
    return (
        f"point {point.id[:SHOWN]} of {point.plan}, {point.unit}, in {where}: "
        f"{when}, {age} old, {point.verdict}, {words}"
    )


def _target(order: RestoreOrder) -> str:
    where = "the controller" if order.on == CONTROLLER else order.on
    paths = [path for piece in order.pieces for path in piece.paths]
    if len(paths) == 1 and order.to != "/":
        return f"{order.to} on {where}, as {order.to}{paths[0]}"
    if order.into:
        return f"database {order.into} on {where}"
    return f"{order.to} on {where}" + (": OVER THE RUNNING SYSTEM" if order.to == "/" else "")


def question(view: Restoring) -> str:
    order = view.order
    if order.to == "/":
        return (
            f"Write over the running system of {order.name_to_confirm if order.on != CONTROLLER else 'the controller'}?"
        )
    return "Go on?"


def to_json(view: Restoring) -> Json:
    """See docs/how-to/restore.md."""
    order, forecast = view.order, view.look.forecast
    return {
        "host": order.host,
        "on": order.on,
        "to": order.to,
        "into": order.into,
        "pieces": [
            {
                "point": piece.point.id,
                "unit": piece.point.unit,
                "plan": piece.point.plan,
                "repository": piece.point.repository,
                "copy_of": piece.point.copy_of,
                "at": piece.point.at,
                "verdict": piece.point.verdict.value,
                "proved_at": view.choice.proved.get(piece.point.id),
                "run": piece.point.run,
                "paths": list(piece.paths),
                "files": piece.files,
                "bytes": piece.bytes,
            }
            for piece in order.pieces
        ],
        "notes": [*view.choice.notes, *(forecast.notes if forecast else ())],
        "limits": list(forecast.limits) if forecast else [],
        "overwrites": [name for name, _, _ in forecast.items] if forecast else [],
        "refused": view.look.refused,
    }

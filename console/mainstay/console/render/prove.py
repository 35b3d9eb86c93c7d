"""Which points a drill would prove."""

from __future__ import annotations

from datetime import datetime, tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, line
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.recovery.proving.order import CONTROLLER, EACH, DrillOrder
from mainstay.recovery.repositories import named
from mainstay.recovery.words import sized, span


def screen(order: DrillOrder, zone: tzinfo, now: datetime, columns: int) -> list[Line]:
    rows: list[list[Cell]] = []
    for host, points in order.points.items():
        if not points:
            rows.append([host, "–", "", "no point that could be proved", ""])
        for point in points:
            age = span(max(0.0, (now - datetime.fromisoformat(point.at)).total_seconds()))
            rows.append(
                [host, point.unit, point.id[:12], f"{times.local(point.at, zone)}, {age} old", sized(point.bytes)]
            )
    head = ("host", "source", "point", "made", "size")
    return [
        line(f"Would prove points of {order.plan.name}:"),
        *table(rows, head=head, columns=columns),
        *elsewhere(order, columns),
    ]


def elsewhere(order: DrillOrder, columns: int) -> list[Line]:
    """Where it is done, and who can read what by that; nothing on the controller."""
    if order.on == CONTROLLER:
        return []
    if order.on == EACH:
        return wrap("Each host proves its own points on itself.", indent="", columns=columns)
    others = named(set(order.points) - {order.on})
    given = f", and is given the password of the repository of {others} for that time" if others else ""
    return wrap(f"On {order.on}: it restores them{given}.", indent="", columns=columns)


def to_json(order: DrillOrder) -> Json:
    return {
        "plan": order.plan.name,
        "on": order.on,
        "hosts": {
            host: [
                {"unit": point.unit, "point": point.id, "at": point.at, "run": point.run, "bytes": point.bytes}
                for point in points
            ]
            for host, points in order.points.items()
        },
    }

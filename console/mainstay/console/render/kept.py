"""What a backup and a drill leave in a host's part of a record, as tables: sources with their points, and what was proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mainstay.console.render import times
from mainstay.console.render.spans import Line, verdict
from mainstay.console.render.table import Cell, table, wrap

SHOWN = 12
"""Characters of a point's id."""
INNER = frozenset({"sources", "proofs", "job", "points", "proves"})
"""Measures that are not told as they are: the tables tell them, or they are for programs (`--json`)."""


def lines(measures: Mapping[str, Any], columns: int) -> list[Line]:
    found, proved = measures.get("sources"), measures.get("proofs")
    told: list[Line] = []
    if isinstance(found, Mapping) and found:
        told += _sources(found, columns)
    if isinstance(proved, Sequence) and proved and not isinstance(proved, str):
        told += _proofs(proved, columns)
    return told


def _sources(found: Mapping[str, Any], columns: int) -> list[Line]:
    rows: list[list[Cell]] = []
    remarks: list[Line] = []
    for name, row in found.items():
        rows.append(
            [
                name,
                verdict(row.get("verdict", "unknown")),
                row.get("files", "–"),
                _size(row.get("bytes")),
                _size(row.get("added")),
                str(row.get("point", ""))[:SHOWN] or "none",
                times.clock(row.get("seconds")),
            ]
        )
        said = [row.get("reason", ""), *row.get("anomalies", ()), *_unreadable(row)]
        for text in filter(None, said):
            remarks += wrap(f"{name}: {text}", columns=columns)
    head = ("source", "", "files", "size", "added", "point", "took")
    return [*table(rows, head=head, right=frozenset({2, 3, 4, 6}), columns=columns), *remarks]


def _unreadable(row: Mapping[str, Any]) -> list[str]:
    return [f"unreadable: {', '.join(row['unreadable_items'])}"] if row.get("unreadable_items") else []


def _proofs(proved: Sequence[Mapping[str, Any]], columns: int) -> list[Line]:
    rows: list[list[Cell]] = []
    remarks: list[Line] = []
    for one in proved:
        size = _size(one.get("measures", {}).get("bytes"))
        rows.append([one["unit"], verdict(one["verdict"]), one["scope"], size, one["point"][:SHOWN], one["at"]])
        for text in filter(None, (one.get("reason", ""), *(f"left out: {left}" for left in one.get("left_out", ())))):
            remarks += wrap(f"{one['unit']}: {text}", columns=columns)
    head = ("restored", "", "scope", "size", "point", "made at")
    return [*table(rows, head=head, right=frozenset({3}), columns=columns), *remarks]


def _size(value: object) -> str:
    return times.size(value) if isinstance(value, int) else "–"

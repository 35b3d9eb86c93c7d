"""What is measured of a host, as a record shows it: tables of a backup's sources and of proofs, sentences of restores and of
repositories' upkeep, sizes and counts as people read them, and notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mainstay.console.render import times
from mainstay.console.render.spans import Line, verdict
from mainstay.console.render.table import Cell, table, wrap

SHOWN = 12
"""Characters of a point's id."""
RESTORED = "restored "
"""Begins the measure of one point's restore; its unit follows."""
CHECKED = "check "
"""Begins the measure of one part of a repository that was read; its number follows."""
INNER = frozenset(
    {
        *("sources", "proofs", "job", "points", "proves", "retention", "prune", "check", "copied", "notes"),
        *("lost", "stopped"),  # where it is gone on with; and what the reason says
    }
)
"""Measures that are not told as they are: tables and sentences tell them, or they are for programs (`--json`)."""
CALLED = {"bytes": "size", "added": "new data", "restored_bytes": "restored", "drained": "out of service"}
"""Measures that have another name here."""


def inner(key: str) -> bool:
    """Whether this measure is not to be told as it is."""
    return key in INNER or key.startswith((RESTORED, CHECKED))


def row(key: str, value: object) -> tuple[str, str] | None:
    """What a single number or flag is called, and how it is written; None where it is told as it is."""
    name = CALLED.get(key, key.replace("_", " "))
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if isinstance(value, int):
        return name, times.size(value) if key.endswith("bytes") or key == "added" else f"{value:,}"
    return None


def lines(measures: Mapping[str, Any], columns: int) -> list[Line]:
    found, proved = measures.get("sources"), measures.get("proofs")
    told: list[Line] = []
    if isinstance(found, Mapping) and found:
        told += _sources(found, columns)
    if isinstance(proved, Sequence) and proved and not isinstance(proved, str):
        told += _proofs(proved, columns)
    notes = measures.get("notes")
    noted = [f"note: {note}" for note in notes] if isinstance(notes, Sequence) and not isinstance(notes, str) else []
    for text in (*_sentences(measures), *noted):
        told += wrap(text, columns=columns)
    return told


def _sentences(measures: Mapping[str, Any]) -> Iterator[str]:
    for key, found in measures.items():
        if key == "copied":
            yield f"copied: {times.counted(found, 'point')}"
        if not isinstance(found, Mapping):
            continue
        if key == "retention":
            # It is measured before anything goes: whether it went is the verdict's and the steps' to say.
            yield f"retention: {times.counted(found.get('removed', 0), 'point')} to go, {found.get('kept', 0):,} to keep"
            if found.get("no_points"):
                yield f"snapshots that are no points: {found['no_points']:,}, {found.get('no_points_removed', 0):,} to go"
            if found.get("foreign"):
                yield f"left alone, not of mainstay: {times.counted(found['foreign'], 'snapshot')}"
            if found.get("of_others"):
                yield f"left alone, of another controller's mainstay: {times.counted(found['of_others'], 'snapshot')}"
        elif key == "prune":
            freed = found.get("freed")
            yield "pruned" if freed is None else f"pruned: {times.size(freed)} freed" if freed else "nothing to free"
        elif key == "check" or key.startswith(CHECKED):
            sound = "DAMAGED" if found.get("errors") or found.get("broken_packs") else "sound"
            yield f"check: part {found.get('part', '–')} of {found.get('of', '–')} of the data read: {sound}"
            yield from (f"check: {text}" for text in found.get("said", ()))
        elif key.startswith(RESTORED):
            yield from _restored(key.removeprefix(RESTORED), found)


def _restored(unit: str, found: Mapping[str, Any]) -> Iterator[str]:
    counts = [f"{found['files']:,} files"] if isinstance(found.get("files"), int) else []
    counts += [_size(found["bytes"])] if isinstance(found.get("bytes"), int) else []
    verified = found.get("verified")
    if isinstance(verified, int) and not isinstance(verified, bool):
        counts.append(f"{verified:,} verified")
    where = f" to {found['to']}" if found.get("to") else ""
    point = str(found.get("point", ""))[:SHOWN]
    made = f" of {found['at']}" if found.get("at") else ""
    origin = f" in {found['repository']}" if found.get("repository") else ""
    yield f"restored {unit}{where}: {', '.join(counts) or 'nothing counted'}; from point {point}{made}{origin}"
    differing = found.get("differing")
    if isinstance(differing, Mapping):
        yield from (f"{unit}: {path} differs{f': {why}' if why else ''}" for path, why in differing.items())


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
        of, on = one.get("of", ""), one.get("on", "controller")
        unit = f"{of}: {one['unit']}" if on not in ("controller", of) else one["unit"]
        rows.append([unit, verdict(one["verdict"]), one["scope"], size, one["point"][:SHOWN], one["at"]])
        for text in filter(None, (one.get("reason", ""), *(f"left out: {left}" for left in one.get("left_out", ())))):
            remarks += wrap(f"{one['unit']}: {text}", columns=columns)
    head = ("restored", "", "scope", "size", "point", "made at")
    return [*table(rows, head=head, right=frozenset({3}), columns=columns), *remarks]


def _size(value: object) -> str:
    return times.size(value) if isinstance(value, int) else "–"

"""Changes of versions, merged over hosts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mainstay.console.render.spans import Line, Span
from mainstay.console.render.table import table, wrap
from mainstay.console.render.times import counted
from mainstay.inventory.value import Json

SHOWN = 3


class Change(NamedTuple):
    """One package on one host. before, after: "" where it was not, or is no more, installed."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after} (new)"
        if not self.after:
            return f"{self.name} {self.before} (removed)"
        return f"{self.name} {self.before} → {self.after}"


class Merged(NamedTuple):
    change: Change
    hosts: tuple[str, ...]


def merge(hosts: Mapping[str, Iterable[tuple[str, str, str]]]) -> list[Merged]:
    """host → its (name, before, after); the same change of several hosts is one. Most hosts first, then by name."""
    seen: dict[Change, list[str]] = {}
    for host, items in hosts.items():
        for item in items:
            seen.setdefault(Change(*item), []).append(host)
    merged = [Merged(change, tuple(names)) for change, names in seen.items()]
    return sorted(merged, key=lambda entry: (-len(entry.hosts), entry.change))


def summary(merged: Sequence[Merged], columns: int) -> list[Line]:
    """The first few in one paragraph, and how many more there are."""
    if not merged:
        return []
    parts = [f"{entry.change} ({counted(len(entry.hosts), 'host')})" for entry in merged[:SHOWN]]
    if len(merged) > SHOWN:
        parts.append(f"{len(merged) - SHOWN} more (--all)")
    return wrap(" · ".join(parts), columns=columns)


def listing(merged: Sequence[Merged], columns: int) -> list[Line]:
    """Every change, one per line, with its hosts."""
    rows: list[list[Span | str]] = [
        [entry.change.name, entry.change.before or "–", entry.change.after or "–", ", ".join(entry.hosts)]
        for entry in merged
    ]
    return table(rows, head=("package", "from", "to", "hosts"), columns=columns)


def changed(before: Json, after: Json) -> list[Change]:
    """What differs between the two snapshots of a host's part."""
    old, new = _packages(before), _packages(after)
    return [
        Change(name, old.get(name, ""), new.get(name, ""))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "") != new.get(name, "")
    ]


def _packages(snapshot: Json) -> dict[str, str]:
    found = snapshot.get("packages")
    return {str(k): str(v or "") for k, v in found.items()} if isinstance(found, dict) else {}


def few(changes: Sequence[Change], verb: str = "updated") -> str:
    """`nothing to do`, `demo-web 1.1 → 1.2`, `20 updated`."""
    if not changes:
        return "nothing to do"
    if len(changes) == 1:
        return str(changes[0])
    return f"{len(changes)} {verb}"


def change_lines(changes: Sequence[Change], columns: int, indent: str = "      ") -> list[Line]:
    rows: list[list[Span | str]] = [[c.name, c.before or "–", "→", c.after or "–"] for c in changes]
    return table(rows, indent=indent, columns=columns, gap="  ")

"""What a part of the bench found out, as it goes from its process into the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench.measure import Cost


@dataclass(frozen=True, slots=True)
class Part:
    """notes: what a reader has to know to believe the figures, one sentence or two each."""

    title: str
    repeat: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", _row(self.head), _row(["---"] + ["---:"] * (len(self.head) - 1))]
        lines += [_row(cells) for cells in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes), f"- Again: `{self.repeat}`", ""]
        return "\n".join(lines)


def dump(parts: Sequence[Part]) -> str:
    """What a part's process prints."""
    return json.dumps([asdict(part) for part in parts])


def load(printed: str) -> list[Part]:
    return [Part(**part) for part in json.loads(printed)]


COSTS = ("", "wall", "ratio", "controller CPU", "ratio", "peak memory")


def costs(found: Mapping[str, Cost], ours: str) -> list[list[str]]:
    """A row per case below COSTS. Ratios say how many times as much as `ours` a case takes."""
    base = found[ours]
    return [
        [
            name,
            f"{cost.wall:.2f} s",
            f"{cost.wall / base.wall:.2f}",
            f"{cost.cpu:.2f} s",
            f"{cost.cpu / base.cpu:.2f}",
            f"{cost.peak:.0f} MB",
        ]
        for name, cost in found.items()
    ]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"

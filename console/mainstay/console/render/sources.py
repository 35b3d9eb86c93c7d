"""What a backup would take, host by host and source by source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainstay.console.render.spans import Line, line, span
from mainstay.console.render.table import Cell, table, wrap

if TYPE_CHECKING:
    from mainstay.console.render.preview import Look


def hosts(looks: Sequence[Look], columns: int) -> list[Line]:
    """A row for each source; what is to be known of a host stands under its rows."""
    lines: list[Line] = []
    rows: list[list[Cell]] = [
        [look.host if first else None, name, before or span("none yet", "warn"), after]
        for look in looks
        if look.forecast
        for first, (name, before, after) in _numbered(look.forecast.items)
    ]
    lines += table(rows, head=("host", "source", "newest", "goes"), columns=columns)
    for look in looks:
        if look.forecast is None:
            lines += wrap(f"! {look.host}: {look.error or 'not asked'}", columns=columns)
            continue
        said = [f"! {look.host} would be refused: {look.forecast.refused}"] if look.forecast.refused else []
        said += [f"! {look.host} {limit}" for limit in look.forecast.limits]
        said += [f"· {look.host}: {note}" for note in look.forecast.notes]
        for text in said:
            lines += wrap(text, columns=columns)
    return lines or [line("  Nothing can be said of any of these hosts.")]


def _numbered(items: Sequence[tuple[str, str, str]]) -> list[tuple[bool, tuple[str, str, str]]]:
    return [(number == 0, item) for number, item in enumerate(items)]

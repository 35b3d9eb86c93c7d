"""What a backup would take, host by host and source by source."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.console.render.look import Look
from mainstay.console.render.spans import Line, line, span
from mainstay.console.render.table import Cell, table, wrap

NAMED = 5
"""Hosts that are named where many have the same said of them."""


def hosts(looks: Sequence[Look], columns: int) -> list[Line]:
    """A row for each source; below them what is to be known of hosts, the same of several together."""
    lines: list[Line] = []
    rows: list[list[Cell]] = [
        [look.host if first else None, name, before or span("none yet", "warn"), after]
        for look in looks
        if look.forecast
        for first, (name, before, after) in _numbered(look.forecast.items)
    ]
    lines += table(rows, head=("host", "source", "newest", "goes"), columns=columns)
    alike: dict[tuple[str, str], list[str]] = {}
    for look in looks:
        for mark, text in _said(look):
            alike.setdefault((mark, text), []).append(look.host)
    for (mark, text), names in sorted(alike.items(), key=lambda one: one[0][0] != "!"):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines += wrap(f"{mark} {', '.join(names[:NAMED])}{more}: {text}", columns=columns)
    return lines or [line("  Nothing can be said of any of these hosts.")]


def _said(look: Look) -> list[tuple[str, str]]:
    if look.forecast is None:
        return [("!", look.error or "not asked")]
    said = [("!", f"would be refused: {look.forecast.refused}")] if look.forecast.refused else []
    said += [("!", limit) for limit in look.forecast.limits]
    return [*said, *(("·", note) for note in look.forecast.notes)]


def _numbered(items: Sequence[tuple[str, str, str]]) -> list[tuple[bool, tuple[str, str, str]]]:
    return [(number == 0, item) for number, item in enumerate(items)]

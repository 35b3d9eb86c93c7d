"""Columns that line up, in plain text. The last column wraps under itself; nothing is cut off unseen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from mainstay.console import clean
from mainstay.console.render.spans import Line, Span, span

Cell = Span | str | int | None
GAP = "   "


def table(
    rows: Sequence[Sequence[Cell]],
    *,
    head: Sequence[str] = (),
    right: frozenset[int] = frozenset(),
    indent: str = "  ",
    columns: int = 100,
    gap: str = GAP,
) -> list[Line]:
    """rows of equal length. right: indices of right-aligned columns. columns: width of the screen."""
    body = [[_cell(cell) for cell in row] for row in rows]
    titles = [Span(text, "dim") for text in head]
    if not body:
        return []
    every = ([titles] if titles else []) + body
    widths = [max(clean.width(row[index].text) for row in every) for index in range(len(every[0]))]
    taken = len(indent) + sum(widths[:-1]) + len(gap) * (len(widths) - 1)
    last = max(20, columns - taken)
    lines: list[Line] = []
    for row in every:
        wrapped = _wrap(row[-1].text, last) if len(row) - 1 not in right else [row[-1].text]
        lines.append((Span(indent), *_joined([*row[:-1], Span(wrapped[0], row[-1].style)], widths, right, gap)))
        lines += [(Span(" " * taken), Span(more, row[-1].style)) for more in wrapped[1:]]
    return lines


def _joined(row: Sequence[Span], widths: Sequence[int], right: frozenset[int], gap: str) -> list[Span]:
    parts: list[Span] = []
    for index, cell in enumerate(row):
        pad = " " * max(0, widths[index] - clean.width(cell.text))
        if index in right:
            parts += [Span(pad), cell]
        elif index < len(row) - 1:
            parts += [cell, Span(pad)]
        else:
            parts.append(cell)
        if index < len(row) - 1:
            parts.append(Span(gap))
    return [part for part in parts if part.text]


def _cell(value: Cell) -> Span:
    return value if isinstance(value, Span) else span("–" if value is None else value)


def _wrap(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_on_hyphens=False) or [""]


def wrap(text: str, *, indent: str = "  ", columns: int = 100) -> list[Line]:
    """A paragraph; further lines under the first."""
    return [(Span(indent + row),) for row in _wrap(clean.line(text), max(20, columns - len(indent)))]

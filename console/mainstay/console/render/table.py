"""Columns that line up, in plain text. A cell that is too long wraps under itself; nothing is cut off unseen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from mainstay.console import clean
from mainstay.console.render.spans import Line, Span, span

Cell = Span | str | int | None
GAP = "   "
NARROWEST = 20
"""Columns that the last cell gets at least."""


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
    if not body:
        return []
    every = ([[Span(text, "dim") for text in head]] if head else []) + body
    widths = _widths(every, columns - len(indent) - len(gap) * (len(every[0]) - 1), columns // 2)
    return [line for row in every for line in _row(row, widths, right, indent, gap)]


def _widths(rows: Sequence[Sequence[Span]], room: int, widest: int) -> list[int]:
    """What each column needs, up to half a screen; what is left over goes to the last one. Where they are too many, those
    that can be broken between words give way, the widest first."""
    *first, last = [max(clean.width(row[index].text) for row in rows) for index in range(len(rows[0]))]
    widths = [min(width, widest) for width in first]
    words = [max(_longest_word(row[index].text) for row in rows) for index in range(len(widths))]
    over = sum(widths) - (room - min(last, NARROWEST))
    over = _give_way(widths, [max(word, NARROWEST) for word in words], over)
    _give_way(widths, [NARROWEST] * len(words), over)  # broken words are better than a broken screen
    return [*widths, min(last, max(NARROWEST, room - sum(widths)))]


def _give_way(widths: list[int], least: list[int], over: int) -> int:
    """Take `over` columns off, the widest first, none below its least. Returns what could not be taken."""
    while over > 0:
        slack = [width - floor for width, floor in zip(widths, least, strict=True)]
        if max(slack, default=0) <= 0:
            break
        widths[slack.index(max(slack))] -= 1
        over -= 1
    return over


def _longest_word(text: str) -> int:
    return max((clean.width(word) for word in text.split()), default=0)


def _row(row: Sequence[Span], widths: Sequence[int], right: frozenset[int], indent: str, gap: str) -> list[Line]:
    cells = [_wrap(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    lines: list[Line] = []
    for texts in zip_longest(*cells, fillvalue=""):
        parts = [Span(indent)]
        for index, (text, cell) in enumerate(zip(texts, row, strict=True)):
            pad = Span(" " * max(0, widths[index] - clean.width(text)))
            parts += [pad, Span(text, cell.style)] if index in right else [Span(text, cell.style), pad]
            parts.append(Span(gap))
        lines.append(_trimmed(parts))
    return lines


def _trimmed(parts: list[Span]) -> Line:
    """Without blanks at the end, and without empty stretches."""
    while parts and not parts[-1].text.strip():
        parts.pop()
    return tuple(part for part in parts if part.text)


def _cell(value: Cell) -> Span:
    return value if isinstance(value, Span) else span("–" if value is None else value)


def _wrap(text: str, columns: int) -> list[str]:
    """By columns of a terminal (textwrap counts characters); a word that is wider than a line is broken."""
    if clean.width(text) <= columns:
        return [text]
    rows: list[str] = []
    row = ""
    for word in (piece for whole in text.split() for piece in _pieces(whole, columns)):
        wanted = f"{row} {word}" if row else word
        if clean.width(wanted) <= columns:
            row = wanted
            continue
        rows.append(row)
        row = word
    return [*rows, row]


def _pieces(word: str, columns: int) -> list[str]:
    if clean.width(word) <= columns:
        return [word]
    pieces, piece = [], ""
    for char in word:
        if piece and clean.width(piece + char) > columns:
            pieces.append(piece)
            piece = ""
        piece += char
    return [*pieces, piece]


def wrap(text: str, *, indent: str = "  ", columns: int = 100) -> list[Line]:
    """A paragraph; further lines under the first."""
    return [(Span(indent + row),) for row in _wrap(clean.line(text), max(NARROWEST, columns - len(indent)))]

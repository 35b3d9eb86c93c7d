"""Text with a meaning beside it: what a terminal may colour, and what reads the same without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from mainstay.console import clean

Style = Literal["", "good", "bad", "warn", "dim", "bold"]

_SGR: dict[Style, str] = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "bold": "1"}


class Span(NamedTuple):
    """One stretch of cleaned text. Make it with `span`, which cleans."""

    text: str
    style: Style = ""


Line = tuple[Span, ...]
"""One line of a screen, without its line break."""


def span(text: object, style: Style = "") -> Span:
    return Span(clean.line(text), style)


def line(*parts: Span | str) -> Line:
    return tuple(part if isinstance(part, Span) else span(part) for part in parts)


def block(text: str | bytes, indent: str = "") -> list[Line]:
    """Remote text of several lines, one Line each."""
    return [(Span(indent + row),) for row in clean.block(text).expandtabs(8).split("\n")]


def width(row: Sequence[Span]) -> int:
    return sum(clean.width(part.text) for part in row)


def plain(lines: Iterable[Line]) -> str:
    return "".join("".join(part.text for part in row).rstrip() + "\n" for row in lines)


def ansi(lines: Iterable[Line]) -> str:
    """For a terminal that takes colour. The only place where an escape sequence is written."""
    return "".join("".join(_paint(part) for part in row) + "\n" for row in lines)


def _paint(part: Span) -> str:
    code = _SGR.get(part.style)
    return f"\x1b[{code}m{part.text}\x1b[0m" if code and part.text else part.text


VERDICT_STYLE: dict[str, Style] = {
    "succeeded": "good",
    "degraded": "warn",
    "failed": "bad",
    "rolled-back": "bad",
    "refused": "warn",
    "missed": "warn",
    "cancelled": "warn",
    "unknown": "bad",
}


def verdict(word: object) -> Span:
    text = clean.line(word)
    return Span(text, VERDICT_STYLE.get(text, ""))

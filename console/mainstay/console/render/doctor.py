"""Findings, the worst first within each subject, with what to do."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.console.doctor.finding import Finding
from mainstay.console.render.spans import Line, Span, Style, line, span
from mainstay.console.render.table import Cell, table
from mainstay.inventory.value import Json

STYLE: dict[str, Style] = {"well": "good", "look": "warn", "wrong": "bad", "unknown": "warn"}
ORDER = ("wrong", "unknown", "look", "well")


def screen(findings: Sequence[Finding], columns: int) -> list[Line]:
    subjects = list(dict.fromkeys(one.subject for one in findings))
    ordered = sorted(findings, key=lambda one: (subjects.index(one.subject), ORDER.index(one.health)))
    rows: list[list[Cell]] = []
    last = ""
    for one in ordered:
        told = f"{one.message}. {one.hint}" if one.hint else one.message
        subject = span(one.subject) if one.subject != last else Span("")
        rows.append([subject, Span(one.health, STYLE[one.health]), one.topic, told])
        last = one.subject
    counts = ", ".join(f"{number} {word}" for word, number in count(findings).items() if number)
    return [*table(rows, columns=columns), line(counts)]


def count(findings: Sequence[Finding]) -> dict[str, int]:
    return {word: sum(one.health == word for one in findings) for word in ORDER}


def to_json(findings: Sequence[Finding]) -> Json:
    return {"counts": count(findings), "findings": [one.to_json() for one in findings]}

"""Repositories, and what would be done at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line
from mainstay.console.render.table import Cell, table
from mainstay.console.vaults import Known
from mainstay.inventory.value import Json
from mainstay.recovery.tending.errand import CANCELLED, FAILED
from mainstay.recovery.tending.retention import NO_POINT, REFUSED
from mainstay.runner.forecasting import HostForecast


def screen(found: Sequence[Known], zone: tzinfo, columns: int) -> list[Line]:
    if not found:
        return [line("No backup plan, so no repository.")]
    body: list[list[Cell]] = []
    for one in found:
        made = one.vault is not None and one.vault.id
        escrow = one.vault is not None and one.vault.escrow_at
        body.append(
            [
                one.repository.name,
                one.repository.vault(one.host) or "all",
                Span(one.vault.id[:8], "good") if made and one.vault else Span("not seen yet", "warn"),
                times.local(one.vault.escrow_at, zone, short=True)
                if escrow and one.vault
                else Span("not confirmed", "bad"),
                *(_last(one, what, zone) for what in ("retention", "prune", "check")),
                one.repository.address(one.host),
            ]
        )
    head = ("repository", "host", "id", "key kept elsewhere", "retention", "prune", "check", "where")
    lines = table(body, head=head, columns=columns)
    if any(one.vault is None or not one.vault.escrow_at for one in found):
        lines.append(
            line("  A password that is lost with this controller is every backup lost: mainstay repo key export")
        )
    return lines


def _last(one: Known, what: str, zone: tzinfo) -> Cell:
    mine = sorted(
        (done for done in one.tended if done.what == what and done.part != CANCELLED), key=lambda done: done.at
    )
    if not mine:
        return None
    newest = mine[-1]
    word = times.local(newest.at, zone, short=True)
    return Span(f"{word} {newest.part}", "bad") if newest.part in (FAILED, REFUSED) else word


def to_json(found: Sequence[Known]) -> list[Json]:
    return [
        {
            "repository": one.repository.name,
            "host": one.repository.vault(one.host) or None,
            "url": one.repository.address(one.host),
            "plans": list(one.plans),
            "id": one.vault.id if one.vault else None,
            "made_at": (one.vault.made_at or None) if one.vault else None,
            "escrow_at": (one.vault.escrow_at or None) if one.vault else None,
            "escrow_by": (one.vault.escrow_by or None) if one.vault else None,
            "tended": [
                {"what": done.what, "part": done.part, "at": done.at, "verdict": done.verdict, "run": done.run}
                for done in one.tended
            ],
        }
        for one in found
    ]


def preview(what: str, repository: str, found: Mapping[str, HostForecast], columns: int) -> list[Line]:
    """What would be done, host by host. Of retention, what goes and what stays and why."""
    lines = [line(Span(f"{what} at {repository}", "bold"))]
    for host, one in found.items():
        if one.forecast is None:
            lines.append(line("  ", Span(f"{host}: {one.error}", "bad")))
            continue
        lines.append(line(f"  {host}  {_counts(what, one.forecast.items)}"))
        rows: list[list[Cell]] = [
            [Span("-" if not why else " ", "bad"), name, when[:16].replace("T", " "), why or Span("goes", "bad")]
            for name, when, why in sorted(one.forecast.items, key=lambda item: item[1])
        ]
        lines += table(rows, indent="    ", columns=columns)
        lines += [line("    ", Span(f"! {note}", "warn")) for note in one.forecast.notes]
    return [*lines, line("Nothing was changed.")]


def _counts(what: str, items: Sequence[tuple[str, str, str]]) -> str:
    if what != "retention":
        return ""
    points = [why for name, _, why in items if not name.startswith(NO_POINT)]
    others = [why for name, _, why in items if name.startswith(NO_POINT)]
    left = f"; {len(others)} → {sum(map(bool, others))} snapshots that are no points" if others else ""
    return f"{len(points)} → {sum(map(bool, points))} points{left}"


def preview_json(what: str, repository: str, found: Mapping[str, HostForecast]) -> Json:
    hosts: list[dict[str, Any]] = [
        {
            "host": host,
            "error": one.error or None,
            "items": [list(item) for item in one.forecast.items] if one.forecast else [],
            "notes": list(one.forecast.notes) if one.forecast else [],
        }
        for host, one in found.items()
    ]
    return {"what": what, "repository": repository, "hosts": hosts}

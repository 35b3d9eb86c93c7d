"""Repositories, and what would be done at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line
from mainstay.console.render.table import Cell, table, wrap
from mainstay.console.vaults import Known
from mainstay.inventory.value import Json
from mainstay.recovery.tending.errand import CANCELLED, FAILED
from mainstay.recovery.tending.retention import NO_POINT, REFUSED, may_do
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.waves import natural

MANY = 10
"""Hosts up to which all that retention would leave is shown."""
IDLE = {
    "prune": "would free the space of what retention has removed",
    "copy": "every point is there",
    "lock": "no lock",
    "retention": "no point",
}
"""Of an errand that has nothing to say beforehand."""


def screen(found: Sequence[Known], now: datetime, columns: int) -> list[Line]:
    if not found:
        return [line("No backup plan, so no repository.")]
    body: list[list[Cell]] = []
    for one in found:
        vault = one.vault if one.vault is not None and one.vault.id else None
        kept = one.vault.escrow_at if one.vault is not None else None
        body.append(
            [
                one.repository.name,
                one.repository.vault(one.host) or "all",
                Span(vault.id[:8], "good") if vault else Span("not seen yet", "warn"),
                _ago(kept, now) if kept else Span("not confirmed", "bad"),
                *(_last(one, what, now) for what in ("retention", "prune", "check")),
                one.repository.address(one.host),
            ]
        )
    head = ("repository", "host", "id", "key kept", "retention", "prune", "check", "where")
    lines = table(body, head=head, columns=columns, gap="  ")
    if lacking := next((one for one in found if one.vault is None or not one.vault.escrow_at), None):
        plan = lacking.plans[0] if lacking.plans else "PLAN"
        text = "A password that is lost with this controller is every backup lost"
        lines += wrap(f"{text}: mainstay repo key export {plan} --to FILE", columns=columns)
    return lines


def _ago(at: str, now: datetime) -> str:
    return f"{times.about(times.age(at, now))} ago"


def _last(one: Known, what: str, now: datetime) -> Cell:
    mine = sorted(
        (done for done in one.tended if done.what == what and done.part != CANCELLED), key=lambda done: done.at
    )
    if not mine:
        return None
    newest = mine[-1]
    word = _ago(newest.at, now)
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


def preview(
    what: str, repository: str, found: Mapping[str, HostForecast], columns: int, zone: tzinfo, *, dry: bool = True
) -> list[Line]:
    """What would be done, host by host. Of retention, what goes and what stays and why; of many hosts only what goes. dry: and
    nothing more than to show it."""
    lines = [line(Span(f"{what} at {repository}", "bold"))]
    alike: dict[str, list[str]] = {}
    for host, one in found.items():
        if one.forecast is None:
            lines.append(line("  ", Span(f"{host}: {one.error}", "bad")))
            continue
        if not one.forecast.items and not one.forecast.notes:
            alike.setdefault(IDLE.get(what, "nothing to do"), []).append(host)
            continue
        if len(found) > MANY and what == "retention" and not goes(one) and not one.forecast.notes:
            alike.setdefault("nothing goes", []).append(host)
            continue
        lines.append(line(f"  {host}  {_counts(what, one.forecast.items)}"))
        rows: list[list[Cell]] = [
            [Span("-" if not why else " ", "bad"), name, _said(when, zone), why or Span("goes", "bad")]
            for name, when, why in sorted(one.forecast.items, key=lambda item: item[1])
            if not why or len(found) <= MANY or what != "retention"
        ]
        lines += table(rows, indent="    ", columns=columns)
        for note in one.forecast.notes:
            lines += wrap(f"! {note}", indent="    ", columns=columns)
    for said, hosts in alike.items():
        named = ", ".join(sorted(hosts, key=natural)[:MANY]) + (
            f", … ({len(hosts)} hosts)" if len(hosts) > MANY else ""
        )
        lines += wrap(f"{named}: {said}", columns=columns)
    return [*lines, line("Nothing was changed.")] if dry else lines


def _said(text: str, zone: tzinfo) -> str:
    """Of a point when it was made; of others what is said of them: a lock's holder, nothing."""
    return times.local(text, zone, short=True) if text else ""


def _counts(what: str, items: Sequence[tuple[str, str, str]]) -> str:
    if what != "retention":
        return ""
    points = [why for name, _, why in items if not name.startswith(NO_POINT)]
    others = [why for name, _, why in items if name.startswith(NO_POINT)]
    left = f"; {len(others)} → {sum(map(bool, others))} snapshots that are no points" if others else ""
    return f"{len(points)} → {times.counted(sum(map(bool, points)), 'point')}{left}"


def goes(one: HostForecast) -> bool:
    """Whether retention would do anything there. What can't be asked may."""
    return one.forecast is None or may_do(one.forecast)


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

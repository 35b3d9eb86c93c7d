"""What was found out about the ledger and its anchors."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from mainstay.console.render.spans import Line, line, span
from mainstay.console.render.times import counted, local
from mainstay.inventory.value import Json
from mainstay.runner.ledger.comparing import Compared
from mainstay.runner.ledger.contract import Finding
from mainstay.runner.ledger.courier import Lag


def verified_json(
    head: tuple[int, str], findings: Sequence[Finding], compared: Sequence[Compared], lags: Sequence[Lag]
) -> Json:
    """anchors: what each said; `reached` is null where it said nothing, and then nothing is known of it."""
    behind = {lag.name: lag for lag in lags}
    return {
        "ok": not findings,
        "records": head[0],
        "head": head[1],
        "findings": [one.to_json() for one in findings],
        "anchors": [
            {
                "name": one.name,
                "reached": None if one.error else one.reached,
                "behind": behind[one.name].behind,
                "since": behind[one.name].since,
                "error": one.error or behind[one.name].error or None,
            }
            for one in compared
        ],
    }


def verified(
    head: tuple[int, str],
    findings: Sequence[Finding],
    compared: Sequence[Compared],
    lags: Sequence[Lag],
    zone: ZoneInfo,
) -> list[Line]:
    lines = [line(span(f"{one.kind}: ", "bad"), one.message) for one in findings]
    if not lines:
        lines = [line(span("unbroken", "good"), f": {counted(head[0], 'record')}, head {head[1][:16] or '–'}")]
    for one in compared:
        if one.error:
            lines.append(line(span("unknown: ", "warn"), one.error, f" ({one.hint})" if one.hint else ""))
        else:
            lines.append(line(span("anchor ", "dim"), f"{one.name}: has seen {counted(one.reached, 'record')}"))
    return lines + lagging(lags, zone)


def lagging(lags: Sequence[Lag], zone: ZoneInfo) -> list[Line]:
    """One line for each anchor that has not got everything."""
    return [line(span("look  ", "warn"), lag_in_words(lag, zone)) for lag in lags if lag.behind]


def lag_in_words(lag: Lag, zone: ZoneInfo) -> str:
    since = f" since {local(lag.since, zone)}" if lag.since else ""
    why = f": {lag.error}" if lag.error else ""
    return f"anchor {lag.name} lacks {counted(lag.behind, 'seal')}{since}{why}"

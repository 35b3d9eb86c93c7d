"""The preview: what a run would do, per host, and how far it can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainstay.console.render import opening, packages, sources
from mainstay.console.render.look import Look
from mainstay.console.render.opening import When
from mainstay.console.render.spans import Line, Span, line, span
from mainstay.console.render.table import Cell, table, wrap
from mainstay.console.render.times import about, counted, size
from mainstay.inventory.value import Json
from mainstay.recovery.required import Backing
from mainstay.runner.operation import Forecast, LeftOut
from mainstay.runner.verdict import EXIT_CODES, Verdict

LACKING = 5
"""Hosts of which the end says what backup is lacking."""

REASONS = {"too-young": "too young", "kept-back": "kept back", "not-security": "not security"}


@dataclass(frozen=True, slots=True)
class Preview:
    """waves: sizes. worst: hosts that can fail before the run has stopped. estimate: seconds, None where not known."""

    plan: str
    title: str
    looks: Sequence[Look]
    waves: Sequence[int]
    budget: int
    parallel: int
    worst: int
    when: When | None = None
    """None for a plan that may start at any time."""
    estimate: float | None = None
    download: int | None = None
    software: bool = True
    """Whether the hosts' software changes; otherwise it is shown source by source."""
    limits: Sequence[str] = ()
    """How many hosts at once beside `parallel`, each in words."""

    @property
    def exit_code(self) -> int:
        """0, or 5 where there are hosts and not one of them could be asked."""
        asked = not self.looks or any(look.forecast or look.asked for look in self.looks)
        return 0 if asked else EXIT_CODES[Verdict.UNKNOWN]


def screen(preview: Preview, columns: int, *, everything: bool = False) -> list[Line]:
    if not preview.software:
        return [
            *_head(preview, columns),
            line(),
            *sources.hosts(preview.looks, columns),
            line(),
            *_end(preview, columns),
        ]
    return [
        *_head(preview, columns),
        line(),
        *_hosts(preview.looks, columns),
        line(),
        *_packages(preview.looks, columns, everything),
        *_limits(preview.looks, columns),
        *_foot(preview, columns),
    ]


def _head(preview: Preview, columns: int) -> list[Line]:
    sizes = " · ".join(str(count) for count in preview.waves)
    hosts = counted(len(preview.looks), "host")
    if preview.waves:
        hosts += f" in {counted(len(preview.waves), 'wave')} ({sizes})"
    parts = [preview.plan, preview.title, hosts]
    if preview.when:
        parts.append(opening.head(preview.when))
    lines = wrap(" · ".join(parts), indent="", columns=columns)
    for text in opening.held(preview.when) if preview.when else ():
        lines += wrap(f"✗ {text}", columns=columns)
    return lines


def _hosts(looks: Sequence[Look], columns: int) -> list[Line]:
    rows: list[list[Cell]] = []
    remarks: dict[str, list[Line]] = {}
    for look in looks:
        forecast = look.forecast
        if forecast is None:
            rows.append([look.host, "?", "?", "?", span(look.error or "not asked", "bad")])
            continue
        back = f"{forecast.reversible} of {forecast.count}"
        style = "warn" if forecast.reversible < forecast.count else ""
        rows.append([look.host, forecast.count, Span(back, "warn" if style else ""), forecast.reboot, _left(forecast)])
        remarks[look.host] = [
            row
            for text, mark in _remarks(forecast, look.backing)
            for row in wrap(f"{mark} {text}", indent="         ", columns=columns)
        ]
    head = ("host", "updates", "can go back", "reboot", "left out")
    lines = table(rows, head=head, right=frozenset({1, 2, 3}), columns=columns)
    return _interleave(lines, [look.host for look in looks], remarks)


def _interleave(lines: list[Line], hosts: Sequence[str], remarks: Mapping[str, list[Line]]) -> list[Line]:
    """Put each host's remarks under its (perhaps wrapped) row; a row begins where its first cell is the host."""
    result: list[Line] = []
    waiting: list[Line] = []
    index = 0
    for row in lines:
        if index < len(hosts) and len(row) > 1 and row[1].text == span(hosts[index]).text:
            result += waiting
            waiting = remarks.get(hosts[index], [])
            index += 1
        result.append(row)
    return result + waiting


def _remarks(forecast: Forecast, backing: Backing | None) -> list[tuple[str, str]]:
    found = [(f"would be refused: {forecast.refused}", "!")] if forecast.refused else []
    found += [(f"would be refused: {backing.reason}", "!")] if backing and backing.unmet else []
    found += [(f"{name}: {why}", "!") for name, why in forecast.irreversible]
    return found + [(note, "·") for note in forecast.notes]


def _left(forecast: Forecast) -> Span:
    by_reason: dict[str, list[LeftOut]] = {}
    for entry in forecast.left_out:
        by_reason.setdefault(entry.reason, []).append(entry)
    parts = []
    for reason, entries in by_reason.items():
        names = ", ".join(entry.item for entry in entries[:2]) + (" …" if len(entries) > 2 else "")
        parts.append(f"{len(entries)} {REASONS.get(reason, reason)} ({names})")
    return span(", ".join(parts) or "–")


def _packages(looks: Sequence[Look], columns: int, everything: bool) -> list[Line]:
    merged = packages.merge({look.host: look.forecast.items for look in looks if look.forecast})
    if not merged:
        known = any(look.forecast for look in looks)
        return [line("  Nothing to do." if known else "  Nothing can be said of any of these hosts."), line()]
    shown = packages.listing(merged, columns) if everything else packages.summary(merged, columns)
    if everything:
        shown += _left_listing(looks, columns)
    return [*shown, line()]


def _left_listing(looks: Sequence[Look], columns: int) -> list[Line]:
    rows: list[list[Cell]] = [
        [look.host, entry.item, entry.version or "–", _why(entry)]
        for look in looks
        if look.forecast
        for entry in look.forecast.left_out
    ]
    return [line(), *table(rows, head=("host", "left out", "version", "why"), columns=columns)] if rows else []


def _why(entry: LeftOut) -> str:
    reason = REASONS.get(entry.reason, entry.reason)
    return f"{reason}: {entry.detail}" if entry.detail else reason


def _limits(looks: Sequence[Look], columns: int) -> list[Line]:
    limits: dict[str, list[str]] = {}
    for look in looks:
        for limit in look.forecast.limits if look.forecast else ():
            limits.setdefault(limit, []).append(look.host)
    rows: list[list[Cell]] = [["can't", f"{limit} ({', '.join(hosts)})"] for limit, hosts in limits.items()]
    return [*table(rows, columns=columns), line()] if rows else []


def _foot(preview: Preview, columns: int) -> list[Line]:
    if not preview.waves:
        return [line("No host would be touched. Nothing was changed.")]
    total, first = sum(preview.waves), min(preview.parallel, preview.waves[0])
    worst = (
        f"If it goes wrong: at most {preview.worst} of {counted(total, 'host')} {'fails' if total == 1 else 'fail'} "
        f"before it stops (budget {preview.budget}, {preview.parallel} at once); in wave 1 at most {first}, "
        "and then none beyond it."
    )
    lines = wrap(worst, indent="", columns=columns)
    lines += _backed(preview.looks, columns)
    if preview.limits:
        lines += wrap(f"At once at most {', '.join(preview.limits)}.", indent="", columns=columns)
    if preview.download:
        lines.append(line(f"Downloads {size(preview.download)} in all."))
    return lines + _end(preview, columns)


def _backed(looks: Sequence[Look], columns: int) -> list[Line]:
    asked = [(look.host, look.backing) for look in looks if look.wave is not None and look.backing is not None]
    if not asked:
        return []
    lacking = [(host, one.reason) for host, one in asked if one.unmet]
    there = len(asked) - len(lacking)
    text = f"The backups that it requires are there now for {there} of {counted(len(asked), 'host')}."
    lines = wrap(text, indent="", columns=columns)
    for host, reason in lacking[:LACKING]:
        lines += wrap(f"lacking on {host}: {reason}", columns=columns)
    more = len(lacking) - LACKING
    return [*lines, line(f"  and on {counted(more, 'more host')}")] if more > 0 else lines


def _end(preview: Preview, columns: int) -> list[Line]:
    took = ""
    if preview.estimate is not None:
        needed = opening.needs(preview.when, preview.estimate) if preview.when else about(preview.estimate)
        took = f"Would take about {needed}. "
    return wrap(f"{took}Nothing was changed.", indent="", columns=columns)


def to_json(preview: Preview) -> Json:
    """See docs/reference/cli.md, `preview --json`."""
    return {
        "plan": preview.plan,
        "window": preview.when.window if preview.when else None,
        "opening": opening.to_json(preview.when) if preview.when else None,
        "held": opening.held_json(preview.when) if preview.when else [],
        "waves": list(preview.waves),
        "budget": preview.budget,
        "parallel": preview.parallel,
        "limits": list(preview.limits),
        "worst_case": preview.worst,
        "estimate_seconds": preview.estimate,
        "download_bytes": preview.download,
        "hosts": [_host_json(look) for look in preview.looks],
    }


def _backup_json(backing: Backing | None) -> Json | None:
    if backing is None:
        return None
    return {"holds": not backing.unmet, "reason": backing.reason or None, "relies_on": list(backing.runs)}


def _host_json(look: Look) -> Json:
    base: Json = {"host": look.host, "wave": look.wave, "cohort": look.cohort, "backup": _backup_json(look.backing)}
    if look.forecast is None:
        return {**base, "error": look.error or "not asked", "unreachable": look.unreachable}
    body = look.forecast.to_json()
    items = [{"name": n, "before": b, "after": a} for n, b, a in look.forecast.items]
    irreversible = [{"name": name, "why": why} for name, why in look.forecast.irreversible]
    keys = ("count", "reversible", "left_out", "reboot", "download_bytes", "notes", "limits", "refused")
    return {
        **base,
        "error": None,
        "unreachable": False,
        **{k: body[k] for k in keys},
        "items": items,
        "irreversible": irreversible,
    }

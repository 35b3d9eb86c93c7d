"""Maintenance records: what happened, per host, in the order in which an operator asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from mainstay.console.render import interventions, kept, packages, times
from mainstay.console.render.progress import planned
from mainstay.console.render.spans import Line, Span, block, line, span, verdict
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.runner.record import HostPart, MaintenanceRecord, Summary
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import natural

ALONE = 2
"""So many hosts with the same fate and no step are still named one per line."""

FEW = 3
"""So many records that rely on one are named."""

TOLD = ("wall_seconds",)
"""Measures that the head of a record says in other words."""

OF_SOFTWARE = ("packages_changed", "reboots", "reboots_pending")
"""Measures that are told of what changes no software only where they are not 0."""


def in_order(parts: Sequence[HostPart]) -> list[HostPart]:
    """By wave, then by name; those that never got a wave come last."""
    return sorted(parts, key=lambda part: (part.wave is None, part.wave or 0, natural(part.host)))


def touched(part: HostPart) -> bool:
    """Whether the run may have changed this host: it was looked at only where there is no step but the survey."""
    if part.verdict in (Verdict.REFUSED, Verdict.MISSED):
        return False
    if part.verdict is Verdict.CANCELLED:
        return any(step.name == "apply" for step in part.steps)
    return part.verdict is not Verdict.SUCCEEDED or len(part.steps) > 1


def elapsed(part: HostPart) -> float | None:
    if not part.steps:
        return None
    start = min(step.started_at for step in part.steps)
    return times.seconds_between(start, max(step.finished_at for step in part.steps))


def outcome(record: MaintenanceRecord, columns: int) -> list[Line]:
    """What `run` prints at its end."""
    summary = record.summary
    what = planned(summary.plan, summary.kind)
    head = [span(f"run {summary.id} · {what} · "), verdict(summary.verdict)]
    lines = [(*head, span(f": {summary.reason}"))] if summary.reason else [tuple(head)]
    lines = _wrapped_head(lines[0], columns)
    lines += parts(record.hosts, columns)
    lines.append(line(f"  Record {record.seq} sealed. See more: mainstay records show {summary.id}"))
    return lines


def _wrapped_head(row: Line, columns: int) -> list[Line]:
    text = "".join(part.text for part in row)
    if len(text) <= columns:
        return [row]
    first, *more = wrap(text, indent="", columns=columns)
    # The head of the sentence keeps its colour as long as the verdict still stands on the first line.
    kept = row[:2] if first[0].text.startswith(row[0].text + row[1].text) else ()
    used = sum(len(part.text) for part in kept)
    return [(*kept, Span(first[0].text[used:])), *((Span("  "), *rest) for rest in more)]


def parts(hosts: Sequence[HostPart], columns: int) -> list[Line]:
    """One row per host that something was done on; the others together, by why."""
    rows: list[list[Cell]] = []
    apart: dict[tuple[str, str], list[str]] = {}
    for part in in_order(hosts):
        if touched(part):
            rows.append(_row(part))
        else:
            apart.setdefault((str(part.verdict), part.reason), []).append(part.host)
    for (word, reason), names in apart.items():
        if len(names) <= ALONE:
            rows += [[name, verdict(word), "–", reason or "not touched"] for name in names]
    lines = table(rows, right=frozenset({2}), columns=columns)
    for (word, reason), names in apart.items():
        if len(names) > ALONE:
            why = f"{word}: {reason}" if reason else word
            text = f"{len(names)} hosts were not touched ({why}): {', '.join(names)}"
            lines += wrap(text, columns=columns)
    return lines


def _row(part: HostPart) -> list[Cell]:
    changes = packages.changed(part.before, part.after)
    told = f"{changes[0]}: {part.reason}" if len(changes) == 1 and part.reason else part.reason
    return [part.host, verdict(part.verdict), times.clock(elapsed(part)), told or packages.few(changes)]


def head(record: MaintenanceRecord, zone: tzinfo, columns: int) -> list[Line]:
    summary = record.summary
    took = times.seconds_between(summary.started_at, summary.finished_at)
    rows: list[list[Cell]] = [
        ["plan", f"{summary.plan} ({', '.join(filter(None, (summary.kind, summary.maintenance_type)))})"],
        ["verdict", verdict(summary.verdict)],
    ]
    if summary.reason:
        rows.append(["reason", summary.reason])
    rows += [
        ["asked by", f"{summary.requested_by} ({summary.trigger})"],
        ["started", times.local(summary.started_at, zone)],
        ["finished", f"{times.local(summary.finished_at, zone)}, after {times.clock(took)}"],
        ["site", _site(summary)],
    ]
    optional: list[tuple[str, str | None]] = [
        ("window", summary.window),
        ("undoes", summary.links.undoes),
        ("relies on", ", ".join(summary.links.relies_on)),
        ("proves", ", ".join(summary.links.proves)),
        *((str(key).replace("_", " "), _plainly(value)) for key, value in _worth_telling(summary)),
    ]
    rows += [[key, value] for key, value in optional if value]
    counts = ", ".join(f"{count} {word}" for word, count in summary.counts.items() if count)
    rows += [["hosts", counts or "none"], ["sealed", f"{record.seq}, {record.hash}"]]
    return [line(Span(f"record {record.seq} · run {summary.id}", "bold")), *table(rows, columns=columns)]


def _worth_telling(summary: Summary) -> list[tuple[str, object]]:
    quiet = TOLD if summary.kind in ("patch", "rollback") else (*TOLD, *OF_SOFTWARE)
    return [(key, value) for key, value in summary.measures.items() if key not in quiet or (value and key not in TOLD)]


def _site(summary: Summary) -> str:
    stamp = summary.site
    if stamp.commit is None:
        return "not in git"
    return stamp.commit + (" with uncommitted changes" if stamp.dirty else "")


def _plainly(value: object) -> str:
    if value in (None, "", [], {}):
        return ""
    if isinstance(value, (list, tuple)):
        return ", ".join(_plainly(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plainly(entry)}" for key, entry in value.items())
    return str(value)


def whole(
    record: MaintenanceRecord,
    zone: tzinfo,
    columns: int,
    outputs: Mapping[str, bytes] | None = None,
    looked: Sequence[Line] = (),
) -> list[Line]:
    """What `records show` prints. outputs: artifact → what a step printed, shown where given. looked: who has looked at it."""
    lines = [*head(record, zone, columns), *interventions.section(record.summary, zone, columns), *looked]
    for part in in_order(record.hosts):
        lines += [line(), *host(part, columns, outputs)]
    return lines


def host(part: HostPart, columns: int, outputs: Mapping[str, bytes] | None = None) -> list[Line]:
    wave = f"wave {part.wave}" if part.wave else "no wave"
    title = [Span(""), span(part.host, "bold"), Span("   "), verdict(part.verdict), span(f"   {wave}")]
    if part.cohort:
        title.append(span(f", {part.cohort}"))
    lines: list[Line] = [tuple(title)]
    if part.reason:
        lines += wrap(part.reason, columns=columns)
    lines += _measures(part, columns)
    changes = packages.changed(part.before, part.after)
    if changes:
        lines += [line(f"  {times.counted(len(changes), 'package')} changed"), *packages.change_lines(changes, columns)]
    if outputs is None:
        rows = [_step_row(step.to_json()) for step in part.steps]
        return lines + table(rows, head=("step", "", "took", ""), right=frozenset({2}), columns=columns)
    for step in part.steps:
        lines += [line(), *table([_step_row(step.to_json())], columns=columns)]
        if step.output:
            lines += block(outputs.get(step.output, b"(its output is no longer kept)"), indent="    ")
    return lines


def _measures(part: HostPart, columns: int) -> list[Line]:
    rows: list[list[Cell]] = [
        [*(kept.row(key, value) or (key.replace("_", " "), _plainly(value)))]
        for key, value in part.measures.items()
        if not kept.inner(key) and _plainly(value)
    ]
    for key in ("boot_id", "kernel"):
        old, new = part.before.get(key), part.after.get(key)
        if old and new and old != new:
            rows.append([key.replace("_", " "), f"{old} → {new}"])
    return [*table(rows, columns=columns), *kept.lines(part.measures, columns)]


def _step_row(step: Json) -> list[Cell]:
    took = times.seconds_between(step["started_at"], step["finished_at"])
    return [step["name"], verdict(step["verdict"]), times.clock(took), step["detail"] or ""]


def _relied_on(by: Sequence[int]) -> str:
    """by: numbers of the records that do."""
    newest = [str(seq) for seq in sorted(by, reverse=True)]
    more = f" and {len(newest) - FEW} more" if len(newest) > FEW else ""
    return f", relied on by {', '.join(newest[:FEW])}{more}" if newest else ""


def listing(
    records: Sequence[tuple[int, Summary]], zone: tzinfo, columns: int, looked: Mapping[str, str] | None = None
) -> list[Line]:
    """What `records list` prints, in the order given. A record that undoes another names its number, and one that others
    rely on names theirs. looked: run → who has looked at it."""
    numbers = {summary.id: seq for seq, summary in records}
    relying: dict[str, list[int]] = {}
    for seq, summary in records:
        for run in summary.links.relies_on:
            relying.setdefault(run, []).append(seq)
    rows: list[list[Cell]] = []
    for seq, summary in records:
        total = sum(summary.counts.values())
        well = summary.counts.get("succeeded", 0)
        took = times.about(times.seconds_between(summary.started_at, summary.finished_at))
        moment = times.local(summary.started_at, zone, short=True)
        undone = summary.links.undoes
        who = summary.requested_by + (f", undoes {numbers.get(undone, undone)}" if undone else "")
        who += _relied_on(relying.get(summary.id, []))
        who += f"; {looked[summary.id]}" if looked and summary.id in looked else ""
        rows.append(
            [seq, moment, summary.kind, summary.plan, verdict(summary.verdict), f"{well} of {total}", took, who]
        )
    head = ("record", "started", "kind", "plan", "verdict", "well", "took", "asked by")
    return table(rows, head=head, right=frozenset({0}), columns=columns)

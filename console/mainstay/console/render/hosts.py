"""The inventory and the state of its hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line, span, verdict
from mainstay.console.render.table import Cell, table
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.record import HostPart
from mainstay.runner.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Known:
    """A host and what the controller knows of it without asking. pins: fingerprints; () where no key is pinned.
    run_ended: when the run of its newest part ended, RFC 3339; None while it has not."""

    host: Host
    pins: tuple[str, ...] = ()
    run: str = ""
    part: HostPart | None = None
    run_ended: str | None = None

    @property
    def verdict(self) -> str:
        """Of its newest part; a host that was never contacted is unknown, never green."""
        return str(self.part.verdict) if self.part else str(Verdict.UNKNOWN)

    @property
    def at(self) -> str | None:
        """When its newest part ended, RFC 3339."""
        if self.part is None or not self.part.steps:
            return self.run_ended
        return max(step.finished_at for step in self.part.steps)

    @property
    def stale(self) -> tuple[str, ...]:
        found = self.part.after.get("stale") or self.part.measures.get("stale") if self.part else None
        return tuple(str(entry) for entry in found) if isinstance(found, (list, tuple)) else ()

    @property
    def reboot_pending(self) -> bool:
        return bool(self.part and self.part.measures.get("reboot_pending"))

    @property
    def reason(self) -> str:
        if self.part is None:
            return "never worked on by this state"
        told = [self.part.reason] if self.part.reason else []
        if self.reboot_pending:
            told.append("a reboot is pending")
        if self.stale and not any(unit in self.part.reason for unit in self.stale):
            told.append("still runs old code: " + ", ".join(self.stale))
        return "; ".join(told)


def listing(known: Sequence[Known], now: datetime, columns: int) -> list[Line]:
    rows: list[list[Cell]] = []
    for one in known:
        host = one.host
        port = "" if host.ssh.port == 22 else f":{host.ssh.port}"
        labels = [*host.groups, *(f"{key}={value}" for key, value in sorted(host.tags.items()))]
        pinned: Cell = "yes" if one.pins else Span("no", "warn")
        state = span("never contacted", "dim") if one.part is None else verdict(one.verdict)
        age = times.about(times.age(one.at, now))
        rows.append([host.name, f"{host.address}{port}", pinned, state, age, " ".join(labels) or "–"])
    return table(rows, head=("host", "address", "pinned", "last run", "age", "groups and tags"), columns=columns)


def to_json(one: Known) -> Json:
    host = one.host
    return {
        "host": host.name,
        "address": host.address,
        "port": host.ssh.port,
        "user": host.ssh.user,
        "jump": host.ssh.jump,
        "groups": list(host.groups),
        "tags": dict(host.tags),
        "controller": host.controller,
        "source": host.source,
        "pinned": bool(one.pins),
        "fingerprints": list(one.pins),
        "last_run": one.run or None,
        "last_verdict": one.verdict if one.part else None,
        "last_contact": one.at,
    }


def status(known: Sequence[Known], now: datetime, columns: int) -> list[Line]:
    rows: list[list[Cell]] = [
        [one.host.name, verdict(one.verdict), times.about(times.age(one.at, now)), one.reason] for one in known
    ]
    counts: dict[str, int] = {}
    for one in known:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    total = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    return [*table(rows, head=("host", "last run", "age", "why"), right=frozenset({2}), columns=columns), line(total)]


def status_json(one: Known) -> Json:
    return {
        "host": one.host.name,
        "verdict": one.verdict,
        "reason": one.reason,
        "run": one.run or None,
        "at": one.at,
        "stale": list(one.stale),
        "reboot_pending": one.reboot_pending,
    }


NAGIOS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LEVEL = {"succeeded": 0, "failed": 2, "rolled-back": 2, "unknown": 3}
_WORST = (2, 3, 1, 0)


def nagios(known: Sequence[Known]) -> tuple[int, str]:
    """(exit code, the one line that monitoring plugins print). Critical before unknown before warning."""
    levels = [_LEVEL.get(one.verdict, 1) for one in known] or [3]
    worst = min(levels, key=_WORST.index)
    bad = [one for one, level in zip(known, levels, strict=False) if level]
    bad.sort(key=lambda one: _WORST.index(_LEVEL.get(one.verdict, 1)))
    told = "; ".join(f"{one.host.name} {one.verdict}: {one.reason}".rstrip(": ") for one in bad[:5])
    more = f"; {len(bad) - 5} more" if len(bad) > 5 else ""
    well = len(known) - len(bad)
    text = f"MAINSTAY {NAGIOS[worst]} - {well} of {times.counted(len(known), 'host')} well" + (
        f"; {told}{more}" if told else ""
    )
    # `|` parts the text from the measured values in this protocol, so no text of ours may hold one.
    text = span(text).text.replace("|", "/")
    return worst, f"{text} | well={well} not_well={len(bad)}"

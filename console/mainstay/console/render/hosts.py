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
    """A host and what the controller knows of it without asking.

    pins: fingerprints; () where no key is pinned. run, part: the newest. run_ended: when that run ended, RFC 3339; None
    while it has not. worked: the newest part in which something was done on the host, where that is an older one.
    """

    host: Host
    pins: tuple[str, ...] = ()
    run: str = ""
    part: HostPart | None = None
    run_ended: str | None = None
    worked: HostPart | None = None

    @property
    def verdict(self) -> str:
        """Of its newest part; a host that was never contacted is unknown, never green."""
        return str(self.part.verdict) if self.part else str(Verdict.UNKNOWN)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Those that count: of the newest part, and of the older one that it says nothing newer about."""
        return (self.verdict, str(self._before.verdict)) if self._before else (self.verdict,)

    @property
    def at(self) -> str | None:
        """When its newest part ended, RFC 3339."""
        if self.part is None or not self.part.steps:
            return self.run_ended
        return max(step.finished_at for step in self.part.steps)

    @property
    def _before(self) -> HostPart | None:
        """The older part, unless it went well, or left only what a reboot since has settled."""
        if self.worked is None or self.worked.verdict is Verdict.SUCCEEDED:
            return None
        return None if self.worked.verdict is Verdict.DEGRADED and self._rebooted else self.worked

    @property
    def _rebooted(self) -> bool:
        """Since the older part."""
        if self.part is None or self.worked is None:
            return False
        then = self.worked.after.get("boot_id") or self.worked.before.get("boot_id")
        now = self.part.after.get("boot_id") or self.part.before.get("boot_id")
        return bool(then and now and then != now)

    @property
    def _state(self) -> HostPart | None:
        """The part that tells what still runs old code and whether a reboot is pending."""
        if self.worked is None:
            return self.part
        return None if self._rebooted else self.worked

    @property
    def stale(self) -> tuple[str, ...]:
        part = self._state
        found = part.after.get("stale") or part.measures.get("stale") if part else None
        return tuple(str(entry) for entry in found) if isinstance(found, (list, tuple)) else ()

    @property
    def reboot_pending(self) -> bool:
        return bool(self._state and self._state.measures.get("reboot_pending"))

    @property
    def reason(self) -> str:
        if self.part is None:
            return "never worked on by this state"
        told = [self.part.reason] if self.part.reason else []
        if self._before is not None:
            told.append(f"before that {self._before.verdict}: {self._before.reason}")
        if self.reboot_pending:
            told.append("a reboot is pending")
        if self.stale and not any(unit in " ".join(told) for unit in self.stale):
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
NAMED = 5
"""Hosts that the line of `--nagios` names."""


def nagios(known: Sequence[Known], warnings: Sequence[str] = ()) -> tuple[int, str]:
    """(exit code, the one line that monitoring plugins print). Critical before unknown before warning.

    warnings: what else somebody should look at, beside the hosts."""
    levels = [(_level(one), one) for one in known]
    worst = min((level for level, _ in levels), key=_WORST.index, default=3)
    if warnings:
        worst = min(worst, 1, key=_WORST.index)
    bad = sorted((entry for entry in levels if entry[0]), key=lambda entry: _WORST.index(entry[0]))
    told = "; ".join(f"{one.host.name} {one.verdict}: {one.reason}".rstrip(": ") for _, one in bad[:NAMED])
    more = f"; {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    well = len(known) - len(bad)
    text = f"MAINSTAY {NAGIOS[worst]} - {well} of {times.counted(len(known), 'host')} well"
    # `|` parts the text from the measured values in this protocol, so no text of ours may hold one.
    text = span("; ".join([text, *([told + more] if told else []), *warnings])).text.replace("|", "/")
    return worst, f"{text} | well={well} not_well={len(bad)}"


def _level(one: Known) -> int:
    return min((_LEVEL.get(word, 1) for word in one.verdicts), key=_WORST.index)

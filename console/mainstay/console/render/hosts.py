"""The inventory and the state of its hosts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, Style, line, span, verdict
from mainstay.console.render.table import Cell, table
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.record import HostPart
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import natural

if TYPE_CHECKING:
    from mainstay.console.backups import Backups
    from mainstay.recovery.standing import Health


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
    looked: str = ""
    """Who has acknowledged the newest part, and why; empty: nobody."""

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
            return "no run has worked on it yet"
        told = [self.part.reason] if self.part.reason else []
        told += [self.looked] if self.looked else []
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


def status(
    known: Sequence[Known], now: datetime, columns: int, backups: Backups | None = None, *, whole: bool = False
) -> list[Line]:
    """The worst first. backups: where the site has plans that back hosts up. whole: also those that are well have a line each,
    however many they are."""
    levels = {one.host.name: _level(one, backups) for one in known}
    found = sorted(known, key=lambda one: (WORST.index(levels[one.host.name]), natural(one.host.name)))
    shown = found if whole or len(found) <= ROWS else [one for one in found if levels[one.host.name]][:ROWS]
    rows: list[list[Cell]] = []
    for one in shown:
        row: list[Cell] = [one.host.name, verdict(_word(one, backups)), times.about(times.age(one.at, now))]
        if backups is not None:
            health = backups.health(one.host.name)
            row.append(Span("–", "dim") if health is None else Span(health, HEALTH_STYLE[health]))
        rows.append([*row, _whole_reason(one, backups)])
    head = ("host", "last run", "age", *(("backup",) if backups is not None else ()), "why")
    lines = table(rows, head=head, right=frozenset({2}), columns=columns)
    rest = [levels[one.host.name] for one in found[len(shown) :]]
    bad = sum(level != 0 for level in rest)
    lines += [line("  ", Span(f"{times.counted(bad, 'more host')} not well", "bad"))] if bad else []
    lines += [line("  ", Span(f"{times.counted(len(rest) - bad, 'host')} well", "good"))] if len(rest) > bad else []
    counts: dict[str, int] = {}
    for one in known:
        word = _word(one, backups)
        counts[word] = counts.get(word, 0) + 1
    total = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    listed = "   (mainstay status all lists each)" if rest else ""
    return [*lines, line(f"{total}{listed}")]


def _word(one: Known, backups: Backups | None) -> str:
    return "none yet" if _awaited(one, backups) else one.verdict


def _whole_reason(one: Known, backups: Backups | None) -> str:
    said = of_backups(one.host.name, backups)
    return f"{one.reason}; {said}" if one.reason and said else one.reason or said


def of_backups(host: str, backups: Backups | None) -> str:
    """The worst of what is not as it should be: `db, etc: no recovery point; and 2 more`."""
    alike: dict[str, list[str]] = {}
    for trouble in backups.all_troubles(host) if backups is not None else ():
        alike.setdefault(trouble.text if len(trouble.text) <= LONG else trouble.kind, []).append(trouble.source)
    told = [f"{', '.join(of)}: {text}" if all(of) else text for text, of in alike.items()]
    more = [f"and {len(told) - TOLD} more (mainstay why {host})"] if len(told) > TOLD else []
    return "; ".join([*told[:TOLD], *more])


def status_json(one: Known, backups: Backups | None = None) -> Json:
    return {
        "host": one.host.name,
        "verdict": one.verdict,
        "reason": one.reason,
        "run": one.run or None,
        "at": one.at,
        "stale": list(one.stale),
        "reboot_pending": one.reboot_pending,
        "acknowledged": one.looked or None,
        "backup": None if backups is None else _backup_json(one.host.name, backups),
    }


def _backup_json(host: str, backups: Backups) -> Json | None:
    mine = backups.of(host)
    if not mine:
        return None
    ages = [one.exposure.since_newest for one in mine]
    proofs = [one.exposure.since_proof for one in mine]
    return {
        "health": backups.health(host),
        "oldest_seconds": max((age for age in ages if age is not None), default=None) if None not in ages else None,
        "since_proof_seconds": max((a for a in proofs if a is not None), default=None) if None not in proofs else None,
        "troubles": [
            {
                "health": t.health,
                "plan": t.plan or None,
                "source": t.source or None,
                "text": t.text,
                "hint": t.hint or None,
            }
            for t in backups.all_troubles(host)
        ],
    }


NAGIOS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_LEVEL = {"succeeded": 0, "failed": 2, "rolled-back": 2, "unknown": 3}
WORST = (2, 3, 1, 0)
OF_HEALTH: dict[Health, int] = {"well": 0, "look": 1, "wrong": 2, "unknown": 3}
HEALTH_STYLE: dict[Health, Style] = {"well": "good", "look": "warn", "wrong": "bad", "unknown": "warn"}
NAMED = 5
"""Hosts that the line of `--nagios` names."""
ROWS = 20
"""Hosts up to which those that are well have a line each too."""
LONG = 90
"""Characters of a trouble from which on a host's line tells only what it is."""
TOLD = 2
"""Troubles of a host's backups that its line tells."""
MEASURED = 20
"""Sources up to which the line of `--nagios` gives the ages of each."""


def nagios(
    known: Sequence[Known], warnings: Sequence[str] = (), backups: Backups | None = None, wrong: Sequence[str] = ()
) -> tuple[int, str]:
    """(exit code, the one line that monitoring plugins print). Critical before unknown before warning.

    warnings, wrong: what else somebody should look at, and what is critical, beside the hosts."""
    levels = [(_level(one, backups), one) for one in known]
    worst = min((level for level, _ in levels), key=WORST.index, default=3)
    for texts, level in ((warnings, 1), (wrong, 2)):
        worst = min(worst, level, key=WORST.index) if texts else worst
    bad = sorted((entry for entry in levels if entry[0]), key=lambda entry: WORST.index(entry[0]))
    told = "; ".join(_told(one, backups) for _, one in bad[:NAMED])
    more = f"; {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    well = len(known) - len(bad)
    text = f"MAINSTAY {NAGIOS[worst]} - {well} of {times.counted(len(known), 'host')} well"
    # `|` parts the text from the measured values in this protocol, so no text of ours may hold one.
    said = [text, *([told + more] if told else []), *wrong, *warnings]
    waits = [one.host.name for level, one in levels if not level and _awaited(one, backups)]
    if waits:
        others = f" and {len(waits) - NAMED} more" if len(waits) > NAMED else ""
        said.append(f"no patch plan has run yet on {', '.join(waits[:NAMED])}{others}, their backups are well")
    text = span("; ".join(said)).text.replace("|", "/")
    return worst, " ".join([f"{text} | well={well} not_well={len(bad)}", *measured(backups)])


def _told(one: Known, backups: Backups | None) -> str:
    said = of_backups(one.host.name, backups)
    parts = [f"{one.verdict}: {one.reason}".rstrip(": ")] if _level_of_run(one, backups) or not said else []
    return f"{one.host.name} {'; '.join([*parts, *([f'backup: {said}'] if said else [])])}"


def measured(backups: Backups | None) -> list[str]:
    """Seconds, as https://www.monitoring-plugins.org/doc/guidelines.html writes them (2.6): of the oldest of all, how many are
    missing, and of few sources each its own."""
    if backups is None or not backups.standings:
        return []
    found = backups.standings
    ages = [one.exposure.since_newest for one in found]
    proofs = [one.exposure.since_proof for one in found]
    data = [
        f"backup_missing={ages.count(None)}",
        f"backup_oldest={_most(ages)}",
        f"backup_unproved={proofs.count(None)}",
        f"proof_oldest={_most(proofs)}",
    ]
    for one in found if len(found) <= MEASURED else ():
        name = re.sub(r"[^A-Za-z0-9._/-]", "_", f"{one.host}/{one.plan}/{one.source}")
        limits = f";{one.promised:.0f};{one.promised * 2:.0f};0" if one.promised is not None else ""
        age, proved = one.exposure.since_newest, one.exposure.since_proved
        data += [f"'age/{name}'={age:.0f}s{limits}"] if age is not None else []
        data += [f"'proved/{name}'={proved:.0f}s"] if proved is not None else []
    return data


def _most(seconds: Sequence[float | None]) -> str:
    """`U` where there is none: it is not 0."""
    known = [one for one in seconds if one is not None]
    return f"{max(known):.0f}s" if known else "U"


def _level(one: Known, backups: Backups | None) -> int:
    health = backups.health(one.host.name) if backups is not None else None
    return min(_level_of_run(one, backups), OF_HEALTH[health or "well"], key=WORST.index)


def _awaited(one: Known, backups: Backups | None) -> bool:
    """Whether nothing but backups was ever run on it. An occurrence that was due and did not come is an alarm of its own
    (missed), so this alone says nothing against the host."""
    return one.part is None and not one.run and backups is not None and backups.health(one.host.name) is not None


def _level_of_run(one: Known, backups: Backups | None) -> int:
    return 0 if _awaited(one, backups) else _run_level(one)


def _run_level(one: Known) -> int:
    words = one.verdicts[1:] if one.looked else one.verdicts
    return min((_LEVEL.get(word, 1) for word in words), key=WORST.index, default=0)

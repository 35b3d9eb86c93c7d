"""A run while it goes on: a table that is drawn again, or one line per event where there is no terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from mainstay.console.render import times
from mainstay.console.render.spans import Line, Span, line, span, verdict
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.runner.budget import FAILURES
from mainstay.runner.record import ASIDE
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import natural

ENDED = ("backup", "restore", "drill", "check", "copy")
"""Kinds of which what is under way is ended in the middle where their run is cancelled."""
WHOLE = ("retention", "prune")
"""Of repositories: what is removed in part only, and not written down, takes another run to be put right."""

MOST_ROWS = 30
"""Rows of the live table; more hosts than fit a screen are counted instead."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A run as it is right now. notes: host → {step, detail, since, wave}."""

    run: str
    plan: str
    state: str
    hosts: Sequence[str]
    started_at: str
    wave: int | None = None
    waves: int | None = None
    tolerated: int = 0
    parallel: int = 1
    outcomes: Mapping[str, Verdict] = field(default_factory=dict)
    notes: Mapping[str, Json] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Of hosts whose part is written."""
    took: Mapping[str, float | None] = field(default_factory=dict)
    wish: str = ""
    waiting: str = ""
    """What the run as a whole waits for."""
    kind: str = ""
    """Of the run; said where it is not what the plan is for."""
    where: str = ""
    """Which process works on it, or that it waits for one; empty where it is this one."""


def planned(plan: str, kind: str) -> str:
    """`nightly`, and of what is done beside what the plan is for: `nightly (retention)`."""
    return f"{plan} ({kind})" if kind in ASIDE else plan


def title(moment: Moment, now: datetime) -> str:
    failed = sum(one in FAILURES for one in moment.outcomes.values())
    spent = times.age(moment.started_at, now)
    parts = [f"run {moment.run}", planned(moment.plan, moment.kind)]
    if moment.waiting:
        parts.append(moment.waiting)
    elif moment.wave is None:
        parts.append("reading the hosts" if moment.state == "preparing" else moment.state)
    else:
        parts.append(f"wave {moment.wave} of {moment.waves}" if moment.waves else f"wave {moment.wave}")
    parts.append(f"{len(moment.outcomes)} of {len(moment.hosts)} done")
    parts.append(f"{failed} failed, {moment.tolerated} tolerated")
    left = remaining(moment)
    parts.append(f"{times.clock(spent)} elapsed" + (f", about {times.about(left)} to go" if left else ""))
    if moment.where:
        parts.append(moment.where)
    if moment.wish:
        parts.append({"cancel": "stopping", "pause": "pausing between hosts"}.get(moment.wish, moment.wish))
    return " · ".join(parts)


def stopping(kind: str) -> str:
    """What a cancel does to a run of that kind, in words."""
    if kind in ENDED:
        where = " on a host" if kind == "backup" else ""
        return f"nothing new starts, and the {kind} that is under way{where} is ended"
    if kind in WHOLE:
        return f"nothing new starts, and the {kind} that is under way is brought to its end"
    return "nothing new starts, hosts in hand are brought to their end"


def remaining(moment: Moment) -> float | None:
    """Seconds that the hosts which have not begun will take, going by those that were worked on. None: not known."""
    spent = [seconds for seconds in moment.took.values() if seconds]
    waiting = [host for host in moment.hosts if host not in moment.outcomes]
    if moment.wave is None or not waiting or not spent:
        return None
    return median(spent) * -(-len(waiting) // moment.parallel)


def live(moment: Moment, now: datetime, columns: int, rows: int = MOST_ROWS) -> list[Line]:
    """The table: what went wrong, then those in hand, then those that ended, then those that wait."""
    ordered = sorted(moment.hosts, key=lambda host: (_rank(moment, host), natural(host)))
    shown, hidden = ordered[:rows], len(ordered) - rows
    lines = [*wrap(title(moment, now), indent="", columns=columns), line()]
    lines += table([_row(moment, host, now) for host in shown], right=frozenset({2}), columns=columns)
    if hidden > 0:
        lines.append(line(f"  and {times.counted(hidden, 'more host')}"))
    return lines


def _rank(moment: Moment, host: str) -> int:
    if host in moment.outcomes:
        return 2 if moment.outcomes[host] in (Verdict.SUCCEEDED, Verdict.CANCELLED, Verdict.REFUSED) else 0
    note = moment.notes.get(host)
    return 3 if note is None or _only_asked(moment, note) else 1


def _row(moment: Moment, host: str, now: datetime) -> list[Cell]:
    if host in moment.outcomes:
        return [host, verdict(moment.outcomes[host]), times.clock(moment.took.get(host)), moment.reasons.get(host, "")]
    note = moment.notes.get(host)
    if note is None or _only_asked(moment, note):
        return [host, Span("waiting", "dim"), "", ""]
    since = times.age(str(note.get("since") or ""), now)
    return [host, span(note.get("step", "")), times.clock(since), span(note.get("detail", ""))]


def _only_asked(moment: Moment, note: Json) -> bool:
    """The survey is over for all hosts once there are waves."""
    return moment.wave is not None and note.get("step") == "survey"


def events(before: Moment | None, now: Moment) -> list[str]:
    """What happened between two looks, one sentence each, for logs and for readers without a terminal."""
    told: list[str] = []
    old_outcomes = before.outcomes if before else {}
    old_notes = before.notes if before else {}
    if before is None:
        told.append(f"run {now.run} · {planned(now.plan, now.kind)} · {times.counted(len(now.hosts), 'host')}")
    moved: list[str] = []
    for host in sorted(now.hosts, key=natural):
        if host in now.outcomes:
            if old_outcomes.get(host) != now.outcomes[host]:
                told.append(_sentence(host, str(now.outcomes[host]), now.reasons.get(host, "")))
            continue
        note, old = now.notes.get(host), old_notes.get(host)
        if note and not _only_asked(now, note) and (old is None or old.get("step") != note.get("step")):
            moved.append(_sentence(host, str(note.get("step", "")), str(note.get("detail", ""))))
    # What ended belongs to the wave before; what moves on, to the new one.
    if now.wave is not None and now.wave != (before.wave if before else None):
        told.append(f"wave {now.wave} of {now.waves}" if now.waves else f"wave {now.wave}")
    told += moved
    if now.waiting and now.waiting != (before.waiting if before else ""):
        told.append(f"run {now.run} is {now.waiting}")
    if before is not None and now.where and now.where != before.where:
        told.append(f"run {now.run} is {now.where}")
    if now.wish and now.wish != (before.wish if before else ""):
        acts = stopping(now.kind) if now.wish == "cancel" else "it acts between hosts"
        told.append(f"{now.wish} was asked for; {acts}")
    return told


def _sentence(host: str, word: str, detail: str) -> str:
    return f"{host}: {word}: {detail}" if detail else f"{host}: {word}"

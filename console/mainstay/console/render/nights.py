"""Did last night's backup run, and can it be restored? A plan's answer in two lines, what is well in one, and for monitoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from mainstay.console.backups import Backups
from mainstay.console.render import hosts, times
from mainstay.console.render.spans import VERDICT_STYLE, Line, Span, Style, line, span
from mainstay.console.render.table import wrap
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.standing import WORST_FIRST, Standing
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import natural

ORDER = tuple(Verdict)


def answers(found: Backups, now: datetime, zone: ZoneInfo, columns: int) -> list[Line]:
    """Of each plan: how the newest backup of each of its hosts ended, and how much can be restored."""
    lines: list[Line] = []
    for plan in found.plans:
        mine = [one for one in found.standings if one.plan == plan.name]
        if mine:
            lines += [*_ran(found, plan, mine, now, zone, columns), *_restorable(mine, columns)]
    return lines


def _ran(
    found: Backups, plan: BackupPlan, mine: Sequence[Standing], now: datetime, zone: ZoneInfo, columns: int
) -> list[Line]:
    names = {one.host for one in mine}
    ended = {host: how for (of, host), how in found.last.items() if of == plan.name and host in names}
    running = found.running.get(plan.name)
    going = f"; one runs now, since {_ago(found.started.get(running), now)} (mainstay runs)" if running else ""
    if not ended:
        return wrap(f"{plan.name}: no backup has run yet{going}", indent="", columns=columns)
    last = max(run for run, _ in ended.values())  # ids sort by time
    at = found.started.get(last)
    counts = Counter(verdict for _, verdict in ended.values())
    said = [f"{counts[word]} {word}" for word in ORDER if counts[word]]
    missing = len(names) - len(ended)
    said += [f"{missing} never backed up"] if missing else []
    older = sum(run != last for run, _ in ended.values())
    of = times.counted(len(names), "host")
    text = f"{plan.name}: last backup {_ago(at, now)} ago, {times.local(at, zone)}: of {of} {', '.join(said)}"
    text += f" ({older} of them in an older run)" if older else ""
    style: Style = next((VERDICT_STYLE[word] for word in (*_BAD, Verdict.SUCCEEDED) if counts[word]), "")
    rows = wrap(f"{text}{going}", indent="", columns=columns)
    return [(Span(row[0].text, "warn" if missing and style == "good" else style),) for row in rows]


_BAD = (Verdict.FAILED, Verdict.UNKNOWN, Verdict.REFUSED, Verdict.CANCELLED, Verdict.MISSED, Verdict.DEGRADED)


def _ago(at: str | None, now: datetime) -> str:
    return times.about(times.age(at, now))


def _restorable(mine: Sequence[Standing], columns: int) -> list[Line]:
    of: dict[str, list[Standing]] = {}
    for one in mine:
        of.setdefault(one.host, []).append(one)
    there = sum(all(one.exposure.newest is not None for one in its) for its in of.values())
    proved = sum(all(one.exposure.since_proof is not None and not one.failed for one in its) for its in of.values())
    where = "on all of them" if proved == len(of) else f"on {proved}"
    text = f"a point to restore from: {there} of {times.counted(len(of), 'host')}; a restore has proved it {where}"
    return wrap(text, columns=columns)


def well(rest: Sequence[Standing]) -> Line:
    """Those that are not listed one by one."""
    hosts = len({one.host for one in rest})
    ages = [one.exposure.since_newest for one in rest]
    proofs = [one.exposure.since_proof for one in rest]
    said = f"{times.counted(len(rest), 'more source')} of {times.counted(hosts, 'host')}, all well: newest {_between(ages)}"
    proved = f", proved {_between(proofs)}" if any(one is not None for one in proofs) else ""
    return line("  ", Span(f"{said}{proved}", "good"))


def _between(found: Iterable[float | None]) -> str:
    known = sorted(one for one in found if one is not None)
    if not known:
        return "none"
    low, high = times.about(known[0]), times.about(known[-1])
    return f"{low} ago" if low == high else f"{low} to {high} ago"


def nagios(found: Backups, missed: Sequence[str]) -> tuple[int, str]:
    """(exit code, the line that monitoring plugins print), of backups alone. A site without any is unknown: what watches
    nothing is not well."""
    names = sorted({one.host for one in found.standings}, key=natural)
    if not names:
        return 3, "MAINSTAY BACKUPS UNKNOWN - no backup plan targets these hosts"
    shared = [one for one in found.troubles if not one.host]
    levels = {name: found.health(name) or "well" for name in names}
    bad = sorted((name for name in names if levels[name] != "well"), key=lambda one: WORST_FIRST.index(levels[one]))
    codes = [hosts.OF_HEALTH[health] for health in (*levels.values(), *(one.health for one in shared))]
    codes += [1] if missed else []
    code = min(codes, key=hosts.WORST.index)
    said = [
        f"MAINSTAY BACKUPS {hosts.NAGIOS[code]} - {len(names) - len(bad)} of {times.counted(len(names), 'host')} well"
    ]
    said += [f"{name}: {hosts.of_backups(name, found)}" for name in bad[: hosts.NAMED]]
    said += [f"{len(bad) - hosts.NAMED} more"] if len(bad) > hosts.NAMED else []
    said += [*(one.text for one in shared), *missed]
    text = span("; ".join(said)).text.replace("|", "/")
    return code, " ".join([f"{text} | well={len(names) - len(bad)} not_well={len(bad)}", *hosts.measured(found)])

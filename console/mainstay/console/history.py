"""What the ledger and the state tell of the past, as the verbs ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from mainstay.console.render.hosts import Known
from mainstay.console.render.record import elapsed, touched
from mainstay.inventory.errors import UsageError
from mainstay.inventory.host import Host
from mainstay.runner.ledger.contract import Entry, Ledger
from mainstay.runner.record import ASIDE, NO_SOFTWARE, HostPart, MaintenanceRecord, Summary
from mainstay.runner.state.contract import RunRow, State
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import PlannedWave

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

SHORTEST = 4
"""Characters of a run's id that are enough to name it, if no other has them."""


FARTHEST = 200
"""Runs that are looked through for the last work on a host, or of a plan."""

DONE = (Verdict.SUCCEEDED, Verdict.DEGRADED)
"""How a run ends after which nobody has to ask for what was missed before."""

OTHER_PACE = ("rollback", "reconcile", *ASIDE)
"""Kinds of runs that carry the name of the plan that they come back to or go ahead of, and take another time."""


class History:
    """Reads only."""

    def __init__(self, state: State, ledger: Ledger) -> None:
        self.state = state
        self.ledger = ledger

    def summaries(self) -> list[tuple[Entry, Summary]]:
        """Every sealed record, oldest first."""
        return [(entry, Summary.from_json(entry.body)) for entry in self.ledger.entries()]

    def record(self, text: str) -> MaintenanceRecord:
        """The record that a run's id (or its beginning or end) or a record's number names. Raises UsageError."""
        entry = self.ledger.get(text) or self._entry(text)
        parts = tuple(self.state.parts(entry.id))
        return MaintenanceRecord(seq=entry.seq, hash=entry.hash, summary=Summary.from_json(entry.body), hosts=parts)

    def _entry(self, text: str) -> Entry:
        if text.isascii() and text.isdecimal():
            found = next((entry for entry in self.ledger.entries(int(text) - 1) if entry.seq == int(text)), None)
            if found is None:
                raise UsageError(f"There is no record {text}.", hint="See mainstay records list.")
            return found
        named = one_named(text, [entry.id for entry in self.ledger.entries()])
        if named is None:
            row = self._row(text)
            if row is not None:
                hint = f"See mainstay runs; if its process is gone: mainstay runs resume {row.id}"
                raise UsageError(f"Run {row.id} has not ended, so there is no record of it yet.", hint=hint)
            raise UsageError(f'There is no record "{text}".', hint="See mainstay records list.")
        found = self.ledger.get(named)
        assert found is not None
        return found

    def run(self, text: str) -> RunRow:
        """The run that this id (or its beginning or end) or its record's number names. Raises UsageError."""
        row = self._row(text)
        if row is None and text.isascii() and text.isdecimal():
            row = self.state.run(self._entry(text).id)
        if row is None:
            short = f"Write at least {SHORTEST} characters of its id. " if len(text) < SHORTEST else ""
            raise UsageError(f'There is no run "{text}".', hint=f"{short}See mainstay runs and mainstay records list.")
        return row

    def _row(self, text: str) -> RunRow | None:
        exact = self.state.run(text.strip().upper())
        if exact is not None:
            return exact
        rows = {row.id: row for row in self.state.runs()}
        named = one_named(text, rows)
        return rows[named] if named else None

    def worked(self, newest: Mapping[str, HostPart | None]) -> dict[str, HostPart]:
        """For hosts whose newest part is one in which nothing was done there: the newest one in which something was."""
        missing = {host for host, part in newest.items() if part is not None and not touched(part)}
        found: dict[str, HostPart] = {}
        rows = [row for row in self.state.runs() if row.kind not in NO_SOFTWARE]
        for row in reversed(rows[-FARTHEST:]):
            if not missing:
                break
            for part in self.state.parts(row.id):
                if part.host in missing and touched(part):
                    found[part.host] = part
                    missing.discard(part.host)
        return found

    def estimate(self, plan: str, waves: Sequence[PlannedWave], parallel: int) -> float | None:
        """Seconds that such a run would take, from the newest record of this plan in which hosts were worked on."""
        pace = self.paces([plan]).get(plan)
        if pace is None:
            return None
        return sum(-(-len(batch) // parallel) for wave in waves for batch in wave.batches) * pace

    def paces(self, plans: Collection[str]) -> dict[str, float]:
        """plan → seconds that a host took (the median), in its newest record in which hosts were worked on. Plans without
        one are left out. The whole ledger is gone through once, whatever the number of plans."""
        found: dict[str, float] = {}
        looked: Counter[str] = Counter()
        for entry, summary in reversed(self.summaries()):
            if summary.plan not in plans or summary.plan in found or summary.kind in OTHER_PACE:
                continue
            looked[summary.plan] += 1
            if looked[summary.plan] > FARTHEST:
                continue
            spent = [elapsed(part) for part in self.state.parts(entry.id) if touched(part)]
            known = [seconds for seconds in spent if seconds is not None]
            if known:
                found[summary.plan] = median(known)
        return found

    def missed(self, plans: Collection[str]) -> list[tuple[str, Summary]]:
        """(run, summary) of each plan's newest occurrence that was missed, where it has not been done since; oldest first."""
        open_ones: dict[str, Entry] = {}
        for entry in self.ledger.entries():
            plan, verdict = str(entry.body.get("plan")), entry.body.get("verdict")
            if plan not in plans or entry.body.get("kind") in OTHER_PACE:
                continue
            if verdict in DONE:
                open_ones.pop(plan, None)
            elif verdict == Verdict.MISSED:
                open_ones[plan] = entry
        return [(one.id, Summary.from_json(one.body)) for one in sorted(open_ones.values(), key=lambda one: one.seq)]


def one_named(text: str, ids: Collection[str]) -> str | None:
    wanted = text.strip().upper()
    if wanted in ids:
        return wanted
    if len(wanted) < SHORTEST:
        return None
    found = sorted(id for id in ids if id.startswith(wanted) or id.endswith(wanted))
    if len(found) > 1:
        raise UsageError(f'"{text}" names {len(found)} runs: {", ".join(found[:5])}', hint="Write more of it.")
    return found[0] if found else None


def known(app: Application, hosts: Sequence[Host]) -> list[Known]:
    """What the controller knows of these hosts without asking them."""
    newest = {host.name: app.state.last_part(host.name) or ("", None) for host in hosts}
    worked = app.history.worked({name: part for name, (_, part) in newest.items()})
    ended = {run: row.ended_at for run in {run for run, _ in newest.values()} if (row := app.state.run(run))}
    return [
        Known(
            host=host,
            pins=tuple(key.fingerprint for key in app.pins.keys(host)),
            run=newest[host.name][0],
            part=newest[host.name][1],
            run_ended=ended.get(newest[host.name][0]),
            worked=worked.get(host.name),
        )
        for host in hosts
    ]

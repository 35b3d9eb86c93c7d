"""Hosts that an opening had no time left for: who has had its turn since is in line like any other again."""

from __future__ import annotations

from mainstay.runner.ports import Quiet
from mainstay.runner.record import ASIDE, MaintenanceRecord
from mainstay.runner.state.contract import State
from mainstay.runner.verdict import Verdict
from mainstay.schedules.store.contract import ScheduleStore

_NO_TURN = frozenset({Verdict.REFUSED, Verdict.CANCELLED, Verdict.MISSED})


def first_in_line(store: ScheduleStore, plan: str) -> tuple[str, ...]:
    """Names of the plan's hosts that are carried over, the longest waiting first: for `RunRequest.first`."""
    return tuple(one.host for one in store.carried(plan))


class Turns(Quiet):
    """Told of a run's end, settles those of its hosts that were worked on, or had nothing to do. What takes a run back is
    no turn, nor is what only downloads ahead of one."""

    def __init__(self, store: ScheduleStore, state: State) -> None:
        self._store = store
        self._state = state

    def run_finished(self, record: MaintenanceRecord) -> None:
        summary = record.summary
        if summary.links.undoes or summary.links.reconciles or summary.kind in ASIDE:
            return
        carried = self._store.carried(summary.plan)
        ended = self._state.outcomes(summary.id) if carried else {}
        for one in carried:
            if ended.get(one.host, Verdict.REFUSED) not in _NO_TURN:
                self._store.settle(one.plan, one.host)

"""That somebody keeps the clock is written down every half minute; where that was not so for a while, it becomes a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from logging import WARNING

from mainstay.inventory.value import Json
from mainstay.runner.ledger.contract import SealConflict
from mainstay.runner.log.events import tell
from mainstay.runner.plan import Carefulness
from mainstay.runner.ports import Clock
from mainstay.runner.record import Summary, hosts_digest
from mainstay.runner.request import Asking, RunRequest
from mainstay.runner.state.contract import RunRow, StateConflict
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.verdict import Verdict
from mainstay.schedules.clock.sweeping import HEARTBEAT, shown
from mainstay.schedules.occurrences import CLOCK, run_id
from mainstay.schedules.store.contract import ScheduleStore

BEAT = 30.0
"""Seconds between two heartbeats."""
SILENT = 120.0
"""Seconds without one, from which on the controller was down."""
DOWNTIME = "downtime"
"""Kind of the record."""
CONTROLLER = "(controller)"
"""In the place of its plan: no plan can be called that."""


def awake() -> float:
    """Seconds that the machine has been up, asleep or not, whatever its wall clock is set to."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Pulse:
    """Any number of daemons on one state share it. due: ids of the schedules that a window opened for between two moments.
    down: is told from when to when the clock was not kept, before anything is put down for that time."""

    def __init__(
        self,
        store: ScheduleStore,
        tools: Toolbox,
        clock: Clock,
        asking: Callable[[], Asking],
        *,
        due: Callable[[datetime, datetime], list[str]],
        down: Callable[[tuple[datetime, datetime]], None] = lambda gap: None,
        awake: Callable[[], float] = awake,
    ) -> None:
        self._store = store
        self._tools = tools
        self._clock = clock
        self._asking = asking
        self._due = due
        self._down = down
        self._awake = awake
        self._last: tuple[float, datetime] | None = None
        """When it was looked at last: by the machine's own time, and by the wall clock."""
        self._gap: tuple[datetime, datetime] | None = None

    def look(self) -> None:
        """Before the schedules are looked at: was the clock kept until now?"""
        now, said = self._clock.now(), self._store.mark(HEARTBEAT)
        last, self._last = self._last, (self._awake(), now)
        if said is None:
            return
        before = datetime.fromisoformat(said)
        if now - before <= timedelta(seconds=SILENT):
            return
        if last is not None and (awake := self._last[0] - last[0]) <= SILENT:
            # This process was there. Without a step of the clock it is rounds that fail, and they say so themselves.
            by = (now - last[1]).total_seconds() - awake
            if by > SILENT:
                tell(WARNING, "the wall clock was moved forward", by=round(by), reason="no downtime")
            return
        self._gap = self._gap or (before, now)
        self._down(self._gap)

    def beat(self) -> None:
        """After they were looked at: put the gap on record, if there was one, and say that the clock is kept."""
        if self._gap is not None:
            self._record(*self._gap)
            self._gap = None
        now = self._clock.now()
        said = self._store.mark(HEARTBEAT)
        if said is not None and datetime.fromisoformat(said) - now > timedelta(seconds=SILENT):
            tell(WARNING, "the last heartbeat lies in the future", heartbeat=said, reason="a wall clock was moved back")
            self._store.set_mark(HEARTBEAT, rfc3339(now))
            return
        self._store.raise_mark(HEARTBEAT, rfc3339(now))

    def _record(self, since: datetime, until: datetime) -> None:
        """Once, whoever finds it first: its id is made of when it began. missed, where a window opened meanwhile; degraded
        where none did: all is done, and somebody is to look at why nobody kept the clock."""
        due = self._due(since, until)
        what = (
            f"windows of {len(due)} {'schedule' if len(due) == 1 else 'schedules'} opened"
            if due
            else "no window opened"
        )
        reason = f"the controller was down from {shown(since)} to {shown(until)}; {what} meanwhile"
        request = _request(run_id(DOWNTIME, since), self._asking(), {"since": rfc3339(since), "until": rfc3339(until)})
        row = RunRow(
            id=request.id,
            kind=request.kind,
            plan=request.plan,
            state="ended",
            request=request.to_json(),
            started_at=rfc3339(since),
            ended_at=rfc3339(until),
        )
        summary = Summary(
            id=request.id,
            kind=request.kind,
            plan=request.plan,
            maintenance_type=request.maintenance_type,
            verdict=Verdict.MISSED if due else Verdict.DEGRADED,
            reason=reason,
            trigger=request.trigger,
            requested_by=request.requested_by,
            site=request.site,
            mainstay_version=request.mainstay_version,
            started_at=rfc3339(since),
            finished_at=rfc3339(until),
            measures={"wall_seconds": round((until - since).total_seconds(), 3), "schedules": due[:100]},
            hosts_digest=hosts_digest([]),
        )
        # Another daemon that started with this one says the same with another end: the first of them stands.
        with suppress(StateConflict):
            self._tools.state.add_run(row)
        with suppress(SealConflict):
            self._tools.ledger.seal(request.id, summary.to_json())
        tell(WARNING, "controller was down", since=rfc3339(since), until=rfc3339(until), due=len(due))


def _request(id: str, asking: Asking, operation: Json) -> RunRequest:
    return RunRequest(
        id=id,
        kind=DOWNTIME,
        plan=CONTROLLER,
        maintenance_type="",
        operation=operation,
        careful=Carefulness(),
        hosts=(),
        trigger=CLOCK,
        requested_by=CLOCK,
        asked_at=asking.asked_at,
        site=asking.site,
        site_name=asking.site_name,
        mainstay_version=asking.mainstay_version,
    )

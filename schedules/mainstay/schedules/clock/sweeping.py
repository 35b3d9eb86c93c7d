"""What fell due since the last look becomes runs: first they are put down, then the watermark moves.

A crash between the two only means that they are put down again, under the same ids, which is success. So any number of
daemons may look at once, and the order in which they do is nobody's business.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from logging import INFO, WARNING

from mainstay.runner.engine.contract import Unkept
from mainstay.runner.log.events import tell
from mainstay.runner.plans import unavailable
from mainstay.runner.ports import Clock
from mainstay.runner.request import Asking, RunRequest
from mainstay.runner.runs import Runs
from mainstay.runner.state.contract import StateConflict
from mainstay.runner.steps import rfc3339
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.clock.policy import fates
from mainstay.schedules.occurrences import Schedule, hosts, occurrence_request, schedules
from mainstay.schedules.openings import Opening, next_opening, opening_at, openings, zone_of
from mainstay.schedules.staging import stage_request, stages_at
from mainstay.schedules.store.contract import ScheduleStore
from mainstay.schedules.timing import timing_of
from mainstay.schedules.turns import first_in_line

HEARTBEAT = "serve.heartbeat"
"""Mark: when a daemon last said that it keeps the clock."""
KNOWN = "serve.schedules"
"""Mark: the schedules that the clock was kept for last, each with its rule's digest."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the clock is kept for: read as one, so that nobody sees the plans of one site with the windows of another.
    due: when each schedule opens next after its watermark. ahead: when what those stage that do is to be looked at next."""

    loaded: LoadedSite
    schedules: dict[str, Schedule]
    due: dict[str, datetime | None]
    ahead: dict[str, datetime | None]


class Sweeper:
    """Of one site, until another takes its place (`adopt`). Safe to use from several threads. asking: how the clock asks
    for a run now."""

    def __init__(self, store: ScheduleStore, runs: Runs, clock: Clock, asking: Callable[[], Asking]) -> None:
        self._store = store
        self._runs = runs
        self._clock = clock
        self._asking = asking
        self._kept: _Kept | None = None
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._down: tuple[datetime, datetime] | None = None

    @property
    def schedules(self) -> Mapping[str, Schedule]:
        return self._kept.schedules if self._kept else {}

    def was_down(self, gap: tuple[datetime, datetime]) -> None:
        """Nobody kept the clock from then to then: what was missed in it was missed for that."""
        self._down = gap

    def adopt(self, loaded: LoadedSite) -> None:
        """Keep the clock for this site from now on.

        A schedule that was never seen begins now: nothing from before exists. One that was away from the site begins
        anew: what would have been due meanwhile was nobody's. One whose rule was changed while nobody kept the clock
        goes by the new rule from when somebody last did.
        """
        now = self._clock.now()
        if self._kept is not None:
            with suppress(Exception):  # told already; one schedule that fails does not keep the new site from its turn
                self.sweep_all()  # by the rules that held until now
        known, marks = self._known(), self._store.watermarks()
        found = {schedule.id: schedule for schedule in schedules(loaded)}
        begins = {id: self._begins(one, known, now) for id, one in found.items() if id in marks}
        # In this order: whatever it dies at, the next start finds what is new still new, and what came back moved or still away.
        self._store.advance_all({id: at for id, at in begins.items() if at > marks[id]})
        written = {id: schedule.digest() for id, schedule in found.items()}
        if written != known:
            self._store.set_mark(KNOWN, json.dumps(written, sort_keys=True))
        self._store.begin_all(found.keys() - marks.keys(), rfc3339(now))
        marks = self._store.watermarks()
        due = {id: self._expected(schedule, datetime.fromisoformat(marks[id]), now) for id, schedule in found.items()}
        stages = (id for id, one in found.items() if one.plan.stage and not unavailable(one.plan))
        self._kept = _Kept(loaded, found, due, dict.fromkeys(stages, now))

    def _known(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._store.mark(KNOWN) or "{}")
        return found

    def _begins(self, schedule: Schedule, known: Mapping[str, str], now: datetime) -> str:
        """From when on it is to be looked at, however old its watermark is."""
        if schedule.id not in known:
            return rfc3339(now)
        if known[schedule.id] != schedule.digest():
            return min(self._store.mark(HEARTBEAT) or rfc3339(now), rfc3339(now))
        return ""

    def sweep_all(self) -> int:
        """Every schedule that something has become due of. Costs nothing where there is none. One that fails keeps no
        other from its turn, and the first failure is raised at the end; a state that can't be written now fails them all,
        and is raised at once. Returns how many runs were put down."""
        now, count, fault, kept = self._clock.now(), 0, None, self._kept
        for id, due in list(kept.due.items()) if kept else ():
            ahead = kept.ahead.get(id) if kept else None
            is_due, stages = (at is not None and at <= now for at in (due, ahead))
            if not is_due and not stages:
                continue
            try:
                count += self.sweep(id) if is_due else self.stage(id)
            except Unkept:
                raise  # each that follows would wait for the database as long
            except Exception as error:  # raised below; the others have their turn first
                tell(WARNING, "schedule could not be looked at", schedule=id, fault=error)
                fault = fault or error
        if fault is not None:
            raise fault
        return count

    def sweep(self, id: str) -> int:
        """Put down what fell due of a schedule since its watermark, then move that; and what is staged for its next
        opening. Returns how many runs were put down."""
        with self._locks[id]:
            kept = self._kept
            schedule = kept.schedules.get(id) if kept else None
            if kept is None or schedule is None:
                return 0  # it has left the site since its timer was set
            now = self._clock.now()
            mark = datetime.fromisoformat(self._store.begin(id, rfc3339(now)))
            count = 0
            while mark < now and (due := list(openings(schedule.window, schedule.zone, mark, until=now))):
                more, mark = self._put_down(schedule, kept.loaded, due, now)
                self._store.advance(id, rfc3339(mark))
                count += more
            kept.due[id] = self._next(schedule, mark)
            return count + self._stage(schedule, kept, now)

    def stage(self, id: str) -> int:
        """Put down what stages for the schedule's next opening, where its moment has come. Returns how many runs."""
        with self._locks[id]:
            kept = self._kept
            schedule = kept.schedules.get(id) if kept else None
            return self._stage(schedule, kept, self._clock.now()) if kept and schedule else 0

    def _expected(self, schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
        """Now, where that can't be worked out: every round looks at it, and says so."""
        try:
            return self._next(schedule, after)
        except Exception:  # told when it is looked at; it keeps no other schedule of its site from being taken
            return now

    def _next(self, schedule: Schedule, after: datetime) -> datetime | None:
        return _start(next_opening(schedule.window, schedule.zone, after))

    def _stage(self, schedule: Schedule, kept: _Kept, now: datetime) -> int:
        """Late too, but not for an opening that has begun: there is nothing to go ahead of. No watermark: that the run is
        there already, is written down with it."""
        if schedule.id not in kept.ahead:
            return 0
        opening = next_opening(schedule.window, schedule.zone, now)
        at = stages_at(schedule.plan, opening) if opening else None
        if opening is None or at is None or at > now:
            kept.ahead[schedule.id] = at
            return 0
        request = stage_request(schedule, opening, kept.loaded, self._asking())
        count = self._hand_over(request, f"downloads ahead of run {request.occurrence['run']}")
        kept.ahead[schedule.id] = opening.starts_at
        return count

    def _put_down(
        self, schedule: Schedule, loaded: LoadedSite, due: list[Opening], now: datetime
    ) -> tuple[int, datetime]:
        """Returns how many runs, and the opening up to which all are put down."""
        count, asking = 0, self._asking()
        for fate in fates(
            due,
            now,
            schedule.plan.missed,
            elsewhere=lambda: self._elsewhere(schedule, loaded, now),
            why=lambda opening: self._why(opening, now),
        ):
            request = occurrence_request(
                schedule,
                fate.opening,
                loaded,
                asking,
                missed=fate.missed,
                through=fate.through,
                late=fate.late,
                first=() if fate.missed else first_in_line(self._store, schedule.plan.name),
            )
            count += self._hand_over(
                request, fate.missed or _refused(request) or ("starts late" if fate.late else "is due")
            )
            if fate.through is not None and (stands := self._through(request.id)) != rfc3339(fate.through):
                # Another daemon, or this one before it died, has put the same record down for fewer of them, or for more:
                # the newest too, which was to run now.
                return count, datetime.fromisoformat(stands)
        return count, due[-1].starts_at

    def _hand_over(self, request: RunRequest, what: str) -> int:
        """what: for the log."""
        state = self._runs.tools.state
        there = state.standing(request.id)
        if there is not None and there.state == "ended":
            return 0
        if there is None:
            try:
                self._runs.submit(request)
            except StateConflict:
                there = state.standing(request.id)  # another daemon, in the same moment
        # One that only waits (an approval, the end of a freeze) is begun by `Runs.tend` when its time has come.
        self._offer(request.id)
        if there is None:
            occurrence = timing_of(request).occurrence
            assert occurrence is not None
            tell(
                INFO, "occurrence put down", run=request.id, schedule=occurrence.schedule, at=occurrence.at, reason=what
            )
        return int(there is None)

    def _offer(self, run: str) -> None:
        try:
            self._runs.offer(run)
        except Unkept:
            raise
        except Exception as error:
            # It is written down: whoever serves offers it again when its gate can be asked.
            tell(WARNING, "gate could not be asked", run=run, fault=error)

    def _through(self, run: str) -> str:
        row = self._runs.tools.state.run(run)
        assert row is not None, "it was put down just now"
        occurrence = timing_of(RunRequest.from_json(row.request)).occurrence
        return occurrence.through or occurrence.at if occurrence else ""

    def _elsewhere(self, schedule: Schedule, loaded: LoadedSite, now: datetime) -> Opening | None:
        """Another window of the plan in which something may start now; by the clock of these hosts."""
        for name in schedule.plan.window:
            if name == schedule.window.name:
                continue
            window = loaded.windows[name]
            for zone in {zone_of(window, loaded.site.timezone, host) for host in hosts(schedule, loaded.site)}:
                found = opening_at(window, zone, now)
                if found is not None and found.may_start(now):
                    return found
        return None

    def _why(self, opening: Opening, now: datetime) -> str:
        if opening.cutoff_at <= opening.starts_at:
            return "a change of the clocks left it no time before its cutoff"
        if self._down is not None and self._down[0] <= opening.cutoff_at and opening.starts_at <= self._down[1]:
            return f"the controller was down from {shown(self._down[0])} to {shown(self._down[1])}"
        over = "was over" if opening.ends_at <= now else "had passed its cutoff"
        return f"mainstay was busy, or its clock was moved: its window {over} when it came to it, at {shown(now)}"

    def upcoming(self) -> tuple[str, datetime] | None:
        """The plan whose window opens next, and when. Asks nothing of the store."""
        kept = self._kept
        if kept is None:
            return None
        due = min(((moment, id) for id, moment in list(kept.due.items()) if moment is not None), default=None)
        return (kept.schedules[due[1]].plan.name, due[0]) if due else None

    def due_within(self, since: datetime, until: datetime) -> list[str]:
        """Ids of the schedules that a window opened for in that time (since < opening <= until)."""
        return [
            schedule.id
            for schedule in self.schedules.values()
            if next(openings(schedule.window, schedule.zone, since, until=until), None) is not None
        ]

    def ahead(self, id: str, now: datetime, within: timedelta) -> datetime | None:
        """When the schedule opens next, or is to stage for that, whichever is first, if it is within this time."""
        schedule = self.schedules.get(id)
        if schedule is None:
            return None
        horizon, early = now + within, timedelta(seconds=schedule.plan.stage or 0)
        found = next(openings(schedule.window, schedule.zone, now, until=horizon + early), None)
        moments = (_start(found), stages_at(schedule.plan, found) if found else None)
        return min((at for at in moments if at is not None and now < at <= horizon), default=None)


def _refused(request: RunRequest) -> str:
    occurrence = timing_of(request).occurrence
    return f"refused: {occurrence.refused}" if occurrence and occurrence.refused else ""


def shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _start(opening: Opening | None) -> datetime | None:
    return opening.starts_at if opening else None

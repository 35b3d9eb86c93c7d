"""What comes: the occurrences of a site's schedules in the order of time, each with what is known of it now. Pure: openings,
freezes, approvals and runs are asked of callables, so that whoever shows them decides where they come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import merge
from itertools import count
from typing import Literal

from mainstay.inventory.host import Host
from mainstay.runner.plan import Plan
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.fitting import Work
from mainstay.schedules.occurrences import schedules, targets
from mainstay.schedules.openings import Opening, openings, zone_of
from mainstay.schedules.staging import stages_at
from mainstay.schedules.windows import HOST, Window

State = Literal[
    "scheduled",
    "open",
    "running",
    "queued",
    "frozen",
    "not-in-calendar",
    "waiting-for-approval",
    "not-approved",
    "unavailable",
    "ended",
]
"""`open`: it may start at this moment. `queued`: somebody asked for this run by hand, and it waits for the opening.
`unavailable`: the plan asks for what can't be done yet. `ended`: its run has a record already; it does not come any more."""

HELD: frozenset[State] = frozenset({"frozen", "not-in-calendar", "not-approved", "unavailable"})
"""Nothing will be done in these, unless somebody changes something."""


@dataclass(frozen=True, slots=True)
class Line:
    """A plan in one of its windows, by one zone's clock. id: of its schedule. hosts: names of those that it holds."""

    id: str
    plan: Plan
    window: Window
    zone: str
    hosts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Coming:
    """One occurrence. run: the id that its run has, or will have. state and reason: as they stand now."""

    line: Line
    opening: Opening
    run: str
    state: State = "scheduled"
    reason: str = ""
    work: Work | None = None
    """None where nothing would be done."""
    notes: tuple[str, ...] = ()
    """What else is known, for people."""
    carried: tuple[str, ...] = ()
    """Hosts that come first, because an earlier opening had no time left for them."""

    @property
    def held(self) -> bool:
        return self.state in HELD

    @property
    def stages_at(self) -> datetime | None:
        """When its downloads begin, before it opens; None where they begin with it, or nothing would be done."""
        return None if self.held else stages_at(self.line.plan, self.opening)

    @property
    def room(self) -> float:
        """Seconds in which something may start."""
        return max(0.0, (self.opening.cutoff_at - self.opening.starts_at).total_seconds())

    @property
    def length(self) -> float:
        """Seconds that it is really open, whatever the clocks do."""
        return (self.opening.ends_at - self.opening.starts_at).total_seconds()

    @property
    def fits(self) -> bool | None:
        return None if self.work is None else self.work.fits(self.room, self.length)

    @property
    def predicted_end(self) -> datetime | None:
        """Where all of it fits."""
        if self.work is None or not self.fits:
            return None
        return self.opening.starts_at + timedelta(seconds=self.work.seconds)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a judge says of an occurrence."""

    state: State
    reason: str = ""


def openings_between(window: Window, zone: str, since: datetime, until: datetime) -> Iterator[Opening]:
    """Those that end after `since` and start before `until`, in the order of their starts; lazily."""
    longest = timedelta(seconds=window.length) + timedelta(days=2)  # a change of the clocks may make it longer
    for opening in openings(window, zone, since - longest, until=until):
        if opening.ends_at > since and opening.starts_at < until:
            yield opening


def lines_of(loaded: LoadedSite, plans: Collection[str] | None = None) -> list[Line]:
    """Every schedule of the site, or of those plans, with the hosts that it holds: web2 before web10."""
    chosen: dict[str, tuple[Host, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    found: list[Line] = []
    for schedule in schedules(loaded):
        plan = schedule.plan.name
        if plans is not None and plan not in plans:
            continue
        if plan not in chosen:
            chosen[plan] = targets(schedule.plan, loaded.site)
            names[plan] = tuple(host.name for host in chosen[plan])
        held = names[plan]
        if schedule.window.timezone == HOST:
            own = loaded.site.timezone
            held = tuple(h.name for h in chosen[plan] if zone_of(schedule.window, own, h) == schedule.zone)
        found.append(Line(schedule.id, schedule.plan, schedule.window, schedule.zone, held))
    return found


Openings = Callable[[Window, str, datetime, datetime], Iterable[Opening]]
"""(window, zone, since, until) → those that end after `since` and start before `until`, in order."""

Judge = Callable[[Line, Opening, str], Standing | None]
"""(line, opening, run id) → what keeps it from running, or anything else that is known of it. None: it says nothing."""


_Found = tuple[Line, Opening, str, Standing | None]


def _place(found: _Found) -> tuple[datetime, str, str]:
    line, opening, run, _ = found
    return opening.starts_at, line.id, run


class _Once:
    """Gone through by many, each item made once, and only when the first of them needs it."""

    def __init__(self, source: Iterable[Opening]) -> None:
        self._source = iter(source)
        self._made: list[Opening] = []

    def __iter__(self) -> Iterator[Opening]:
        for number in count():
            if number == len(self._made):
                following = next(self._source, None)
                if following is None:
                    return
                self._made.append(following)
            yield self._made[number]


@dataclass(frozen=True, slots=True)
class Outlook:
    """judges: the first that says something is right. work: of a line as a whole, reckoned once."""

    lines: Sequence[Line]
    openings: Openings
    run_id: Callable[[str, datetime], str]
    judges: Sequence[Judge] = ()
    notes: Callable[[Line, Opening], tuple[str, ...]] = lambda line, opening: ()
    work: Callable[[Line], Work | None] = lambda line: None
    carried: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """plan → hosts that are first in line."""
    asked: Sequence[tuple[Line, Opening, str, Standing]] = ()
    """Runs that somebody asked for by hand and that wait for an opening: (line, opening, run id, how it stands)."""

    def coming(self, since: datetime, until: datetime) -> Iterator[Coming]:
        """In the order of their starts, then of schedules. Lazily: each opening of a window is computed once, when
        the first of its schedules needs it, and an occurrence is judged when it is asked for."""
        known: dict[tuple[str, str], _Once] = {}
        waiting = {plan: set(hosts) for plan, hosts in self.carried.items()}
        every = [self._of(line, since, until, known) for line in self.lines]
        every.append(iter(sorted((one for one in self.asked if one[1].starts_at < until), key=_place)))
        for line, opening, run, standing in merge(*every, key=_place):
            standing = standing or self._standing(line, opening, run, since)
            if standing.state != "ended":
                yield self._one(line, opening, run, standing, waiting)

    def _of(
        self, line: Line, since: datetime, until: datetime, known: dict[tuple[str, str], _Once]
    ) -> Iterator[_Found]:
        key = (line.window.name, line.zone)
        if key not in known:
            known[key] = _Once(self.openings(line.window, line.zone, since, until))
        for opening in known[key]:
            yield line, opening, self.run_id(line.id, opening.starts_at), None

    def _standing(self, line: Line, opening: Opening, run: str, now: datetime) -> Standing:
        standing = next((found for judge in self.judges if (found := judge(line, opening, run))), None)
        return standing or Standing("open" if opening.may_start(now) else "scheduled")

    def _one(self, line: Line, opening: Opening, run: str, standing: Standing, waiting: dict[str, set[str]]) -> Coming:
        if standing.state in HELD:
            return Coming(line, opening, run, standing.state, standing.reason)
        carried = self._taken_along(line, waiting)
        work, notes = self.work(line), self.notes(line, opening)
        return Coming(line, opening, run, standing.state, standing.reason, work, notes, carried)

    def _taken_along(self, line: Line, waiting: dict[str, set[str]]) -> tuple[str, ...]:
        """The first occurrence that is not held takes those along that are first in line."""
        left = waiting.get(line.plan.name)
        if not left:
            return ()
        taken = left & set(line.hosts)
        left -= taken
        return tuple(host for host in self.carried[line.plan.name] if host in taken)

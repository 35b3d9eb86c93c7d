"""What comes, from a site and what its state knows: for `next`, the preview, the feed and `check`. Asks no host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from mainstay.inventory.errors import Problem, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.selectors import Selector, parse
from mainstay.runner.plan import Plan
from mainstay.runner.plans import unavailable
from mainstay.runner.steps import rfc3339
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.conflicts import Look, conflicts
from mainstay.schedules.estimates import DEFAULT
from mainstay.schedules.fitting import QUICK, Work, work_of
from mainstay.schedules.frost import Frost
from mainstay.schedules.occurrences import run_id
from mainstay.schedules.openings import Opening
from mainstay.schedules.outlook import Coming, Judge, Line, Outlook, Standing, lines_of, openings_between
from mainstay.schedules.timing import Timing

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.state.contract import RunRow

FAR = timedelta(days=366)
"""How far ahead the next opening of a plan is looked for."""


def outlook_of(app: Application, of: str | None = None, *, done: bool = False) -> Outlook:
    """All that comes, or only of the plan of that name, or of the plans with a host that the selector picks. done: also
    what has a run already, or has had one. Raises UsageError where `of` names nothing."""
    plans, hosts = _chosen(app, of)
    lines = lines_of(app.loaded, plans)
    if hosts is not None:
        lines = [line for line in lines if not hosts.isdisjoint(line.hosts)]
    now = app.clock.now()
    in_flight = [row for row in app.state.runs(in_flight=True) if row.request.get("timing")]
    frost = Frost(app.loaded, app.freezes, now)
    return Outlook(
        lines=lines,
        openings=openings_between,
        run_id=run_id,
        judges=(_unavailable(app), *(() if done else (_runs(app, in_flight),)), frost.judge, _approvals(app)),
        notes=frost.notes,
        work=work_in(app.loaded, app.history.paces({line.plan.name for line in lines}), DEFAULT),
        carried=_carried(app),
        asked=_asked(app, lines, in_flight),
    )


def conflicts_of(app: Application) -> list[Problem]:
    """What can't go well together. Looks at the site alone, and neither at calendars that have to be fetched nor at what
    runs have told: it touches no network and no state, and says the same on every machine."""
    now = app.clock.now()
    fetched = any(source.remote for source in app.loaded.freezes.sources)
    return conflicts(
        Look(
            site=app.site,
            plans=app.plans,
            windows=app.loaded.windows,
            lines=lines_of(app.loaded),
            openings=openings_between,
            now=now,
            held=(lambda line, opening: None) if fetched else Frost(app.loaded, app.freezes, now).held,
            work=work_in(app.loaded, {}, QUICK),
            notified=lambda plan: any(channel.wants("approval", plan) for channel in app.site.notify),
        )
    )


def next_of(app: Application, plan: Plan) -> tuple[Coming | None, list[Coming]]:
    """The plan's next opening in which something may start and that nothing holds, whatever the clock did or does in it;
    and those before it that are held."""
    now = app.clock.now()
    held: list[Coming] = []
    for coming in outlook_of(app, plan.name, done=True).coming(now, now + FAR):
        if coming.opening.cutoff_at <= now or coming.state == "queued":
            continue
        if not coming.held:
            return coming, held
        held.append(coming)
    return None, held


def _chosen(app: Application, of: str | None) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """(plans, hosts), None for all."""
    if of is None:
        return None, None
    if of in app.plans:
        if not app.plans[of].window:
            raise UsageError(f"The plan {of} has no window.", hint=f"It starts by hand alone: mainstay run {of}")
        return frozenset([of]), None
    try:
        return None, frozenset(host.name for host in app.select(of))
    except UsageError as error:
        told = f"The site's plans: {', '.join(sorted(app.plans))}." if app.plans else "The site has no plan."
        raise UsageError(f'"{of}" is no plan, and as a selector of hosts: {error.message}', hint=told) from None


def _unavailable(app: Application) -> Judge:
    @cache
    def why(name: str) -> Standing | None:
        problems = unavailable(app.plans[name], app.site)
        return Standing("unavailable", problems[0].message) if problems else None

    return lambda line, opening, run: why(line.plan.name)


def _runs(app: Application, in_flight: Sequence[RunRow]) -> Judge:
    """What the run of an occurrence is doing, where there is one already."""
    flying = {row.id: row for row in in_flight}
    now = app.clock.now()

    def judge(line: Line, opening: Opening, run: str) -> Standing | None:
        if run in flying:
            working = flying[run].state != "preparing" or app.state.waves(run)
            return Standing("running", f"since {flying[run].started_at}") if working else None
        if opening.starts_at > now:
            return None
        row = app.state.run(run)
        return Standing("ended") if row is not None else None

    return judge


def _approvals(app: Application) -> Judge:
    from mainstay.schedules.approvals import NEED, bound_to, standing

    now = app.clock.now()

    def judge(line: Line, opening: Opening, run: str) -> Standing | None:
        need = NEED[line.plan.approval]
        if not need:
            return None
        store = app.schedule_store
        approval = store.approval(run)
        if approval is not None and app.state.standing(run) is None:
            # A run that is there keeps what it was asked for with; before that, another plan is another question.
            hash = bound_to(line.plan.hash(), line.hosts, rfc3339(opening.starts_at))
            approval = approval if approval.hash == hash else None
        found = standing(approval, store.votes(run), now, need=need)
        if found.answer == "granted":
            return None
        return Standing("not-approved" if found.answer == "refused" else "waiting-for-approval", found.reason)

    return judge


def work_in(loaded: LoadedSite, paces: Mapping[str, float], assumed: float) -> Callable[[Line], Work]:
    """What a line's rollout takes, reckoned once. paces: plan → seconds a host took in earlier runs. assumed: seconds where
    there were none, but no more than half of the window."""
    by_name = {host.name: host for host in loaded.site.hosts}
    selectors: dict[str, Selector] = {}
    known: dict[str, Work] = {}

    def matches(text: str, host: Host) -> bool:
        if text not in selectors:
            selectors[text] = parse(text)
        return selectors[text].matches(host)

    def work(line: Line) -> Work:
        if line.id not in known:
            hosts = [by_name[name] for name in line.hosts]
            pace = paces.get(line.plan.name)
            default = min(assumed, line.window.length / 2)
            known[line.id] = work_of(line.plan, hosts, matches, limits=loaded.site.limits, pace=pace, default=default)
        return known[line.id]

    return work


def _carried(app: Application) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for one in app.schedule_store.carried():
        found.setdefault(one.plan, []).append(one.host)
    return found


def _asked(
    app: Application, lines: Sequence[Line], in_flight: Sequence[RunRow]
) -> list[tuple[Line, Opening, str, Standing]]:
    """Runs that were asked for to start at the next opening, each at the one that it waits for."""
    now = app.clock.now()
    found = []
    for row in in_flight:
        timing = Timing.from_json(row.request["timing"])
        if not timing.queued or app.state.waves(row.id):
            continue
        of_plan = [line for line in lines if line.plan.name == row.plan]
        waiting = [
            (opening, line)
            for line in of_plan
            for opening in _first(openings_between(line.window, line.zone, now, now + FAR), now)
        ]
        if waiting:
            opening, line = min(waiting, key=lambda one: one[0].starts_at)
            by = f"by {row.request.get('requested_by', '')}"
            found.append((line, opening, row.id, Standing("queued", by)))
    return found


def _first(openings: Iterator[Opening], now: datetime) -> Collection[Opening]:
    """The first in which something may still start, if there is one."""
    found = next((opening for opening in openings if opening.cutoff_at > now), None)
    return () if found is None else (found,)

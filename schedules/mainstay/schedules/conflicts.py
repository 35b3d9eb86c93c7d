"""What is right line by line and yet can't go well together, found before a night shows it. Warnings, each at its place.

Works on sets: hosts that are in the same schedules count as one, so that a fleet's size hardly matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import combinations, islice, permutations
from zoneinfo import ZoneInfo

from mainstay.inventory.amounts import seconds
from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.site import Site
from mainstay.recovery.plan import BackupPlan
from mainstay.runner.plan import Plan
from mainstay.runner.plans import plan_spot
from mainstay.schedules.fitting import Work
from mainstay.schedules.openings import Opening
from mainstay.schedules.outlook import Line, Openings, Standing
from mainstay.schedules.windows import Window

AHEAD = timedelta(days=366)
"""How far is looked."""
MOST_OPENINGS = 9_000
"""Of one window: every hour of a year."""
MOST_PAIRS = 2_000
"""Pairs of schedules that are compared; a site with more is told that not all were."""

MOST_TOLD = 50
"""Pairs of plans that are told one by one."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is asked of others. held: what keeps an occurrence from running, as freezes and calendars stand today.
    work: of a line as a whole, None where nothing can be said. notified: (plan) → whether anybody
    is told that it waits for an approval."""

    site: Site
    plans: Mapping[str, Plan]
    windows: Mapping[str, Window]
    lines: Sequence[Line]
    openings: Openings
    now: datetime
    held: Callable[[Line, Opening], Standing | None] = lambda line, opening: None
    work: Callable[[Line], Work | None] = lambda line: None
    notified: Callable[[str], bool] = lambda plan: True
    _known: dict[tuple[str, str], list[Opening]] = field(default_factory=dict)

    def coming(self, line: Line) -> list[Opening]:
        """Of the next twelve months."""
        key = (line.window.name, line.zone)
        if key not in self._known:
            found = self.openings(line.window, line.zone, self.now, self.now + AHEAD)
            self._known[key] = list(islice(found, MOST_OPENINGS))
        return self._known[key]

    def usable(self, line: Line) -> Iterator[Opening]:
        """Those of them in which something may still start."""
        return (opening for opening in self.coming(line) if opening.cutoff_at > max(opening.starts_at, self.now))


def conflicts(look: Look) -> list[Problem]:
    """All that was found, in no particular order."""
    return [
        *_unused(look),
        *_overlaps(look),
        *_too_short(look),
        *_too_much(look),
        *_held(look),
        *_never_late(look),
        *_unheard(look),
    ]


def _unused(look: Look) -> Iterator[Problem]:
    used = {name for plan in look.plans.values() for name in plan.window}
    backups = [plan for plan in look.plans.values() if isinstance(plan, BackupPlan)]
    used |= {copying.window for plan in backups for copying in plan.copies if copying.window}
    for name in look.windows:
        spot = _window_spot(look.site, name)
        if name not in used and spot is not None:
            hint = "Name it in a plan (window:), or take it out."
            yield spot.problem("no plan uses this window.", on="key", hint=hint)


# Two plans for one host


@dataclass(slots=True)
class _Shared:
    """Two plans that are open for the same hosts at once."""

    first: Opening
    hosts: set[str]


def _overlaps(look: Look) -> Iterator[Problem]:
    of_host: dict[str, list[int]] = {}
    for number, line in enumerate(look.lines):
        for host in line.hosts:
            of_host.setdefault(host, []).append(number)
    alike: dict[tuple[int, ...], list[str]] = {}
    for host, numbers in of_host.items():
        if len(numbers) > 1:
            alike.setdefault(tuple(numbers), []).append(host)
    pairs: dict[tuple[int, int], list[str]] = {}
    whole = True
    for shared, hosts in alike.items():
        for pair in combinations(shared, 2):
            if look.lines[pair[0]].plan.name == look.lines[pair[1]].plan.name:
                continue
            if len(pairs) >= MOST_PAIRS and pair not in pairs:
                whole = False
                break
            pairs.setdefault(pair, []).extend(hosts)
    told = list(_told(look, _found(look, pairs)))
    yield from told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        more = len(told) - MOST_TOLD
        yield Problem(f"{more} more pairs of plans are open together on hosts that they share.", file="schedules")
    if not whole:
        yield Problem(
            f"more than {MOST_PAIRS} pairs of schedules share hosts; whether more of them overlap was not looked at.",
            file="schedules",
        )


def _found(look: Look, pairs: Mapping[tuple[int, int], list[str]]) -> dict[tuple[str, str], _Shared]:
    """By the names of the two plans."""
    nights: dict[tuple[tuple[str, str], tuple[str, str]], Opening | None] = {}
    found: dict[tuple[str, str], _Shared] = {}
    for (one, two), hosts in pairs.items():
        a, b = look.lines[one], look.lines[two]
        windows = ((a.window.name, a.zone), (b.window.name, b.zone))
        if windows not in nights:
            nights[windows] = first_overlap(_usual(look.coming(a)), _usual(look.coming(b)))
        night = nights[windows]
        if night is None:
            continue
        shared = found.setdefault((a.plan.name, b.plan.name), _Shared(night, set()))
        shared.hosts.update(hosts)
        if night.starts_at < shared.first.starts_at:
            shared.first = night
    return found


def _usual(openings: Sequence[Opening]) -> list[Opening]:
    """Without nights on which the clocks change: windows that follow each other may meet in them, and that is no mistake."""
    return [opening for opening in openings if not opening.remark]


def first_overlap(one: Sequence[Opening], two: Sequence[Opening]) -> Opening | None:
    """The later one of the first two that are open at the same time. Both in the order of their starts."""
    a = b = 0
    while a < len(one) and b < len(two):
        if one[a].ends_at <= two[b].starts_at:
            a += 1
        elif two[b].ends_at <= one[a].starts_at:
            b += 1
        else:
            return max(one[a], two[b], key=lambda opening: opening.starts_at)
    return None


def _told(look: Look, found: Mapping[tuple[str, str], _Shared]) -> Iterator[Problem]:
    for (one, two), shared in found.items():
        spot = plan_spot(look.site, two)
        if spot is None:
            continue
        names = sorted(shared.hosts)
        who = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield spot.at("window").problem(
            f"is open together with the plan {one} on {who}, first {_when(shared.first)}: a host is worked on by one run at a "
            "time, and the one that comes second leaves out what the other holds.",
            on="key",
            hint="Give them windows that don't overlap, or hosts of their own.",
        )


# What an opening has no room for


def _too_short(look: Look) -> Iterator[Problem]:
    """Nights on which the clocks leave less than the cutoff takes away."""
    told: set[str] = set()
    for line in look.lines:
        night = next((one for one in look.coming(line) if one.cutoff_at <= one.starts_at), None)
        spot = _window_spot(look.site, line.window.name)
        if night is None or spot is None or line.window.name in told:
            continue
        told.add(line.window.name)
        minutes = round((night.ends_at - night.starts_at).total_seconds() / 60)
        message = f"nothing can start {_when(night)}: it is open for {minutes} min then, and its cutoff is no shorter."
        yield spot.at("cutoff").problem(message, on="key", hint="Make the cutoff shorter, or move it off that hour.")


def _too_much(look: Look) -> Iterator[Problem]:
    told: set[str] = set()
    for line in look.lines:
        work, spot = look.work(line), plan_spot(look.site, line.plan.name)
        openings = look.coming(line)
        if work is None or spot is None or not openings or line.plan.name in told:
            continue
        # The usual length: one night of changed clocks is no fault of the plan.
        spans = Counter((one.cutoff_at - one.starts_at, one.ends_at - one.starts_at) for one in openings)
        room, length = (span.total_seconds() for span in spans.most_common(1)[0][0])
        fit = work.begun_within(room, length)
        if fit >= work.hosts:
            continue
        told.add(line.plan.name)
        by = "as in earlier runs" if work.told_by == "history" else "if it takes no longer"
        soak = f" and soak: {_span(work.soak)} between {len(work.waves)} waves" if work.soak else ""
        yield spot.at("window").problem(
            f"does not fit: {fit} of {work.hosts} hosts have their turn in the {_span(room)} in which something may start, with "
            f"{_span(work.pace)} a host {by}, {work.at_once} at once{soak}. The others are carried over to the next opening.",
            on="key",
            hint="Make the window longer, take more hosts at once (parallel:), or have fewer and larger waves.",
        )


# What never happens


def _held(look: Look) -> Iterator[Problem]:
    for name, lines in _by_plan(look).items():
        reasons: Counter[str] = Counter()
        free = False
        for line in lines:
            for opening in look.usable(line):
                standing = look.held(line, opening)
                if standing is None or standing.state not in ("frozen", "not-in-calendar"):
                    free = True
                    break
                reasons[f"{standing.state}: {standing.reason}" if standing.reason else standing.state] += 1
            if free:
                break
        spot = plan_spot(look.site, name)
        if free or not reasons or spot is None:
            continue
        why, _ = reasons.most_common(1)[0]
        count = sum(reasons.values())
        each = f"its one opening of the next 12 months is held ({why})"
        if count > 1:
            each = f"each of its {count} openings of the next 12 months is held (most often {why})"
        yield spot.at("window").problem(f"never runs: {each}.", on="key", hint="See mainstay next --days 366.")


def _never_late(look: Look) -> Iterator[Problem]:
    """`run-if-late: 6h`: what was missed runs in another window of the plan that is open within those hours."""
    for name, lines in _by_plan(look).items():
        word, _, limit = lines[0].plan.missed.partition(":")
        spot = plan_spot(look.site, name)
        if word != "run-if-late" or spot is None or not any(look.coming(line) for line in lines):
            continue
        late = timedelta(seconds=seconds(limit))
        if any(_made_up(look, one, two, late) for one, two in permutations(lines, 2)):
            continue
        yield spot.at("missed").problem(
            f"nothing can ever run late: in the {limit.strip()} after an opening has begun, and is over, no other window of the "
            "plan is open.",
            hint="Give the plan a second window, allow more time, or write next-window.",
        )


def _made_up(look: Look, one: Line, two: Line, late: timedelta) -> bool:
    """Whether what was missed in some opening of the one could still start in an opening of the other."""
    over = [replace(own, starts_at=own.cutoff_at, ends_at=own.starts_at + late) for own in look.coming(one)]
    usable = [replace(other, ends_at=other.cutoff_at) for other in look.usable(two)]
    hosts = not set(one.hosts).isdisjoint(two.hosts)
    return hosts and first_overlap([own for own in over if own.starts_at < own.ends_at], usable) is not None


def _by_plan(look: Look) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in look.lines:
        found.setdefault(line.plan.name, []).append(line)
    return found


def _unheard(look: Look) -> Iterator[Problem]:
    for name, plan in look.plans.items():
        spot = plan_spot(look.site, name)
        if plan.approval != "none" and spot is not None and not look.notified(name):
            message = "nobody is told that it waits for an approval."
            hint = "Add notify: {on: [approval], command: […]} to mainstay.yml; without it only mainstay next says it."
            yield spot.at("approval").problem(message, on="key", hint=hint)


def _window_spot(site: Site, name: str) -> Spot | None:
    for document in site.documents:
        spot = document.spot("windows", name)
        if spot.path in document.nodes:
            return spot
    return None


def _when(opening: Opening) -> str:
    """`on Fri 2026-12-11 at 02:00 CET`"""
    moment = opening.starts_at.astimezone(ZoneInfo(opening.zone))
    return f"on {moment:%a %Y-%m-%d} at {moment:%H:%M %Z}"


def _span(length: float) -> str:
    """`45 s`, `45 min`, `2 h 15 min`"""
    if length < 90:
        return f"{round(length)} s"
    hours, minutes = divmod(round(length / 60), 60)
    return f"{hours} h {minutes} min" if hours and minutes else f"{hours} h" if hours else f"{minutes} min"

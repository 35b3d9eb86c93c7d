"""How the backups of a site stand, from its state alone: what `points`, `status` and `why` say of them. Asks no host and no
repository."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from mainstay.console.render.hosts import Known
from mainstay.console.render.opening import When
from mainstay.console.tending import backup_plans
from mainstay.console.vaults import places, vaults_of
from mainstay.inventory.host import Host
from mainstay.inventory.selectors import parse
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack, PointStore, Tended, Vault
from mainstay.recovery.restic.contract import Locked
from mainstay.recovery.standing import NO_POINT, WORST_FIRST, Health, Standing, Trouble, standings, worst
from mainstay.recovery.tending.errand import CANCELLED, FAILED
from mainstay.recovery.tending.retention import REFUSED
from mainstay.recovery.tending.upkeep import unread
from mainstay.recovery.words import counted, span
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.record import HostPart
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.occurrences import Schedule, schedules
from mainstay.schedules.outlook import openings_between
from mainstay.schedules.windows import HOST

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

AROUND = (8, 45, 400)
"""Days before and after now in which a plan's openings are looked for, until there are three."""
RUNS_BACK = 50
"""Of a plan: so many of its newest backups are looked through for the last one of a host."""
FEW = 20
"""Hosts of which what was tended is read one by one."""
MANY = 3
"""What went wrong so often in a row is wrong, and not only to be looked at."""
COPY_SLACK = 1.5
"""Times its `every` within which a copy has to be there."""

LEVELS: Mapping[Verdict, Health] = {
    Verdict.SUCCEEDED: "well",
    Verdict.DEGRADED: "look",
    Verdict.REFUSED: "look",
    Verdict.MISSED: "look",
    Verdict.CANCELLED: "look",
    Verdict.UNKNOWN: "unknown",
}
"""Anything else is wrong."""
NOT_KEPT = "is not confirmed to be kept elsewhere"


@dataclass(frozen=True)
class Backups:
    """standings: of every source that a plan backs up on the hosts asked for, those without a point too. last: (plan, host) →
    the run of its newest backup there, and how that ended. troubles: of hosts and repositories, beside the sources' own."""

    plans: tuple[BackupPlan, ...]
    standings: tuple[Standing, ...]
    last: Mapping[tuple[str, str], tuple[str, Verdict]]
    troubles: tuple[Trouble, ...]
    started: Mapping[str, str] = field(default_factory=dict)
    """Run of `last`, and any backup that is in flight → when it began, RFC 3339."""
    running: Mapping[str, str] = field(default_factory=dict)
    """Plan → its backup that is in flight."""

    def of(self, host: str) -> list[Standing]:
        return self._standings.get(host, [])

    def all_troubles(self, host: str) -> list[Trouble]:
        """Of this host; worst first, and of what is as bad, that of the data before that of the keys, which a line that has room
        for two must not be full of."""
        found = [*self._troubles.get(host, ()), *(trouble for one in self.of(host) for trouble in one.troubles)]
        return sorted(found, key=lambda one: (WORST_FIRST.index(one.health), one.kind.endswith(NOT_KEPT)))

    @cached_property
    def _standings(self) -> dict[str, list[Standing]]:
        found: dict[str, list[Standing]] = {}
        for one in self.standings:
            found.setdefault(one.host, []).append(one)
        return found

    @cached_property
    def _troubles(self) -> dict[str, list[Trouble]]:
        found: dict[str, list[Trouble]] = {}
        for one in self.troubles:
            found.setdefault(one.host, []).append(one)
        return found

    def health(self, host: str) -> Health | None:
        """None: no plan backs it up."""
        mine = self.of(host)
        return worst(one.health for one in self.all_troubles(host)) if mine else None


def backups(app: Application, hosts: Sequence[Host]) -> Backups:
    """Of these hosts, by every backup plan that targets them."""
    found, store, now = backup_plans(app), app.points, app.clock.now()
    if not found or not hosts:
        return Backups(tuple(found), (), {}, ())
    of = {plan.name: {host.name for host in hosts if parse(plan.targets).matches(host)} for plan in found}
    names = set().union(*of.values())
    # All of them: without a condition for each host.
    among = None if len(names) > len(app.site.hosts) // 2 else names
    acks, tended = store.acks(), _tended(store, found, hosts)
    lags = {plan.name: _lags(app, plan, now) for plan in found}
    proved = store.proved(hosts=among)
    points = _points(store, proved, among, now, {lag for of_plan in lags.values() for lag in of_plan.values()})
    # The newest of all may be about a point that is gone by now.
    of_proved = store.proofs(points={one.id for one in proved}) if proved else []
    proofs = _once([*store.newest_proofs(hosts=among), *of_proved])
    standing: list[Standing] = []
    last: dict[tuple[str, str], tuple[str, Verdict]] = {}
    troubles: list[Trouble] = []
    rows = [row for row in app.state.runs() if row.kind == "backup"]
    vaults = {(one.repository, one.host): one for one in app.points.vaults()}
    for plan in found:
        every = interval(app, plan, now)
        mine = of[plan.name]
        theirs = [host for host in hosts if host.name in mine]
        unmade = {*_unmade(plan, theirs, vaults, points)}
        stands = standings(plan, mine, points, proofs, now, interval=every, copy_lags=lags[plan.name], acks=acks)
        standing += [_to_be_made(one, plan) if (plan.repository, one.host) in unmade else one for one in stands]
        ended = _last(app, [row.id for row in rows if row.plan == plan.name and row.state == "ended"], mine)
        last |= {(plan.name, host): how for host, how in ended.items()}
        troubles += _ended_badly(app, plan.name, ended, acks)
        troubles += _repositories(app, plan, theirs, tended, vaults, unmade)
    running = {row.plan: row.id for row in rows if row.state != "ended" and row.plan in of}
    told = {*(run for run, _ in last.values()), *running.values()}
    started = {row.id: row.started_at for row in rows if row.id in told}
    return Backups(tuple(found), tuple(standing), last, tuple(_once_said(troubles)), started, running)


def _once_said(troubles: Iterable[Trouble]) -> Iterator[Trouble]:
    """Without those that say the same of a host again: of a repository that several plans use."""
    said: set[tuple[str, str]] = set()
    for one in sorted(dict.fromkeys(troubles), key=lambda one: WORST_FIRST.index(one.health)):
        if (one.host, one.text) not in said:
            said.add((one.host, one.text))
            yield one


def _unmade(
    plan: BackupPlan,
    hosts: Sequence[Host],
    vaults: Mapping[tuple[str, str], Vault],
    points: Iterable[RecoveryPoint],
) -> Iterator[tuple[str, str]]:
    """(repository, host) of those that nobody has made yet, as far as is known."""
    used = {(one.repository, one.host) for one in points}
    for name in places(plan):
        for host in hosts:
            if (name, plan.repositories[name].vault(host.name)) not in vaults and (name, host.name) not in used:
                yield name, host.name


def _to_be_made(one: Standing, plan: BackupPlan) -> Standing:
    """A run would be refused: what helps comes first."""
    hint = f"mainstay repo init {plan.name}"
    text = f"no recovery point: the repository {plan.repository} is not made yet"
    troubles = [
        trouble.model_copy(update={"text": text, "hint": hint}) if trouble.kind == NO_POINT else trouble
        for trouble in one.troubles
    ]
    return one.model_copy(update={"troubles": tuple(troubles)})


def interval(app: Application, plan: BackupPlan, now: datetime) -> float | None:
    """Seconds: the longest time from one opening of the plan's windows to the next, around now. None: it has no window, or none
    that opens again."""
    zones: dict[str, list[Schedule]] = {}
    for one in schedules(app.loaded):
        if one.plan.name == plan.name:
            zones.setdefault(one.zone, []).append(one)
    longest: float | None = None
    for mine in zones.values():
        gap = _gap(mine, now)
        longest = gap if longest is None else max(longest, gap or 0.0)
    return longest


def _gap(mine: Iterable[Schedule], now: datetime) -> float | None:
    for days in AROUND:
        since, until = now - timedelta(days=days), now + timedelta(days=days)
        starts = {at.starts_at for one in mine for at in openings_between(one.window, one.zone, since, until)}
        if len(starts) >= 3 or (len(starts) == 2 and days == AROUND[-1]):
            return max((later - earlier).total_seconds() for earlier, later in pairwise(sorted(starts)))
    return None


def _lags(app: Application, plan: BackupPlan, now: datetime) -> dict[str, float]:
    """Repository of a copy → seconds within which a point has to be there."""
    found = {}
    for one in plan.copies:
        window = app.loaded.windows.get(one.window) if one.window else None
        own = None
        if window is not None:
            zone = window.timezone if window.timezone not in (None, HOST) else app.site.timezone
            own = _gap([Schedule("", plan, window, zone)], now)
        found[one.to] = max(one.every, own or 0.0) * COPY_SLACK
    return found


def _points(
    store: PointStore,
    proved: Iterable[RecoveryPoint],
    among: Collection[str] | None,
    now: datetime,
    lags: Collection[float],
) -> list[RecoveryPoint]:
    """The newest, those that had to be copied by now, the proved and the odd ones."""

    def until(ago: float) -> str:
        return rfc3339(now + timedelta(seconds=CLOCK_SKEW_MAX - ago))

    found = store.newest(hosts=among, until=until(0.0))
    for lag in lags:
        found += store.newest(hosts=among, until=until(lag + CLOCK_SKEW_MAX))
    found += proved
    found += store.points(hosts=among, anomalous=True)
    return list({(one.repository, one.id): one for one in found}.values())


def _last(app: Application, runs: Sequence[str], hosts: Collection[str]) -> dict[str, tuple[str, Verdict]]:
    """runs: a plan's, that have ended; oldest first."""
    found: dict[str, tuple[str, Verdict]] = {}
    for run in reversed(runs[-RUNS_BACK:]):
        if len(found) == len(hosts):
            break
        for host, verdict in app.state.outcomes(run).items():
            if host in hosts:
                found.setdefault(host, (run, verdict))
    return found


def _ended_badly(
    app: Application, plan: str, ended: Mapping[str, tuple[str, Verdict]], acks: Sequence[Ack]
) -> Iterator[Trouble]:
    """Of the newest backup of each host, unless somebody has looked at it. A degraded one is told of its points."""
    looked = {(ack.item, ack.host) for ack in acks if not ack.source}
    reasons: dict[str, dict[str, str]] = {}
    for host, (run, verdict) in ended.items():
        health = LEVELS.get(verdict, "wrong")
        if verdict in (Verdict.SUCCEEDED, Verdict.DEGRADED) or looked & {(run, ""), (run, host)}:
            continue
        if run not in reasons:
            reasons[run] = {part.host: part.reason for part in app.state.parts(run)}
        kind = f"the last backup ended {verdict}"
        why = reasons[run].get(host) or ""
        # Not policy, and not the host: what was backed up before may be as much out of reach.
        health = "wrong" if verdict is Verdict.REFUSED and why.startswith("repository ") else health
        hint = f"mainstay records show {run} --host {host}"
        text = f"{kind}: {why}" if why else kind
        yield Trouble(health=health, kind=kind, text=text, host=host, plan=plan, hint=hint)


def _tended(store: PointStore, plans: Iterable[BackupPlan], hosts: Sequence[Host]) -> list[Tended]:
    """Of the repositories of these hosts: of a few only theirs are read."""
    if len(hosts) > FEW:
        return store.tended()
    names = sorted({name for plan in plans for name in places(plan)})
    owners = sorted({"", *(host.name for host in hosts)})
    return [one for name in names for owner in owners for one in store.tended(repository=name, host=owner)]


def _repositories(
    app: Application,
    plan: BackupPlan,
    hosts: Sequence[Host],
    tended: Sequence[Tended],
    vaults: Mapping[tuple[str, str], Vault],
    unmade: Collection[tuple[str, str]],
) -> Iterator[Trouble]:
    """Of the repositories that these hosts use: those that are not made yet, keys that are kept nowhere else, data that nobody
    has read in time, and what was tried there in vain. unmade: (repository, host); that a host can't be backed up for it is
    said of its sources."""
    now = app.clock.now()
    wrong: dict[tuple[str, str], list[Tended]] = {}
    for one in _undone(tended, now):
        wrong.setdefault((one.repository, one.host), []).append(one)
    checked: dict[tuple[str, str], list[Tended]] = {}
    for one in tended:
        if one.what == "check":
            checked.setdefault((one.repository, one.host), []).append(one)
    for repository, host in vaults_of(plan, hosts):
        key = repository.name, repository.vault(host)
        known = vaults.get(key)
        if (repository.name, host) in unmade:
            if repository.name != plan.repository:
                text = f"the repository {repository.name} is not made yet"
                hint = f"mainstay repo init {plan.name}"
                yield Trouble(health="look", kind=text, text=text, host=key[1], plan=plan.name, hint=hint)
            continue
        if known is None or not known.escrow_at:
            text = f"the key of {repository.name} {NOT_KEPT}"
            hint = f"mainstay repo key export {plan.name} --to FILE"
            yield Trouble(health="look", kind=text, text=text, host=key[1], plan=plan.name, hint=hint)
        made = datetime.fromisoformat(known.made_at).timestamp() if known and known.made_at else now.timestamp()
        if count := unread(plan.verify, checked.get(key, ()), made, now.timestamp()):
            kind = f"data of {repository.name} was not read in time"
            text = f"{counted(count, 'part')} of the data in {repository.name} not read within {span(plan.verify.all_within)}"
            hint = f"mainstay repo check {plan.name} --repository {repository.name}"
            yield Trouble(health="look", kind=kind, text=text, host=key[1], plan=plan.name, hint=hint)
    for name in places(plan):
        owners = {owner for host in hosts for owner in (plan.repositories[name].vault(host.name), host.name)}
        for owner in sorted(owners):
            for one in wrong.get((name, owner), ()):
                there = vaults.get((name, owner))
                settled = one.what == "init" and there is not None and there.id
                if one.subject in ("", plan.name) and not settled:
                    yield _told(one, plan.name)


def _undone(tended: Iterable[Tended], now: datetime) -> list[Tended]:
    """What was tried in vain and not done since. A failure that has not come yet (a clock was wrong) is tried again."""
    done: dict[tuple[str, ...], datetime] = {}
    failed: list[tuple[tuple[str, ...], datetime, Tended]] = []
    for one in tended:
        key, at = (one.repository, one.host, one.what, one.subject), datetime.fromisoformat(one.at)
        if one.part == CANCELLED:
            continue  # neither done nor tried
        if one.part not in (FAILED, REFUSED):
            done[key] = max(at, done.get(key, at))
        elif at <= now + timedelta(seconds=CLOCK_SKEW_MAX):
            failed.append((key, at, one))
    return [one for key, at, one in failed if key not in done or done[key] < at]


def _told(one: Tended, plan: str) -> Trouble:
    locked = one.fault == Locked.kind
    health: Health = "wrong" if one.what == "check" or locked or one.tries >= MANY else "look"
    kind = f"{one.what} at {one.repository} did not succeed"
    again = f"once it is mended: mainstay repo {'unlock' if one.what == 'lock' else one.what} {plan}"
    hint = f"mainstay repo unlock {plan}" if locked else f"mainstay records show {one.run}; {again}"
    hint = f"mainstay records ack {one.run} --reason …" if one.part == REFUSED else hint
    text = f"{kind}, {one.tries} times in a row" if one.tries > 1 else kind
    return Trouble(
        health=health,
        kind=kind,
        text=f"{text}: {one.detail}" if one.detail else text,
        host=one.host,
        plan=plan,
        hint=hint,
    )


def _once(proofs: Iterable[Proof]) -> list[Proof]:
    return list({(one.repository, one.point, one.run): one for one in proofs}.values())


def with_backups(app: Application, known: Sequence[Known], found: Backups) -> list[Known]:
    """The same; of hosts that nothing but backups is meant for, their newest backup is their last run."""
    others = [parse(plan.targets) for plan in app.plans.values() if not isinstance(plan, BackupPlan)]
    newest: dict[str, str] = {}
    for (_, host), (run, _) in found.last.items():
        newest[host] = max(run, newest.get(host, ""))  # ids sort by time
    parts: dict[str, dict[str, HostPart]] = {}
    told = []
    for one in known:
        run = newest.get(one.host.name, "")
        if one.part is not None or not run or any(other.matches(one.host) for other in others):
            told.append(one)
            continue
        if run not in parts:
            parts[run] = {part.host: part for part in app.state.parts(run)}
        told.append(replace(one, run=run, part=parts[run].get(one.host.name)))
    return told


def chances(app: Application, found: Backups) -> dict[str, When]:
    """Plan that backs one of the hosts up → when it may run next. Plans without a window are left out."""
    from mainstay.console.outlooking import next_of

    now = app.clock.now()
    told: dict[str, When] = {}
    for plan in found.plans:
        if plan.window and any(one.plan == plan.name for one in found.standings):
            coming, held = next_of(app, plan)
            told[plan.name] = When(", ".join(plan.window), now, coming, held)
    return told

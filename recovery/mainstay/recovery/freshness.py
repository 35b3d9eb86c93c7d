"""How old the newest backup is, and the newest proved one; and whether that is enough. Pure.

Two questions, and never one for the other: the age of a point (what would be lost if the host failed now), and the time since a
restore last proved one (whether there would be anything at all).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Group, group_of
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.words import span
from mainstay.runner.plan import BackupRequired
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.verdict import Verdict

PROVES = (Verdict.SUCCEEDED, Verdict.DEGRADED)
"""The verdicts of a proof that has proved something."""


class Exposure(Value):
    """Of one source of one host, over all repositories that keep it. Seconds are None where there is no such point."""

    host: str
    plan: str
    source: str
    """Its unit: `files`, `db/orders`."""
    newest: RecoveryPoint | None = None
    """succeeded or degraded."""
    succeeded: RecoveryPoint | None = None
    """The newest that succeeded."""
    proved: RecoveryPoint | None = None
    """The newest that a restore has proved, and that is still there."""
    since_newest: float | None = None
    """Now minus the moment whose data it holds: what would be lost if the host failed now."""
    since_succeeded: float | None = None
    since_proved: float | None = None
    """The same of the newest proved one: what would be lost at worst."""
    since_proof: float | None = None
    """Now minus the last restore that proved any of them."""

    @property
    def group(self) -> Group:
        return self.host, self.plan, self.source


def present(points: Iterable[RecoveryPoint], now: datetime, skew: float = CLOCK_SKEW_MAX) -> list[RecoveryPoint]:
    """Those that can be restored, oldest first: not removed, and not dated more than skew (seconds) ahead of now."""
    latest = now + timedelta(seconds=skew)
    dated = [(datetime.fromisoformat(point.at), point) for point in points if point.removed_at is None]
    return [point for at, point in sorted(dated, key=lambda one: (one[0], one[1].id)) if at <= latest]


def exposures(
    points: Iterable[RecoveryPoint],
    proofs: Iterable[Proof],
    now: datetime,
    *,
    declared: Collection[Group] | None = None,
    acks: Sequence[Ack] = (),
) -> list[Exposure]:
    """Ordered by host, plan and source. declared: what plans back up now, as (host, plan, name of the source); of those without a
    point it is said, and others (of a source that was renamed, of a host that was taken out) are left out. None: all that
    have points. acks: a database that is gone for good is left out once its newest point was acknowledged."""
    here: dict[Group, list[RecoveryPoint]] = {}
    newest_of_source: dict[Group, str] = {}
    for point in present(points, now):
        source = (point.host, point.plan, point.source)
        if declared is None or source in declared:
            here.setdefault(group_of(point), []).append(point)
            newest_of_source[source] = point.run
    seen = {ack.item for ack in acks}
    for group, mine in list(here.items()):
        last = mine[-1]
        if last.id in seen and newest_of_source[last.host, last.plan, last.source] != last.run:
            del here[group]
    for source in declared or ():
        if source not in newest_of_source:
            here.setdefault(source, [])
    proved: dict[tuple[str, str], float] = {}
    for proof in proofs:
        ago = (now - datetime.fromisoformat(proof.at)).total_seconds()
        if proof.verdict in PROVES and ago >= -CLOCK_SKEW_MAX:
            key = (proof.repository, proof.point)
            proved[key] = max(0.0, min(ago, proved.get(key, ago)))
    return [_of_group(group, mine, proved, now) for group, mine in sorted(here.items())]


def _of_group(
    group: Group, oldest_first: Sequence[RecoveryPoint], proved: Mapping[tuple[str, str], float], now: datetime
) -> Exposure:
    def last(points: Sequence[RecoveryPoint]) -> tuple[RecoveryPoint | None, float | None]:
        if not points:
            return None, None
        return points[-1], max(0.0, (now - datetime.fromisoformat(points[-1].at)).total_seconds())

    newest, since_newest = last(oldest_first)
    succeeded, since_succeeded = last([point for point in oldest_first if point.verdict is Verdict.SUCCEEDED])
    restored = [point for point in oldest_first if (point.repository, point.id) in proved]
    tested, since_proved = last(restored)
    return Exposure(
        host=group[0],
        plan=group[1],
        source=group[2],
        newest=newest,
        succeeded=succeeded,
        proved=tested,
        since_newest=since_newest,
        since_succeeded=since_succeeded,
        since_proved=since_proved,
        since_proof=min((proved[point.repository, point.id] for point in restored), default=None),
    )


def unmet(required: BackupRequired, host: str, found: Iterable[Exposure]) -> tuple[str, ...]:
    """Why what a plan requires of a host's backup is not there, one for each source and requirement; empty: it is.

    found: as of `exposures`, of what is declared for the host; every source counts. newer_than asks how old the newest point
    that succeeded is (with accept_degraded: the newest). proved_within asks how long ago a restore last proved a point of the
    source, however old that point is.
    """
    mine = [one for one in found if one.host == host and required.plan in (None, one.plan)]
    if not mine:
        return (f"{host} is not backed up{f' by {required.plan}' if required.plan else ''}",)
    return tuple(words for one in mine for words in _unmet(required, one))


def _unmet(required: BackupRequired, one: Exposure) -> list[str]:
    said = []
    if required.newer_than is not None:
        age = one.since_newest if required.accept_degraded else one.since_succeeded
        wanted = f"newer than {span(required.newer_than)} is required"
        if one.newest is None:
            said.append(f"{one.source}: there is no point")
        elif age is None:
            said.append(f"{one.source}: no point has succeeded, the newest is degraded, {wanted}")
        elif age > required.newer_than:
            which = "the newest point" if required.accept_degraded else "the newest point that succeeded"
            newer = one.since_newest is not None and one.since_newest <= required.newer_than
            but = "; a degraded one is newer (accept_degraded: true would take it)" if newer else ""
            said.append(f"{one.source}: {which} is {span(age)} old, {wanted}{but}")
    if required.proved_within is not None:
        wanted = f"within {span(required.proved_within)} is required"
        if one.since_proof is None:
            said.append(f"{one.source}: no restore has proved a point, {wanted}")
        elif one.since_proof > required.proved_within:
            said.append(f"{one.source}: a restore last proved a point {span(one.since_proof)} ago, {wanted}")
    return said


class MissingCopy(Value):
    """A place that should have the newest point of a source, and has not."""

    host: str
    plan: str
    source: str
    """Its unit."""
    repository: str
    newest: RecoveryPoint | None = None
    """The newest that is there; None: there is none."""
    behind: float | None = None
    """Seconds by which that is older than the newest anywhere."""

    @property
    def reason(self) -> str:
        if self.behind is None:
            return f"{self.source}: nothing in {self.repository}"
        return f"{self.source}: {self.repository} is {span(self.behind)} behind"


def copies_missing(points: Iterable[RecoveryPoint], wanted: Mapping[str, float], now: datetime) -> list[MissingCopy]:
    """Of each source with points, the repositories that are behind. wanted: name of a repository → seconds within which a point
    is to be there after it was made (0 of the plan's own)."""
    groups: dict[Group, list[RecoveryPoint]] = {}
    for point in present(points, now):
        groups.setdefault(group_of(point), []).append(point)
    found = []
    for group, mine in sorted(groups.items()):
        for repository, lag in wanted.items():
            # a copy is made later than the point it holds, and is made_at then; the original says when that was complete
            due = [
                p
                for p in mine
                if p.copy_of is None and (now - datetime.fromisoformat(p.made_at)).total_seconds() >= lag
            ]
            there = [point for point in mine if point.repository == repository]
            newest, at = (there[-1], datetime.fromisoformat(there[-1].at)) if there else (None, None)
            needed = datetime.fromisoformat(due[-1].at) if due else None
            if needed is None or (at is not None and at >= needed):
                continue
            behind = (datetime.fromisoformat(mine[-1].at) - at).total_seconds() if at else None
            host, plan, unit = group
            found.append(
                MissingCopy(host=host, plan=plan, source=unit, repository=repository, newest=newest, behind=behind)
            )
    return found

"""Snapshots of mainstay's own that are no points: what failed backups left in a repository. Pure.

They can't be restored from by any command of mainstay, and no policy knows them; without this they would stay for ever. One is
removed only where all of it is certain: mainstay's tags, made by this very state (where it does not say which, by a job that a run
of this state began), that run has ended in vain on this host, a day has gone by, and a newer point of the same source that
succeeded is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote

from mainstay.recovery.anomalies import Group
from mainstay.recovery.backup.change import STATE, TAG
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.replies import Snapshot
from mainstay.runner.verdict import Verdict

OLD = timedelta(days=1)
IN_VAIN = (Verdict.FAILED, Verdict.REFUSED, Verdict.CANCELLED)
"""How a backup of a host ended whose snapshots are no points for certain. What is unknown may be a good one."""

Ended = Callable[[str, str], Verdict | None]
"""(run, host) → how it ended there; None: it has not, or nobody knows any more."""


@dataclass(frozen=True, slots=True)
class Stray:
    """stays: why it is not removed; empty: it is."""

    snapshot: Snapshot
    unit: str
    run: str
    stays: str = ""


@dataclass(frozen=True, slots=True)
class Strays:
    found: tuple[Stray, ...] = ()
    """Oldest first."""
    foreign: int = 0
    """How many snapshots are not mainstay's: they are never touched."""
    others: int = 0
    """How many are of another state's runs: nor are these."""

    @property
    def remove(self) -> tuple[Stray, ...]:
        return tuple(one for one in self.found if not one.stays)


def strays(
    snapshots: Sequence[Snapshot],
    points: Collection[RecoveryPoint],
    ended: Ended,
    now: datetime,
    *,
    host: str,
    plan: str,
    named: Collection[str],
    repository: str,
    blocked: Mapping[Group, str],
    refused: str = "",
    maker: str = "",
) -> Strays:
    """snapshots: of this host, as the repository has them. points: all that are known of the host, removed ones and those in other
    repositories too. named: the plan's name and those that it had. blocked, refused: as of `plan_retention`; what keeps points
    keeps these. maker: id of this state; a snapshot that names another one is somebody else's."""
    known = {point.id for point in points}
    newest = _newest([one for one in points if one.plan == plan and one.repository == repository])
    found, others = list[Stray](), 0
    for one in sorted(snapshots, key=lambda one: (one.at, one.id)):
        if TAG not in one.tags or known & {one.id, one.original}:
            continue
        if unquote(one.tagged(STATE)) not in ("", maker):
            others += 1
            continue
        if unquote(one.tagged("plan")) not in named:
            continue
        source, item, run = (unquote(one.tagged(key)) for key in ("source", "item", "run"))
        unit = f"{source}/{item}" if item else source
        # Whoever can write there can date a snapshot as nobody can read it.
        at = datetime.fromisoformat(one.at) if one.at else None
        stays = refused or blocked.get((host, plan, unit), "")
        if ended(run, host) not in IN_VAIN:
            stays = "its run has not ended in vain, as far as is known"
        elif at is None:
            stays = "it has no date"
        elif now - at < OLD:
            stays = "it is younger than a day"
        elif unit not in newest or newest[unit] <= at:
            stays = "no newer point that succeeded is there"
        found.append(Stray(one, unit, run, stays))
    return Strays(tuple(found), sum(TAG not in one.tags for one in snapshots), others)


def _newest(points: Iterable[RecoveryPoint]) -> dict[str, datetime]:
    """Unit → the newest point that succeeded and is there."""
    found: dict[str, datetime] = {}
    for point in points:
        if point.removed_at is None and point.verdict is Verdict.SUCCEEDED:
            at = datetime.fromisoformat(point.at)
            found[point.unit] = max(at, found.get(point.unit, at))
    return found

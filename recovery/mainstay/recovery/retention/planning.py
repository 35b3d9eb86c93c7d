"""What retention keeps and removes of the points of a plan in a repository, and what it must not touch. Pure.

Points are grouped by (host, plan, source), never by what restic would group by: its (host, paths) splits where a path is added or
a container has another name, and then each half keeps its own, for ever. Removing is never more than the difference
between what the policy keeps and what is there; everything that is in doubt stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Group, group_of
from mainstay.recovery.freshness import PROVES
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.retention.policy import Policy, kept_by
from mainstay.recovery.words import counted, span
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.verdict import Verdict

MORE_GROUPS = 5
"""So many more groups than at the last time are never too many; beyond them, twice as many are."""
NEWEST_SUCCEEDED = "the newest that succeeded"
PROVED = "proved by a restore"


class Kept(Value):
    point: RecoveryPoint
    reasons: tuple[str, ...]
    """At least one: a rule of the policy, or why it stays without one."""


class Ignored(Value):
    """Left out of the counting, and not removed."""

    point: RecoveryPoint
    reason: str


class GroupPlan(Value):
    """Of one source of one host. keep, remove, ignored: newest first; together all that are there."""

    repository: str
    host: str
    plan: str
    source: str
    keep: tuple[Kept, ...] = ()
    remove: tuple[RecoveryPoint, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    refused: str = ""
    """Why nothing of it is removed, although the policy would."""
    would_remove: tuple[RecoveryPoint, ...] = ()
    """Where it is refused: what would go otherwise. They are all in keep."""

    @property
    def before(self) -> int:
        return len(self.keep) + len(self.remove) + len(self.ignored)

    @property
    def after(self) -> int:
        return len(self.keep) + len(self.ignored)


class RetentionPlan(Value):
    """Of one policy over one repository, ordered by host, plan and source."""

    groups: tuple[GroupPlan, ...] = ()
    refused: str = ""
    """Why nothing at all is removed."""

    @property
    def keep(self) -> tuple[Kept, ...]:
        return tuple(kept for group in self.groups for kept in group.keep)

    @property
    def remove(self) -> tuple[RecoveryPoint, ...]:
        """All that may be removed, and nothing else may."""
        return tuple(point for group in self.groups for point in group.remove)

    @property
    def ignored(self) -> tuple[Ignored, ...]:
        return tuple(ignored for group in self.groups for ignored in group.ignored)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What somebody should look at, in words."""
        said = [self.refused] if self.refused else []
        for group in self.groups:
            name = f"{group.host} {group.source}"
            said += [f"{name}: {group.refused}"] if group.refused and group.refused != self.refused else []
            said += [f"{name}: point {one.point.id[:8]} is {one.reason}" for one in group.ignored]
        return tuple(said)


def plan_retention(
    points: Iterable[RecoveryPoint],
    policy: Policy,
    now: datetime,
    *,
    zone: tzinfo,
    proofs: Iterable[Proof] = (),
    promised: int = 1,
    blocked: Mapping[Group, str] | None = None,
    append_only: bool = False,
    groups_before: int | None = None,
    skew: float = CLOCK_SKEW_MAX,
) -> RetentionPlan:
    """points: those of the policy's plan in one repository; those removed before are passed over. zone: of the plan; its days,
    weeks and months are meant. promised: nothing of a group is removed that has not so many proved points, and so many of the
    newest proved ones stay; a copy is proved with its original. blocked: as of `blocked_by`. append_only: whether who adds
    points could date them back. groups_before: how many groups there were at the last time; None: not known, or somebody has
    looked. skew: seconds that a point may be ahead of now.
    """
    groups = list(grouped(points, proofs))
    refused = _refused(policy, append_only, len(groups), groups_before)
    plans = []
    for whole, members, mine in groups:
        why = refused or (blocked or {}).get((whole.host, whole.plan, whole.source), "")
        plans.append(_of_group(whole, members, policy, (now, skew, zone), mine, promised, why))
    return RetentionPlan(groups=tuple(plans), refused=refused)


def grouped(
    points: Iterable[RecoveryPoint], proofs: Iterable[Proof]
) -> Iterator[tuple[GroupPlan, list[RecoveryPoint], set[str]]]:
    """Of each group, in order: whose it is, its points that are not removed, newest first, and the ids of the proved ones."""
    proved: set[tuple[str, str]] = set()
    for proof in proofs:
        proved |= {(proof.repository, proof.point), ("", proof.point)} if proof.verdict in PROVES else set()
    groups: dict[tuple[str, Group], dict[str, RecoveryPoint]] = {}
    for point in points:
        if point.removed_at is None:
            groups.setdefault((point.repository, group_of(point)), {})[point.id] = point
    for (repository, group), members in sorted(groups.items()):
        # restic copies what a snapshot holds as it is: what a restore of the original has shown holds for its copy
        mine = {id for id, point in members.items() if proved & {(repository, id), ("", point.copy_of or "")}}
        whole = GroupPlan(repository=repository, host=group[0], plan=group[1], source=group[2])
        newest_first = sorted(members.values(), key=lambda one: (datetime.fromisoformat(one.at), one.id), reverse=True)
        yield whole, newest_first, mine


def _refused(policy: Policy, append_only: bool, groups: int, before: int | None) -> str:
    if append_only and policy.counting:
        return (
            f"the repository is append-only, and the policy counts points ({', '.join(policy.counting)}): who can add points "
            "could date them back and push the good ones out; within: alone can't be used so"
        )
    if before is not None and groups > max(2 * before, before + MORE_GROUPS):
        return (
            f"there are {groups} groups of host and source, {before} at the last time: "
            "where the same data counts under many names, nothing of it would ever be removed"
        )
    return ""


def _of_group(
    whole: GroupPlan,
    members: list[RecoveryPoint],
    policy: Policy,
    clock: tuple[datetime, float, tzinfo],
    proved: Collection[str],
    promised: int,
    refused: str,
) -> GroupPlan:
    now, skew, zone = clock
    at = {point.id: datetime.fromisoformat(point.at) for point in members}
    latest = now + timedelta(seconds=skew)
    ignored = [
        Ignored(point=point, reason=f"dated {span((at[point.id] - now).total_seconds())} in the future")
        for point in members
        if at[point.id] > latest
    ]
    counted_ones = [point for point in members if at[point.id] <= latest]
    reasons = kept_by(policy, [at[point.id].astimezone(zone) for point in counted_ones])
    keep = {point.id: words for point, words in zip(counted_ones, reasons, strict=True)}
    keep_what_counts(keep, counted_ones, proved, max(promised, 1))
    go = [point for point in counted_ones if not keep[point.id]]
    refused = refused or _refused_group(keep, proved, promised)
    if go and refused:
        keep |= {point.id: ("retention is refused",) for point in go}
    return whole.model_copy(
        update={
            "keep": tuple(Kept(point=one, reasons=keep[one.id]) for one in counted_ones if keep[one.id]),
            "remove": () if refused else tuple(go),
            "ignored": tuple(ignored),
            "refused": refused if go else "",
            "would_remove": tuple(go) if refused else (),
        }
    )


def keep_what_counts(
    keep: dict[str, tuple[str, ...]], newest_first: Sequence[RecoveryPoint], proved: Collection[str], promised: int
) -> None:
    """A degraded point never pushes out the newest that succeeded, nor does any the newest proved ones."""
    succeeded = [point.id for point in newest_first if point.verdict is Verdict.SUCCEEDED]
    for id in succeeded[:1]:
        keep[id] += (NEWEST_SUCCEEDED,)
    for id in [point.id for point in newest_first if point.id in proved][:promised]:
        keep[id] += (PROVED,)


def _refused_group(keep: Mapping[str, tuple[str, ...]], proved: Collection[str], promised: int) -> str:
    if not any(keep.values()):
        return "all of its points would be removed"
    left = sum(1 for id, reasons in keep.items() if reasons and id in proved)
    if left < promised:
        return f"it has {counted(left, 'proved point')} of {promised:,} promised: nothing goes before a restore has proved more"
    return ""

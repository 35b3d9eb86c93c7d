"""Approval before the window: who has to say yes to a run before it may start, and what was said.

A request is bound by hash to what was put before people: the plan, the names of its hosts, the moment its window opens. Where
one of them changes, it is asked anew, and what was said before counts for nothing. It is open until the cutoff of its
window; who has not been heard by then has not said yes.

Rules: one no is enough, whoever says it. A person is a login: `anna@ops1` and `anna@ops2` are one, and the first thing that
somebody says stands. Under `two-person` two different people say yes, and whoever asked for the run is none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Json, digest
from mainstay.runner.plan import Plan
from mainstay.runner.record import Said
from mainstay.runner.request import RunRequest
from mainstay.runner.steps import rfc3339
from mainstay.schedules.openings import Opening
from mainstay.schedules.store.contract import Approval, ScheduleStore, Vote
from mainstay.schedules.timing import timing_of

NEED = {"none": 0, "required": 1, "two-person": 2}
"""`approval:` of a plan → how many people."""
PATIENCE = timedelta(hours=24)
"""For which a run is open to be approved that was asked for by hand, of a plan without a window."""
NAMED = 500
"""Hosts that a request names; all of them are in its hash."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands. have, need: people. until: RFC 3339 UTC, when it expires. by: what counts, oldest first."""

    answer: Literal["granted", "waiting", "refused"]
    have: int = 0
    need: int = 0
    until: str = ""
    reason: str = ""
    """For people; empty where no approval is needed."""
    by: tuple[Vote, ...] = field(default=())


def person(by: str) -> str:
    """Who is behind `anna@ops1`: the login, on whatever machine."""
    return by.partition("@")[0].casefold()


def standing(
    approval: Approval | None, votes: Iterable[Vote], now: datetime, *, need: int, requested_by: str = ""
) -> Standing:
    """Pure. approval: the one that stands; None where nobody was asked. votes: all of its run, also those said to another
    hash. need: of the run's own rules; requested_by: who asked for it by hand, empty for the clock."""
    if need == 0:
        return Standing("granted")
    if approval is None:
        return Standing("waiting", 0, need, "", _lacking(0, need))
    counting = _counting(approval, votes)
    for vote in counting:
        if vote.says == "no":
            why = f": {vote.reason}" if vote.reason else ""
            said = f"not approved: {vote.by} said no on {vote.at}{why}"
            return Standing("refused", 0, need, approval.expires_at, said, counting)
    own = person(requested_by or approval.requested_by)
    yes = tuple(vote for vote in counting if need < 2 or not own or person(vote.by) != own)
    if len(yes) >= need:
        reason = f"approved by {' and '.join(vote.by for vote in yes[:need])}"
        return Standing("granted", len(yes), need, approval.expires_at, reason, yes)
    if rfc3339(now) >= approval.expires_at:
        reason = f"not approved by {approval.expires_at}: {_lacking(len(yes), need)}"
        return Standing("refused", len(yes), need, approval.expires_at, reason, yes)
    return Standing("waiting", len(yes), need, approval.expires_at, _lacking(len(yes), need), yes)


def _counting(approval: Approval, votes: Iterable[Vote]) -> tuple[Vote, ...]:
    """The first of each person, said to this very request before it expired."""
    first: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda one: one.at):
        if vote.hash == approval.hash and vote.at < approval.expires_at:
            first.setdefault(person(vote.by), vote)
    return tuple(first.values())


def _lacking(have: int, need: int) -> str:
    return f"{have} of {need} people have approved it" if need > 1 else "nobody has approved it"


def bound_to(plan_hash: str, hosts: Iterable[str], starts_at: str) -> str:
    """What an approval is given to. starts_at: of the opening; empty where there is none."""
    return digest({"plan": plan_hash, "hosts": sorted(hosts), "starts_at": starts_at})


@dataclass(frozen=True, slots=True)
class Due:
    """An occurrence that is known, and has no run yet. run: the id that it will have."""

    run: str
    plan: Plan
    hosts: Sequence[str]
    opening: Opening


def refresh(store: ScheduleStore, due: Iterable[Due], now: datetime) -> list[Approval]:
    """Ask for what needs an approval. Again, or in two processes at once, is the same; what has changed since is asked
    anew. Returns the requests that stand for these occurrences."""
    asked = []
    for one in due:
        need = NEED[one.plan.approval]
        if not need or one.opening.cutoff_at <= now:
            continue
        starts_at = rfc3339(one.opening.starts_at)
        hash = bound_to(one.plan.hash(), one.hosts, starts_at)
        there = store.approval(one.run)
        if there is None or there.hash != hash:
            preview = _preview(one.plan.hash(), one.plan.targets, one.hosts, one.opening)
            there = Approval(
                run=one.run,
                hash=hash,
                plan=one.plan.name,
                need=need,
                asked_at=rfc3339(now),
                expires_at=rfc3339(one.opening.cutoff_at),
                preview=preview,
            )
            store.ask(there)
        asked.append(there)
    return asked


def ask(store: ScheduleStore, request: RunRequest, now: datetime, *, opening: Opening | None = None) -> Approval:
    """For a run that exists, or is about to. opening: that it waits for, where it was asked for by hand; without one it is
    open for PATIENCE. Again is the same. Raises ValueError where its plan needs no approval."""
    timing = timing_of(request)
    need = NEED[timing.rules.approval]
    if not need:
        raise ValueError(f"plan {request.plan} needs no approval")
    names, at = [host.name for host in request.hosts], timing.occurrence
    starts_at = at.at if at else rfc3339(opening.starts_at) if opening else ""
    hash = bound_to(request.site.plan_hash, names, starts_at)
    there = store.approval(request.id)
    if there is not None and there.hash == hash:
        return there
    preview = _preview(request.site.plan_hash, str(request.operation.get("targets", "")), names, opening)
    if at is not None:
        preview |= {"window": at.window, "zone": at.zone, "starts_at": at.at, "ends_at": at.ends_at}
    expires_at = at.cutoff_at if at else rfc3339(opening.cutoff_at if opening else now + PATIENCE)
    asked = Approval(
        run=request.id,
        hash=hash,
        plan=request.plan,
        need=need,
        asked_at=rfc3339(now),
        expires_at=expires_at,
        requested_by="" if at else request.requested_by,
        preview=preview | ({"reason": request.reason} if request.reason else {}),
    )
    store.ask(asked)
    return asked


def of_run(store: ScheduleStore, request: RunRequest, now: datetime, opening: Opening | None = None) -> Standing:
    """What the gate asks: how the approval of this very run stands now. Asks for it where nobody has; opening: see `ask`."""
    timing = timing_of(request)
    need = NEED[timing.rules.approval]
    if not need:
        return Standing("granted")
    if timing.occurrence is None:
        before = store.approval(request.id)
        said = standing(before, store.votes(request.id), now, need=need)
        if said.answer == "refused":  # for good: the next opening is not asked about
            return said
    approval = ask(store, request, now, opening=opening)
    return standing(approval, store.votes(request.id), now, need=need, requested_by=approval.requested_by)


def say(
    store: ScheduleStore, approval: Approval, *, by: str, says: Literal["yes", "no"], reason: str, now: datetime
) -> Standing:
    """Somebody's word. Raises Refused where it does not count, and says why. Returns how the request stands with it."""
    before = standing(approval, store.votes(approval.run), now, need=approval.need)
    if before.answer == "refused":
        raise Refused(f"Run {approval.run} can't be approved or rejected any more: {before.reason}.")
    if approval.need > 1 and says == "yes" and person(approval.requested_by) == person(by) != "":
        hint = "Under two-person two others say yes; a login on another machine is the same person."
        raise Refused(f"{by} asked for run {approval.run}, and nobody approves their own.", hint=hint)
    earlier = [vote for vote in _counting(approval, store.votes(approval.run)) if person(vote.by) == person(by)]
    if earlier:
        hint = "What somebody says first stands. Another one can reject it; once it runs: mainstay runs cancel"
        raise Refused(f"{earlier[0].by} has said {earlier[0].says} to run {approval.run} already.", hint=hint)
    vote = Vote(run=approval.run, hash=approval.hash, by=by, at=rfc3339(now), says=says, reason=reason)
    store.vote(vote)
    return standing(approval, store.votes(approval.run), now, need=approval.need)


def said(store: ScheduleStore, request: RunRequest) -> list[Said]:
    """For the record: what was said to the request that stood at the end. Oldest first."""
    approval = store.approval(request.id)
    votes = () if approval is None else _counting(approval, store.votes(request.id))
    return [Said(at=vote.at, by=vote.by, says=vote.says, reason=vote.reason) for vote in votes]


def _preview(plan_hash: str, targets: str, hosts: Sequence[str], opening: Opening | None) -> Json:
    shown: Json = {"targets": targets, "hosts": sorted(hosts)[:NAMED], "count": len(hosts), "plan_hash": plan_hash}
    if opening is not None:
        shown |= {
            "window": opening.window,
            "zone": opening.zone,
            "starts_at": rfc3339(opening.starts_at),
            "ends_at": rfc3339(opening.ends_at),
        }
    return shown

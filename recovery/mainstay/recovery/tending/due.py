"""What of a plan's errands is due, and the run that does it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mainstay.inventory.amounts import Share
from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import PointStore, Tended, Tending
from mainstay.recovery.proofs_due import due_at
from mainstay.recovery.tending.errand import CANCELLED, FAILED, OF_POINTS, subject_of
from mainstay.runner.plan import WaveSpec
from mainstay.runner.request import Asking, RunRequest, plan_request

RETENTION_EVERY = 86400.0

Task = tuple[str, str, str, str]
"""(what, repository, whose, plan): what is done once, whichever host or plan it is asked for in the name of."""
_ALL = Share(percent=100)


@dataclass(frozen=True, slots=True)
class Due:
    """hosts: those for which it is due, in the order given; of a shared repository one of them."""

    what: Tending
    repository: str
    hosts: tuple[Host, ...]


def task(plan: BackupPlan, what: Tending, repository: str, host: str) -> Task:
    mine = subject_of(what, plan.repositories[repository], host)
    return what, repository, mine, plan.name if what in OF_POINTS else ""


def due(
    plan: BackupPlan,
    hosts: Sequence[Host],
    store: PointStore,
    now: datetime,
    is_open: Callable[[str], bool] = lambda window: True,
    busy: Collection[Task] = (),
) -> Iterator[Due]:
    """A host counts once it has a point. is_open: whether a window (by name) is open now: copies begin only in theirs. busy:
    what a run in flight is asked to do already."""
    there = {point.host for point in store.newest(hosts=[host.name for host in hosts], plan=plan.name)}
    done: dict[Task, list[Tended]] = {}
    names = {plan.repository, *(one.to for one in plan.copies)}
    for one in (one for name in sorted(names) for one in store.tended(repository=name)):
        done.setdefault((one.what, one.repository, one.host, one.subject), []).append(one)
    for what, repository, every in _wanted(plan, is_open):
        found: dict[Task, Host] = {}
        for host in hosts:
            mine = task(plan, what, repository, host.name)
            if host.name not in there or mine in found or mine in busy:
                continue
            if _is_due(done.get(mine, ()), every, now):
                found[mine] = host
        if found:
            yield Due(what, repository, tuple(found.values()))


def _wanted(plan: BackupPlan, is_open: Callable[[str], bool]) -> Iterator[tuple[Tending, str, float]]:
    places = [plan.repository, *(one.to for one in plan.copies)]
    for one in plan.copies:
        if one.window is None or is_open(one.window):
            yield "copy", one.to, one.every
    for place in places:
        keeps_all = any(one.to == place and one.keep == "all" for one in plan.copies)
        if plan.retention is not None and not keeps_all:
            yield "retention", place, RETENTION_EVERY
        yield "prune", place, plan.prune.every
        yield "check", place, plan.verify.every


def _is_due(done: Sequence[Tended], every: float, now: datetime) -> bool:
    """What went wrong is tried again after a delay that grows; what was called off, at its next time."""
    past = [(at.timestamp(), one) for one in done if (at := datetime.fromisoformat(one.at)) <= now]
    last = max((at for at, one in past if one.part != FAILED), default=None)
    failed = [(at, one) for at, one in past if one.part == FAILED and (last is None or at > last)]
    tried, tries = max(((at, max(one.tries, 1)) for at, one in failed), default=(None, 0))
    return due_at(every, last, tried, tries) <= now.timestamp()


def put_off(noted: Iterable[Tended], every: float, now: datetime) -> bool:
    """Whether something that is due by other measures is not to be begun yet: it was called off less than `every` (seconds) ago,
    or its run broke off, and the delay after that is not over. noted: of that alone."""
    past = [(datetime.fromisoformat(one.at).timestamp(), one) for one in noted]
    past = [(at, one) for at, one in past if at <= now.timestamp()]
    last = max((at for at, one in past if one.part not in (CANCELLED, FAILED)), default=0.0)
    until = [at + every for at, one in past if one.part == CANCELLED and at > last]
    until += [due_at(every, None, at, max(one.tries, 1)) for at, one in past if one.part == FAILED and at > last]
    return any(at > now.timestamp() for at in until)


def errand_request(
    plan: BackupPlan, what: Tending, repository: str, hosts: Sequence[Host], asking: Asking
) -> RunRequest:
    """All hosts at once, none stops the others, whatever the plan says of its backups; no hooks and no health checks: nothing is
    sent to a host."""
    request = plan_request(plan, hosts, asking)
    careful = request.careful.model_copy(
        update={
            "before": (),
            "after": (),
            "health": (),
            "waves": (WaveSpec(size=_ALL),),
            "budget": _ALL,
            "strict_budget": False,
            "strict": False,
            "unreachable": _ALL,
        }
    )
    return request.model_copy(
        update={
            "kind": what,
            "operation": {"plan": request.operation, "repository": repository},
            "careful": careful,
            "errand": True,
            "window": None,
            "shares": {f"repository {repository}": plan.repositories[repository].parallel},
            "maintenance_type": "preventive",
        }
    )

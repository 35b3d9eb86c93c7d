"""Places: how many hosts may be in flight together, over all runs of a state, and who has to wait for whom.

A host takes one place in every scope that it counts in, or none at all: nobody waits while holding what another waits
for. It keeps them from its admission until its part is recorded, whatever becomes of the process in between. A host that
ends as unknown keeps them until it is reconciled or its run ends: something may still be going on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mainstay.inventory.host import Host
from mainstay.inventory.limits import reach
from mainstay.runner.request import RunRequest
from mainstay.runner.state.contract import State
from mainstay.runner.verdict import Verdict

SITE, HOST, ERRAND, SHARE = "site", "host:", "errand:", "share:"
Holder = tuple[str, str]
"""(run, host)"""
Held = Mapping[str, list[Holder]]
"""As `State.slots` tells it."""


def scopes(request: RunRequest, host: Host) -> dict[str, int]:
    """scope → how many places it has, of every scope that the host counts in. It counts in itself: of two runs that want
    the same host, the second waits."""
    if request.errand:  # nothing is sent to the host, and what goes on there does not matter
        return {f"{ERRAND}{host.name}": 1, **_shares(request)}
    found = {f"{HOST}{host.name}": 1, **_shares(request)}
    found |= {SITE: request.limits.parallel} if request.limits.parallel else {}
    for tag, most in request.limits.spread.items():
        if tag in host.tags:
            found[f"tag:{tag}={host.tags[tag]}"] = most
    for tag, most in request.careful.spread.items():
        if tag in host.tags:
            found[f"plan:{request.plan}:{tag}={host.tags[tag]}"] = most
    return found


def _shares(request: RunRequest) -> dict[str, int]:
    return {f"{SHARE}{name}": most for name, most in request.shares.items()}


def spread_over(request: RunRequest) -> tuple[str, ...]:
    """The tags over whose values hosts are spread, sorted."""
    return tuple(sorted({*request.careful.spread, *request.limits.spread}))


def width(request: RunRequest, hosts: Iterable[str], parallel: int) -> int:
    """How many of these hosts can be in flight at once under the run's own limits, at most `parallel`: more would only wait."""
    site, own = request.limits, request.careful.spread
    most = parallel
    if site.spread or own:
        names = frozenset(hosts)
        most = reach([host for host in request.hosts if host.name in names], [site.spread, own])
    return max(1, min(parallel, site.parallel or parallel, most))


def limits_in_words(request: RunRequest) -> tuple[str, ...]:
    """`2 hosts with the same rack in the whole site`, one text for each limit beside `parallel`."""
    site = request.limits
    found = [f"{_hosts(site.parallel)} in the whole site"] if site.parallel else []
    found += [f"{_hosts(most)} with the same {tag} in the whole site" for tag, most in sorted(site.spread.items())]
    own = sorted(request.careful.spread.items())
    return (*found, *(f"{_hosts(most)} with the same {tag} in this plan" for tag, most in own))


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def in_words(scope: str) -> str:
    """`rack=r1`, `the site`."""
    if scope == SITE:
        return "the site"
    for kind in ("tag:", SHARE, ERRAND):
        if scope.startswith(kind):
            return scope.removeprefix(kind)
    return scope.split(":", 2)[2]


def full(held: Held, wanted: Mapping[str, int], mine: Holder) -> list[str]:
    """Those of the scopes in which no place is free; none for one who has its places already."""
    if any(mine in holders for holders in held.values()):
        return []
    return [scope for scope, most in wanted.items() if len(held.get(scope, [])) >= most]


def waiting_for(held: Held, scope: str, run: str) -> str:
    """`waiting for a place in rack=r1 (web3 of run 01J…)`."""
    if scope.startswith(HOST):
        return f"waiting for run {held[scope][0][0]}, which works on it" if held.get(scope) else "waiting for its turn"
    names = [host if of == run else f"{host} of run {of}" for of, host in held.get(scope, [])]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"waiting for a place in {in_words(scope)} ({', '.join(names[:2])}{more})"


def never(state: State, held: Held, scope: str, run: str) -> str:
    """Why no place in this full scope will become free for this run; empty where one may.

    It is so where only hosts that ended as unknown hold them, and not all of those runs began before this one: runs that
    wait for the end of earlier ones alone can't wait for each other.
    """
    holders = held.get(scope, [])
    outcomes = {of: state.outcomes(of, {Verdict.UNKNOWN}) for of in {of for of, _ in holders}}
    if not holders or any(outcomes[of].get(host) is not Verdict.UNKNOWN for of, host in holders):
        return ""
    if all(of < run for of, _ in holders):
        return ""
    if scope.startswith(HOST):
        return f"it is unknown since run {holders[0][0]}, which has not ended"
    who = ", ".join(host if of == run else f"{host} of run {of}" for of, host in holders)
    return f"no place left in {in_words(scope)}: {who} {'is' if len(holders) == 1 else 'are'} unknown"


def give_back(state: State, request: RunRequest, host: Host, verdict: Verdict) -> None:
    """The host's part is recorded. Idempotent."""
    if verdict is not Verdict.UNKNOWN:
        state.free_slots(request.id, host.name)

"""When a rollout stops. Pure: from how its hosts ended so far."""

from __future__ import annotations

from collections.abc import Mapping

from mainstay.runner.plan import Carefulness
from mainstay.runner.verdict import Verdict

FAILURES = frozenset({Verdict.FAILED, Verdict.ROLLED_BACK, Verdict.UNKNOWN})
"""What uses up the budget. Refused hosts don't: nothing was touched there."""


def stop_reason(
    plan: Carefulness,
    outcomes: Mapping[str, Verdict],
    *,
    total: int,
    wave: int,
    wave_over: bool,
    unreachable: int,
    asked: int | None = None,
) -> str:
    """Why nothing new may start; empty where it may.

    outcomes: of all hosts of the rollout that have ended. total: hosts in the rollout. wave: number of the wave that is
    under way (or has just ended: wave_over). unreachable: hosts refused because they could not be reached, at the start
    or when their turn came. asked: hosts of the run, also those with nothing to do, which a share of them away is of.
    """
    failed = sum(verdict in FAILURES for verdict in outcomes.values())
    tolerated = plan.budget.of(total)
    if wave == 1 and failed and plan.prove_first:
        return "stopped in wave 1, which has to be green"
    if failed > tolerated:
        return f"stopped in wave {wave}: {failed} failed, {tolerated} tolerated"
    away = plan.unreachable.of(total if asked is None else asked)
    if unreachable > away:
        return f"stopped in wave {wave}: {unreachable} unreachable, {away} tolerated"
    if wave_over and plan.strict and Verdict.DEGRADED in outcomes.values():
        return f"stopped after wave {wave}: a host is degraded and the plan is strict"
    return ""


def worst_case(plan: Carefulness, waves: list[int]) -> int:
    """How many hosts can fail before the rollout has stopped, at the most. waves: their sizes."""
    if not waves:
        return 0
    in_flight = min(plan.parallel, max(waves))
    total = sum(waves)
    later = plan.budget.of(total) + (1 if plan.strict_budget else in_flight)
    first = min(plan.parallel, waves[0])
    return min(total, first if len(waves) == 1 else max(first, later))


def room(plan: Carefulness, outcomes: Mapping[str, Verdict], *, total: int) -> int:
    """How many hosts may be in flight now: `parallel`, or under strict_budget what is left of the budget + 1."""
    if not plan.strict_budget:
        return plan.parallel
    failed = sum(verdict in FAILURES for verdict in outcomes.values())
    return max(1, min(plan.parallel, plan.budget.of(total) - failed + 1))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.runner.budget import FAILURES, room, stop_reason, worst_case
from mainstay.runner.plan import Carefulness
from mainstay.runner.verdict import Verdict


def plan(**more: object) -> Carefulness:
    return Carefulness.model_validate(more)


def outcomes(*verdicts: Verdict) -> dict[str, Verdict]:
    return {f"h{number}": verdict for number, verdict in enumerate(verdicts)}


def stopped(careful: Carefulness, ended: dict[str, Verdict], **more: object) -> str:
    defaults: dict[str, object] = {"total": 10, "wave": 2, "wave_over": False, "unreachable": 0}
    return stop_reason(careful, ended, **{**defaults, **more})  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize("bad", sorted(FAILURES))
def test_budget_is_the_number_tolerated_and_the_next_one_stops(bad: Verdict) -> None:
    assert not stopped(plan(budget=1), outcomes(bad))
    assert "2 failed, 1 tolerated" in stopped(plan(budget=1), outcomes(bad, bad))


def test_budget_counts_over_the_whole_rollout_not_a_wave() -> None:
    assert stopped(plan(budget=1), outcomes(Verdict.FAILED, Verdict.SUCCEEDED, Verdict.UNKNOWN), wave=7)


def test_a_share_of_the_hosts_as_budget() -> None:
    assert not stopped(plan(budget="10%"), outcomes(Verdict.FAILED), total=10)
    assert stopped(plan(budget="10%"), outcomes(Verdict.FAILED, Verdict.FAILED), total=10)


def test_first_wave_has_to_be_green_whatever_the_budget() -> None:
    assert "wave 1" in stopped(plan(budget=5), outcomes(Verdict.ROLLED_BACK), wave=1)


def test_refused_hosts_are_not_counted() -> None:
    assert not stopped(plan(), outcomes(Verdict.REFUSED, Verdict.REFUSED))


def test_degraded_hosts_pass_unless_the_plan_is_strict() -> None:
    assert not stopped(plan(), outcomes(Verdict.DEGRADED), wave_over=True)
    assert "strict" in stopped(plan(strict=True), outcomes(Verdict.DEGRADED), wave_over=True)
    assert not stopped(plan(strict=True), outcomes(Verdict.DEGRADED), wave_over=False)


def test_hosts_that_are_away_have_a_budget_of_their_own() -> None:
    assert not stopped(plan(unreachable=1), outcomes(), unreachable=1)
    assert "2 unreachable, 1 tolerated" in stopped(plan(unreachable=1), outcomes(), unreachable=2)


@given(
    budget=st.integers(0, 5),
    parallel=st.integers(1, 6),
    strict=st.booleans(),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    fails=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_worst_case_holds_whoever_fails(
    budget: int, parallel: int, strict: bool, sizes: list[int], fails: list[bool]
) -> None:
    """Play the rollout host by host: never more failures than were announced before it began."""
    careful = plan(budget=budget, parallel=parallel, strict_budget=strict)
    total, fate = sum(sizes), iter(fails)
    ended: dict[str, Verdict] = {}
    for wave, size in enumerate(sizes, 1):
        left = size
        while left and not stop_reason(careful, ended, total=total, wave=wave, wave_over=False, unreachable=0):
            flying = min(left, room(careful, ended, total=total))
            for _ in range(flying):
                ended[f"h{len(ended)}"] = Verdict.FAILED if next(fate) else Verdict.SUCCEEDED
            left -= flying
        if stop_reason(careful, ended, total=total, wave=wave, wave_over=True, unreachable=0):
            break
    failed = sum(verdict is Verdict.FAILED for verdict in ended.values())
    assert failed <= worst_case(careful, sizes)

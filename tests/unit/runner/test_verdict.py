from hypothesis import given
from hypothesis import strategies as st

from mainstay.runner.verdict import EXIT_CODES, WORST_FIRST, Verdict, of_run

S, D, F, R, B, C, U = (
    Verdict.SUCCEEDED,
    Verdict.DEGRADED,
    Verdict.FAILED,
    Verdict.REFUSED,
    Verdict.ROLLED_BACK,
    Verdict.CANCELLED,
    Verdict.UNKNOWN,
)


def test_the_worst_host_decides() -> None:
    assert of_run([S, S]) is S
    assert of_run([S, D]) is D
    assert of_run([B, C, C]) is B
    assert of_run([F, B, D]) is F
    assert of_run([F, U, S]) is U


def test_a_refused_host_keeps_a_run_from_being_green() -> None:
    assert of_run([S, R]) is D
    assert of_run([F, R]) is F


def test_all_refused_is_refused_and_so_is_nobody() -> None:
    assert of_run([R, R]) is R
    assert of_run([]) is R


@given(st.lists(st.sampled_from(list(Verdict)), max_size=12))
def test_green_only_when_every_host_is(verdicts: list[Verdict]) -> None:
    assert (of_run(verdicts) is S) == (bool(verdicts) and set(verdicts) == {S})


def test_every_verdict_has_an_exit_code_and_only_green_is_0() -> None:
    assert set(EXIT_CODES) == set(Verdict)
    assert [verdict for verdict, code in EXIT_CODES.items() if code == 0] == [S]
    assert set(WORST_FIRST) == set(Verdict) - {Verdict.REFUSED, Verdict.MISSED}

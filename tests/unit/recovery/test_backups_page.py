"""What docs/reference/backups.md says of verdicts, freshness and retention is so."""

from __future__ import annotations

from pathlib import Path

from mainstay.recovery.anomalies import ENOUGH_FILES
from mainstay.recovery.expectations import LEAST_RESTIC, Expectations
from mainstay.recovery.judging import KEPT, NAMED
from mainstay.recovery.proofs_due import FIRST_RETRY, SPARE
from mainstay.recovery.retention.planning import MORE_GROUPS
from mainstay.recovery.retention.policy import Policy
from mainstay.runner.preflight import CLOCK_SKEW_MAX

PAGE = " ".join((Path(__file__).parents[3] / "docs/reference/backups.md").read_text().split())


def test_every_rule_of_retention_is_described() -> None:
    assert [key for key in Policy.model_fields if f"`{key}`" not in PAGE] == []


def test_the_numbers_are_those_of_the_code() -> None:
    usual = Expectations()
    assert f"older than {'.'.join(map(str, LEAST_RESTIC))}" in PAGE
    assert f"{usual.drop:g} % (`drop`)" in PAGE
    assert f"last {usual.history} (`history`)" in PAGE
    assert f"{usual.changed:g} % (`changed`)" in PAGE
    assert f"{usual.usually:g} % (`usually`)" in PAGE
    assert (ENOUGH_FILES, "fewer than ten files" in PAGE) == (10, True)
    assert (NAMED, f"five are named in the reason, {KEPT} in the record" in PAGE) == (5, True)
    assert (CLOCK_SKEW_MAX, "more than five minutes ahead" in PAGE) == (300, True)
    assert (MORE_GROUPS, "more than five more" in PAGE) == (5, True)
    assert (FIRST_RETRY, "again in 1 h" in PAGE) == (3600, True)
    assert (round(1 / SPARE), "one turn in seven" in PAGE) == (7, True)

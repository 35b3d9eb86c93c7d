"""What is asserted of a restored database: each of the three, held and not."""

from __future__ import annotations

import pytest

from mainstay.recovery.proving.asserting import SKEW, Check, judge
from mainstay.runner.preflight import CLOCK_SKEW_MAX

AT = "2026-11-22T02:00:00Z"
MADE_AT = "2026-11-22T03:00:00Z"


@pytest.mark.parametrize(
    ("asserted", "answer", "why"),
    [
        ({"equals": "1000"}, "1000", ""),
        ({"equals": "1000"}, "999", "is '999' instead of '1000'"),
        ({"equals": "1000"}, None, "gave nothing"),
        ({"at_least": 10.0}, "10", ""),
        ({"at_least": 10.0}, "9.5", "is 9.5, less than 10"),
        ({"at_least": 10.0}, "nan", "which is no number"),
        ({"at_least": 10.0}, "many", "which is no number"),
        ({"newer_than": 7200.0}, "2026-11-22 00:00:00+00", ""),
        ({"newer_than": 7200.0}, "2026-11-22 00:00:00", ""),
        ({"newer_than": 7200.0}, "2026-11-22 01:00:00+01", ""),
        ({"newer_than": 7200.0}, "2026-11-21 23:59:59.9+00", "stale: "),
        ({"newer_than": 7200.0}, "1795305600", ""),
        ({"newer_than": 7200.0}, "1795305599", "stale: "),
        ({"newer_than": 7200.0}, "yesterday", "which is no time"),
        ({"newer_than": 7200.0}, None, "gave nothing"),
        ({"newer_than": 7200.0}, "infinity", "which is no time"),
        # What came in while it was being taken, by a clock that is a little ahead.
        ({"newer_than": 7200.0}, "2026-11-22 03:05:00+00", ""),
        (
            {"newer_than": 7200.0},
            "2026-11-22 03:05:00.1+00",
            "from the future: `select 1` is 2026-11-22 03:05:00.1+00, ",
        ),
        ({"newer_than": 7200.0}, "2099-01-01 00:00:00+00", "after the point was complete (2026-11-22T03:00:00Z)"),
        ({"newer_than": 7200.0}, "4070908800", "26337 d after the point was complete"),
    ],
)
def test_what_holds_and_what_does_not(asserted: dict[str, str | float], answer: str | None, why: str) -> None:
    said = judge(Check("db", "app", "select 1", **asserted), answer, AT, MADE_AT)  # type: ignore[arg-type]  # one of three
    assert (why in said and said != "") if why else said == ""


def test_a_time_of_another_zone_that_looks_like_the_future_is_explained() -> None:
    check = Check("db", "app", "select 1", newer_than=7200.0)
    naive, aware = (judge(check, f"2026-11-22 04:00:00{zone}", AT, MADE_AT) for zone in ("", "+00"))
    assert "a time without a zone is taken for UTC" in naive and "5 min are allowed" in naive
    assert "without a zone" not in aware and "5 min are allowed" in aware
    assert "without a zone" not in judge(check, "2026-11-22 17:30:00", AT, MADE_AT), "no clock is so far ahead of UTC"


def test_a_point_whose_end_is_before_its_beginning_or_not_known_ends_when_it_began() -> None:
    check = Check("db", "app", "select 1", newer_than=7200.0)
    for made_at in ("", "2026-11-22T01:00:00Z"):
        assert judge(check, "2026-11-22 02:05:00", AT, made_at) == ""
        assert "from the future" in judge(check, "2026-11-22 02:05:01", AT, made_at)


def test_clocks_may_differ_as_much_as_a_hosts_may() -> None:
    """The tool has none of what that is said in."""
    assert SKEW == CLOCK_SKEW_MAX

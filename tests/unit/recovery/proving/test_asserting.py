"""What is asserted of a restored database: each of the three, held and not."""

from __future__ import annotations

import pytest

from mainstay.recovery.proving.asserting import Check, judge

AT = "2026-11-22T02:00:00Z"


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
    ],
)
def test_what_holds_and_what_does_not(asserted: dict[str, str | float], answer: str | None, why: str) -> None:
    said = judge(Check("db", "app", "select 1", **asserted), answer, AT)  # type: ignore[arg-type]  # one of three
    assert (why in said and said != "") if why else said == ""

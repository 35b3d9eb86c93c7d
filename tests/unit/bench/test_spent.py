"""Where a rollout's time is said to have gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bench.spent import length, spent

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def step(name: str, start: float, end: float) -> dict[str, str]:
    moment = [(BEGAN + timedelta(seconds=at)).isoformat() for at in (start, end)]
    return {"name": name, "started_at": moment[0], "finished_at": moment[1]}


def record(*hosts: list[dict[str, str]]) -> dict[str, Any]:
    return {"hosts": [{"host": f"h{n}", "steps": steps} for n, steps in enumerate(hosts)]}


def test_a_union_counts_what_overlaps_once() -> None:
    assert length([(5, 6), (0, 2), (1, 3), (1.5, 2)]) == 4
    assert length([]) == 0


def test_what_no_host_was_maintained_in_is_mainstays_own() -> None:
    one = [step("admit", 1, 2), step("probe", 2, 3), step("apply", 3, 6)]
    two = [step("preflight", 5, 7), step("undo.apply", 8, 9), step("note", 9, 9.5)]
    found = spent(record(one, two), 10, BEGAN.timestamp())
    assert (found.maintained, found.asked, found.between) == pytest.approx((4, 2, 1))
    assert (found.start, found.end) == pytest.approx((2, 1)), "admit and note ask nothing of a host"
    assert (found.own, found.idle) == pytest.approx((0.6, 0.4))
    assert found.steps["apply"] == pytest.approx((4, 4))

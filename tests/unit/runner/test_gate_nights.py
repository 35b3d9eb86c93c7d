"""A plan in two nights of every sort: what begins, begins in its window, and what was left is carried over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.runner.test_rollout import part
from tests.unit.runner.timely import HOUR, Timely, hooked

from mainstay.runner import asking
from mainstay.runner.phases import prepare
from mainstay.runner.plan import Hook
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.verdict import Verdict
from mainstay.schedules.turns import first_in_line
from mainstay.schedules.windows import Window

PAST_ITS_CUTOFF = {
    "start": 0,
    "length": 240,
    "cutoff": 50,
    "minute": 5,
    "takes": [60, 90, 10],
    "overrun": 30,
    "frozen": (1000, 1),
    "parallel": 1,
    "queued": False,
    "slow": 0,
}
"""The third host's turn comes when there is time left for it, and the cutoff has passed."""
MINUTES = st.integers(1, 240)
CASES = st.fixed_dictionaries(
    {
        "start": st.integers(0, 23),
        "length": st.integers(10, 400),
        "cutoff": st.integers(0, 99),
        "minute": st.integers(0, 1440),
        "takes": st.lists(MINUTES, min_size=1, max_size=5),
        "overrun": st.integers(0, 60),
        "frozen": st.tuples(st.integers(0, 1440), MINUTES),
        "parallel": st.integers(1, 3),
        "queued": st.booleans(),
        "slow": st.integers(0, 30),
    }
)


def _play(case: dict[str, Any]) -> None:
    """A plan in two nights; what its hosts took in the first is known to the gate in the second. slow: minutes that
    draining takes, 0: there are no hooks. cutoff: percent of the window."""
    rule = {"name": "w", "rrule": "FREQ=DAILY", "start": f"{case['start']:02}:00", "timezone": "UTC"}
    cutoff = case["length"] * case["cutoff"] // 100
    window = Window.model_validate({**rule, "duration": f"{case['length']}m", "cutoff": f"{cutoff}m"})
    names = " ".join(f"w{n}" for n in range(len(case["takes"])))
    plan = {"waves": [1, "100%"], "parallel": case["parallel"], "overrun": f"{case['overrun']}m", "budget": 9}
    world = Timely(names, "10 00:00", window, **plan)
    if case["slow"]:
        hooked(world)
        whole = world.upkeep.hook

        def drain(work: Any, hook: Hook) -> Any:
            world.clock.advance(case["slow"] * 60)
            return whole(work, hook)

        world.upkeep.hook = drain  # type: ignore[method-assign]  # draining takes its time
    since = world.clock.now() + timedelta(minutes=case["frozen"][0])
    world.around.freezes = [("f", None, since, since + timedelta(minutes=case["frozen"][1]))]
    world.clock.advance(case["minute"] * 60)
    for name, spent in zip(names.split(), case["takes"], strict=True):
        world.spends(name, spent * 60.0)
    with patch.object(asking, "LATE", 300.0), patch.object(prepare, "LATE", 300.0):
        _two_nights(world, window, timedelta(minutes=case["overrun"]), queued=case["queued"])


@settings(max_examples=15, deadline=None)
@example(PAST_ITS_CUTOFF)
@example({**PAST_ITS_CUTOFF, "start": 23, "length": 110, "cutoff": 99, "frozen": (311, 144), "queued": True})
@given(CASES)
def test_no_change_begins_outside_the_window_or_past_its_cutoff_and_no_overrun_goes_unsaid(
    case: dict[str, Any],
) -> None:
    _play(case)


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(CASES)
def test_no_change_ever_begins_outside_the_window(case: dict[str, Any]) -> None:
    _play(case)


def _two_nights(world: Timely, window: Window, overrun: timedelta, *, queued: bool) -> None:
    for night in (1, 2):
        for machine in world.machines.values():
            machine.offers["openssl"] = str(night + 1)
        world.began.clear()
        record = world.go(world.asked(queued=queued, first=first_in_line(world.around.store, "patch-web")))
        for one in record.hosts:
            _check(world, window, one.host, record, overrun)
        carried = set(first_in_line(world.around.store, "patch-web"))
        assert {one.host for one in record.hosts if "carried over" in one.reason} <= carried
        worked = {one.host for one in record.hosts if one.verdict in (Verdict.SUCCEEDED, Verdict.DEGRADED)}
        assert not worked & carried, "who had its turn is not first any more"
        assert record.summary.verdict in ("succeeded", "degraded", "refused")
        world.clock.advance(24 * HOUR)


def _check(world: Timely, window: Window, host: str, record: MaintenanceRecord, overrun: timedelta) -> None:
    found = part(record, host)
    changes = [step for step in found.steps if step.name == "apply.launch"]
    if not changes:
        assert found.verdict is Verdict.REFUSED and found.reason
        assert not world[host].there.lock.run
        return
    began = world.began[host]
    opened = began.replace(hour=int((window.start or "0")[:2]), minute=0, second=0, microsecond=0)
    opened -= timedelta(days=1) if opened > began else timedelta(0)
    end = opened + timedelta(seconds=window.length)
    assert opened <= began < end - timedelta(seconds=window.cutoff), "it began in its window, before the cutoff"
    frozen = world.around.freezes[0]
    assert not frozen[2] <= began < frozen[3], "and in no freeze"
    if datetime.fromisoformat(found.steps[-1].finished_at) > end + overrun + timedelta(minutes=1):
        assert found.verdict is Verdict.DEGRADED and "overrun" in found.reason

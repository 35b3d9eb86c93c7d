"""What a drill is asked to prove, and what is refused by name before there is a run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.recovery.points import NOW, before, point

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.proving.order import DrillOrder, drill_request
from mainstay.runner.request import Asking, RunRequest

WEB1 = Host(name="web1", address="192.0.2.1")


def request(prove: dict[str, Any] | None, *, points: int = 2, sources: tuple[str, ...] = ()) -> RunRequest:
    """Of a plan whose newest points are that many days old, from one on."""
    plan = BackupPlan.model_validate(
        {
            "name": "nightly",
            "targets": "all",
            "maintenance_type": "preventive",
            "repository": "main",
            "sources": {"etc": {"paths": "/etc"}},
            "prove": prove,
        }
    )
    store = MemoryPoints()
    for days in range(points):
        store.add_point(point(before(days=days + 1)))
    return drill_request(plan, [WEB1], Asking("anna", NOW.isoformat()), store, sources=sources)


def test_the_newest_point_is_asked_for_and_no_host_is_sent_anything() -> None:
    asked = request({"on": "controller"})
    order = DrillOrder.from_json(asked.operation)
    assert [one.at for one in order.points["web1"]] == [before(days=1)]
    assert asked.errand


@pytest.mark.parametrize("on", ["host", "web1", "db1", "nobody-has-this-name"])
def test_another_machine_than_the_controller_is_refused_by_its_name(on: str) -> None:
    """Also where the plan comes from elsewhere than a site that was checked: it is never proved on the controller instead."""
    with pytest.raises(Refused) as refused:
        request({"on": on})
    assert f"prove.on: {on};" in refused.value.message
    assert refused.value.hint == "Write prove.on: controller, or leave it out."


def test_what_can_not_be_proved_is_refused() -> None:
    with pytest.raises(Refused, match="prove: null"):
        request(None)
    with pytest.raises(Refused, match="no point that could be proved"):
        request({}, points=0)
    with pytest.raises(UsageError, match="has no source etcc"):
        request({}, sources=("etcc",))

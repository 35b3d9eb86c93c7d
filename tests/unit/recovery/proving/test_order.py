"""What a drill is asked to prove, and what is refused by name before there is a run."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.recovery.points import NOW, before, point

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.proving.order import DrillOrder, drill_requests, drilled, joined
from mainstay.runner.request import Asking, RunRequest

WEB1, WEB2 = Host(name="web1", address="192.0.2.1"), Host(name="web2", address="192.0.2.2")
DRILL1 = Host(name="drill1", address="192.0.2.9")


def requests(prove: dict[str, Any] | None, *, points: int = 2, sources: tuple[str, ...] = ()) -> list[RunRequest]:
    """Of a plan whose newest points of web1 and web2 are that many days old, from one on; web3 has none."""
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
        for host in ("web1", "web2"):
            store.add_point(point(before(days=days + 1), host=host))
    hosts = [WEB1, WEB2, Host(name="web3", address="192.0.2.3")]
    return drill_requests(plan, hosts, Asking("anna", NOW.isoformat()), store, [*hosts, DRILL1], sources=sources)


def hosts_of(request: RunRequest) -> list[str]:
    return [host.name for host in request.hosts]


def test_the_newest_points_are_asked_for_and_no_host_is_sent_anything() -> None:
    (asked,) = requests({"on": "controller"})
    order = DrillOrder.from_json(asked.operation)
    assert [one.at for one in order.points["web1"]] == [before(days=1)]
    assert asked.errand and hosts_of(asked) == ["web1", "web2", "web3"]
    assert drilled(asked.operation) == {"web1": "web1", "web2": "web2", "web3": "web3"}


def test_a_host_that_is_named_has_a_run_for_each_whose_points_it_proves() -> None:
    asked = requests({"on": "drill1"})
    assert [hosts_of(one) for one in asked] == [["drill1"], ["drill1"]]
    assert [drilled(one.operation) for one in asked] == [{"web1": "drill1"}, {"web2": "drill1"}]
    assert not any(one.errand for one in asked) and len({one.id for one in asked}) == 2
    assert {one.careful.restart for one in asked} == {"none"} and asked[0].careful.reboot == "never"
    first = DrillOrder.from_json(asked[0].operation)
    assert (first.on, first.whose("drill1")) == ("drill1", "web1")
    both = joined(asked)
    assert sorted(both.points) == ["web1", "web2"]


def test_each_on_itself_is_one_run() -> None:
    (asked,) = requests({"on": "host"})
    assert hosts_of(asked) == ["web1", "web2"] and not asked.errand
    assert DrillOrder.from_json(asked.operation).whose("web2") == "web2"
    assert drilled(asked.operation) == {"web1": "web1", "web2": "web2"}


def test_a_machine_that_has_left_the_site_is_refused_by_its_name() -> None:
    """Also where the plan comes from elsewhere than a site that was checked: it is never proved on the controller instead."""
    with pytest.raises(Refused, match=r"prove\.on: gone, and there is no host of that name"):
        requests({"on": "gone"})


def test_what_was_asked_for_before_there_were_other_machines_is_the_controllers() -> None:
    (asked,) = requests({})
    old = {key: value for key, value in asked.operation.items() if key != "on"}
    assert DrillOrder.from_json(old).on == "controller" and drilled(old)["web1"] == "web1"


def test_what_can_not_be_proved_is_refused() -> None:
    with pytest.raises(Refused, match="prove: null"):
        requests(None)
    with pytest.raises(Refused, match="no point that could be proved"):
        requests({}, points=0)
    with pytest.raises(UsageError, match="has no source etcc"):
        requests({}, sources=("etcc",))

"""Workers on real hosts: runs handed over, hosts spread over workers, one killed, one stopped."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until
from tests.fleet.workers import copied, working
from tests.servers.postgres import Postgres

PLAN = """
kind: patch
targets: role=web
updates: {select: all, only: [demo-web]}
waves: [100%]
parallel: 3
spread: {rack: 1}
health: [{http: "http://{address}:8080/healthz", retries: 20, every: 0.2s}]
"""
SLOW = "1.6"
"""Its postinst prints for some seconds."""
RACKS = ("r1", "r1", "r2")


@pytest.fixture
def web(fleet: Fleet) -> list[Host]:
    return fleet.web(3)


@pytest.fixture
def site(tmp_path: Path, fleet: Fleet, web: list[Host]) -> OperatorSite:
    """Its state in SQLite."""
    racks = {host.name: f"role: web, rack: {rack}" for host, rack in zip(web, RACKS, strict=True)}
    made = make_site(tmp_path / "ops1", fleet, web)
    inventory = made.root / "inventory" / "hosts.yml"
    text = inventory.read_text()
    for name, tags in racks.items():
        text = re.sub(rf"(  {name}: .*)role: web", rf"\1{tags}", text)
    inventory.write_text(text)
    made.plan("web-update", PLAN)
    return made


@pytest.fixture
def shared(site: OperatorSite, tmp_path: Path, postgres: Postgres) -> OperatorSite:
    """Its state in PostgreSQL."""
    secret = tmp_path / "password"
    secret.write_text(postgres.PASSWORD)
    secret.chmod(0o600)
    with (site.root / "mainstay.yml").open("a") as main:
        main.write(f"state: {postgres.url(postgres.database())}\nstate_password: file:{secret}\n")
    first = site("runs")
    assert first.status == 0, first.told
    return site


def versions(hosts: list[Host]) -> list[str]:
    return [host.installed()["demo-web"] for host in hosts]


def upgrades(host: Host) -> int:
    return int(host.exec(["grep", "-c", "upgrade demo-web", "/var/log/dpkg.log"]).strip())


def in_hand(record: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """host → when its work began and ended. Its admission is not in it: that is waiting."""
    return {
        part["host"]: (part["steps"][1]["started_at"], part["steps"][-1]["finished_at"]) for part in record["hosts"]
    }


def never_together(record: dict[str, Any], hosts: list[Host]) -> None:
    spans = in_hand(record)
    for rack in set(RACKS):
        mine = sorted(spans[host.name] for host, at in zip(hosts, RACKS, strict=False) if at == rack)
        assert all(before[1] <= after[0] for before, after in pairwise(mine)), (rack, spans)


def test_hosts_spread_over_workers_and_one_that_is_killed_is_replaced(
    shared: OperatorSite, fleet: Fleet, web: list[Host], tmp_path: Path
) -> None:
    fleet.repository.publish("demo-web", "1.1")
    other = copied(shared, tmp_path / "ops2")
    with (
        working(shared, "one", "--threads", "1") as one,
        working(other, "two", "--threads", "1") as two,
        shared.meanwhile("run", "web-update", "--yes", "--json") as follower,
    ):
        began = [worker.wait_for("step finished", step="apply.launch")["host"] for worker in (one, two)]
        assert len(set(began)) == 2, "each has one in hand"
        (row,) = shared.in_flight()
        assert (row["standing"], row["waves"]) == ("in-hand", 1)
        # The one that has the run itself in its hands, in the middle of a host.
        victim, heir = (one, two) if one.events("run started") else (two, one)
        assert row["executor"] == victim.events("worker serves")[0]["executor"]
        victim.signal(signal.SIGKILL)
        out, told = follower.communicate(timeout=240)
        assert follower.returncode == 0, told + heir.log.read_text()
        record = json.loads(out)
        assert {part["host"]: part["verdict"] for part in record["hosts"]} == {h.name: "succeeded" for h in web}
        never_together(record, web)
        assert heir.events("run taken over", run=record["id"])
        assert victim.hosts() | heir.hosts() == {host.name for host in web}
        assert shared.in_flight() == []
        assert heir.stop() == 0
    assert versions(web) == ["1.1"] * 3
    assert [upgrades(host) for host in web] == [1] * 3, "applied once"
    assert other("records", "verify").status == 0
    assert [one["id"] for one in other("records", "list", "--json").json] == [record["id"]]


def test_a_worker_that_is_stopped_leaves_nothing_half_done_and_the_next_goes_on(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    """Two hosts of one rack: one after the other."""
    fleet.repository.publish("demo-web", "1.1")
    pair = web[:2]
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(working(site, "first"))
        follower = stack.enter_context(site.meanwhile("run", "web-update", "--yes", "--json", "--hosts", "rack=r1"))
        launched = first.wait_for("step finished", step="apply.launch")["host"]
        assert first.stop() == 0
        assert first.events("step finished", step="apply", host=launched), "what it had in hand came to its end"
        assert not first.events("run ended")
        (row,) = site.in_flight()
        assert row["standing"] == "left-behind"
        assert follower.stderr
        assert any("No process serves on this state any more" in line for line in follower.stderr)
        assert all(host.exec(["dpkg", "--audit"]) == "" for host in pair)
        second = stack.enter_context(working(site, "second"))
        out, told = follower.communicate(timeout=240)
        assert follower.returncode == 0, told
        assert second.events("run taken over", run=row["id"])
        assert {part["verdict"] for part in json.loads(out)["hosts"]} == {"succeeded"}
        assert not {one["host"] for one in second.events("step finished", step="apply")} & {launched}
        never_together(json.loads(out), pair)
        assert second.stop() == 0
    assert [upgrades(host) for host in pair] == [1] * 2, "applied once"


@pytest.mark.long
def test_a_run_that_was_handed_over_is_paused_and_cancelled_by_another_process(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    fleet.repository.publish("demo-web", SLOW)
    with working(site, "worker") as worker, site.meanwhile("run", "web-update", "--yes", "--json") as follower:
        worker.wait_for("step finished", step="apply.launch")
        (row,) = site.in_flight()
        assert site("runs", "pause", row["id"], "--reason", "phone").status == 0
        wait_until(lambda: len(worker.hosts()) == 2, "those in hand end", deadline=90)
        assert site.in_flight()[0]["standing"] == "in-hand", "and it waits"
        assert site("runs", "cancel", row["id"], "--reason", "enough").status == 0
        out, told = follower.communicate(timeout=120)
        assert follower.returncode == 1, told
        verdicts = [part["verdict"] for part in json.loads(out)["hosts"]]
        assert sorted(verdicts) == ["cancelled", "succeeded", "succeeded"]
        said = [(one["wish"], one["reason"]) for one in json.loads(out)["interventions"]]
        assert said == [("pause", "phone"), ("cancel", "enough")]


@pytest.mark.long
def test_a_worker_that_loses_its_database_lets_go_and_begins_anew(
    shared: OperatorSite, fleet: Fleet, web: list[Host], postgres: Postgres
) -> None:
    fleet.repository.publish("demo-web", SLOW)
    with working(shared, "worker") as worker:
        with shared.meanwhile("run", "web-update", "--yes", "--json") as follower:
            worker.wait_for("step finished", step="apply.launch")
            postgres.stop("fast")
            worker.wait_for("worker lost its hold")
            worker.wait_for("database does not answer")
            postgres.start()
            _, told = follower.communicate(timeout=240)
            assert follower.returncode == 0, told + worker.log.read_text()
        began = [event["executor"] for event in worker.events("worker serves")]
        assert len(set(began)) == len(began) == 2, "under another name"
        assert worker.stop() == 0
    assert [upgrades(host) for host in web] == [1] * 3, "applied once"

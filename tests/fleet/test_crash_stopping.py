"""Pausing, resuming and cancelling a run from another process, on real hosts: what stops, what goes on, what the record says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainstay.console import bootstrap
from tests.fleet import Fleet, Host
from tests.fleet.controllers import HELD, Controllers, holds_in_hook, hooks_run, left_on
from tests.fleet.site import make_site
from tests.fleet.system import wait_until

pytestmark = pytest.mark.no_cover


@pytest.fixture
def hosts(fleet: Fleet) -> list[Host]:
    hosts = fleet.web(2)
    fleet.repository.publish("demo-web", "1.1")
    return hosts


@pytest.fixture
def controllers(tmp_path: Path, fleet: Fleet, hosts: list[Host]) -> Controllers:
    site = make_site(tmp_path / "site", fleet, hosts)
    site.plan("web-update", HELD.replace("[1, 1, 100%]", "[100%]") + "parallel: 1\n")
    return Controllers(site, tmp_path / "log")


@contextmanager
def with_the_first_in_hand(
    controllers: Controllers, first: Host, *die: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run that has taken its first host out of service, and its id."""
    with controllers.started("run", "web-update", "--yes", "--json", die=die) as process:
        wait_until(lambda: holds_in_hook(first), "the first host is in hand", deadline=120, every=0.3)
        (run,) = [row["id"] for row in controllers.site.in_flight()]
        yield process, run


def doing(controllers: Controllers, run: str, host: Host) -> str:
    with bootstrap.load(controllers.site.root) as app:
        note = app.state.notes(run).get(host.name, {})
    return f"{note.get('step')}: {note.get('detail')}"


def go(*hosts: Host) -> None:
    for host in hosts:
        host.exec(["touch", "/root/go"])


def started_on(hosts: list[Host]) -> list[str]:
    there = ["test", "-e", "/var/lib/mainstay/owner"]
    return [host.name for host in hosts if host.exec([*("sh", "-c", 'if "$@"; then echo yes; fi', "sh"), *there])]


def ended(process: subprocess.Popen[str]) -> str:
    _, told = process.communicate(timeout=240)
    return told


def test_a_paused_run_starts_no_host_until_it_is_resumed(controllers: Controllers, hosts: list[Host]) -> None:
    site, (first, second) = controllers.site, hosts
    with with_the_first_in_hand(controllers, first) as (process, run):
        assert site("runs", "pause", run, "--reason", "disk is swapped").status == 0
        go(*hosts)
        held: Callable[[], bool] = lambda: "admit: paused by" in doing(controllers, run, second)  # noqa: E731 - named
        wait_until(held, "the second host is held back", deadline=120, every=0.5)
        assert hooks_run(first) == ["before", "after"] and left_on(first) == [], "what was in hand came to its end"
        assert started_on([second]) == [] and process.poll() is None
        assert "pause was asked for" in site("runs").out
        assert [row["state"] for row in site.in_flight()] == ["paused"]
        assert site("runs", "resume", run, "--reason", "it is in").status == 0
        told = ended(process)
    assert process.returncode == 0, told
    record = site("records", "show", run, "--json").json
    assert [(one["wish"], one["reason"]) for one in record["interventions"]] == [
        ("pause", "disk is swapped"),
        ("", "it is in"),
    ]
    shown = site("records", "show", run).out
    assert f"paused by {record['requested_by']}, " in shown and ": disk is swapped; resumed by" in shown
    assert started_on(hosts) == [host.name for host in hosts]
    assert site("records", "verify").status == 0


@pytest.mark.long  # a pause goes the same way, above; what becomes of the host in hand is in tests/unit/runner
def test_cancelling_undoes_the_host_in_hand_that_is_not_well_and_starts_no_other(
    controllers: Controllers, fleet: Fleet, hosts: list[Host]
) -> None:
    site, first = controllers.site, hosts[0]
    fleet.repository.publish("demo-web", "1.2")  # its service does not come up
    with with_the_first_in_hand(controllers, first) as (process, run):
        assert site("runs", "cancel", run, "--reason", "wrong plan").status == 0
        go(*hosts)
        told = ended(process)
    assert process.returncode == 1, told
    record = site("records", "show", run, "--json")
    assert list(record.verdicts().values()) == ["rolled-back", "cancelled"]
    assert first.installed()["demo-web"] == "1.0"
    assert hooks_run(first) == ["before", "after"] and left_on(first) == []
    assert started_on(hosts) == [first.name]
    assert "wrong plan" in site("records", "show", run).out


@pytest.mark.long
def test_a_run_that_is_cancelled_while_nobody_works_on_it_is_brought_to_its_end_by_resume(
    controllers: Controllers, hosts: list[Host]
) -> None:
    site, first = controllers.site, hosts[0]
    with with_the_first_in_hand(controllers, first, f"host {first.name} apply.launch .* launch") as (process, run):
        go(*hosts)
        process.wait(120)
    asked = site("runs", "cancel", run, "--reason", "enough for today")
    assert asked.status == 0 and f"mainstay runs resume {run}" in asked.told
    resumed = site("runs", "resume", run, "--json")
    assert resumed.status == 1 and resumed.json["verdict"] == "cancelled", resumed.told
    assert list(resumed.verdicts().values()) == ["succeeded", "cancelled"]
    assert first.installed()["demo-web"] == "1.1"
    assert hooks_run(first) == ["before", "after"] and left_on(first) == []
    assert started_on(hosts) == [first.name]
    assert [one["wish"] for one in resumed.json["interventions"]] == ["cancel"]

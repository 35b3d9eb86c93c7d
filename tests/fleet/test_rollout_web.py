"""Rollouts on real hosts, from the command line: waves, a failing update, the way back, two controllers, a dead one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mainstay.console import bootstrap
from mainstay.console.bootstrap import Application
from mainstay.runner.engine.memory import MemoryEngine
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.request import plan_request
from mainstay.runner.runs import Runs
from mainstay.schedules.occurrences import timing
from mainstay.schedules.turns import first_in_line
from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until

WEB = """
kind: patch
targets: role=web
updates: {select: all, only: [demo-web]}
waves: [1, 100%]
health: [{http: "http://{address}:8080/healthz", retries: 20, every: 0.2s}]
on_failure: rollback-host
"""
STAYS_UP = "health: [{service: demo-web, retries: 2, every: 0.5s},"
"""A service is looked at for two seconds, and tells in its own words why it is down."""


@pytest.fixture
def web(fleet: Fleet) -> list[Host]:
    return fleet.web(3)


@pytest.fixture
def site(tmp_path: Path, fleet: Fleet, web: list[Host]) -> OperatorSite:
    made = make_site(tmp_path / "site", fleet, web)
    made.plan("web-update", WEB)
    return made


def versions(hosts: list[Host]) -> list[str]:
    return [host.installed()["demo-web"] for host in hosts]


def names(hosts: list[Host]) -> list[str]:
    return [host.name for host in hosts]


def test_a_good_update_goes_out_in_waves_and_comes_back_by_one_command(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    fleet.repository.publish("demo-web", "1.1")
    preview = site("preview", "web-update", "--json")
    assert preview.status == 0 and versions(web) == ["1.0"] * 3

    ran = site("run", "web-update", "--yes", "--json")
    assert ran.status == 0, ran.told
    assert ran.verdicts() == dict.fromkeys(names(web), "succeeded")
    assert versions(web) == ["1.1"] * 3
    first = ran.host(web[0].name)
    assert (first["before"]["packages"], first["after"]["packages"]) == ({"demo-web": "1.0"}, {"demo-web": "1.1"})

    back = site("rollback", ran.json["id"], "--yes", "--json")
    assert back.status == 0, back.told
    assert versions(web) == ["1.0"] * 3
    assert back.json["links"]["undoes"] == ran.json["id"] and back.json["kind"] == "rollback"
    again = site("rollback", ran.json["id"], "--yes")
    assert again.status in (0, 4) and versions(web) == ["1.0"] * 3, again.told
    assert site("records", "verify").status == 0


def test_a_service_that_does_not_come_up_is_put_back_and_no_other_host_is_touched(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    fleet.repository.publish("demo-web", "1.2")
    site.plan("web-update", WEB.replace("health: [", STAYS_UP).replace("retries: 20", "retries: 2"))
    ran = site("run", "web-update", "--yes", "--json")
    assert ran.status == 1
    assert list(ran.verdicts().values()) == ["rolled-back", "cancelled", "cancelled"]
    assert "demo-web.conf" in ran.host(web[0].name)["reason"], "the service's own words"
    assert versions(web) == ["1.0"] * 3
    assert web[0].exec(["systemctl", "is-active", "demo-web"]).strip() == "active"
    assert web[1].exec(["sh", "-c", "ls /var/lib/mainstay 2>/dev/null | wc -l"]).strip() == "0"

    tried_again = site("run", "web-update", "--yes", "--json", "--hosts", web[0].name)
    assert tried_again.verdicts() == {web[0].name: "refused"} and tried_again.status == 4


def test_a_postinst_that_fails_is_put_back_with_a_sound_package_database(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    fleet.repository.publish("demo-web", "1.3")
    ran = site("run", "web-update", "--yes", "--json")
    assert list(ran.verdicts().values()) == ["rolled-back", "cancelled", "cancelled"], ran.told
    assert versions(web) == ["1.0"] * 3 and web[0].exec(["dpkg", "--audit"]) == ""


def test_what_was_tested_is_installed_though_it_vanished_and_something_newer_came(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    """Between the waves the repository loses 1.1 and offers 1.2: the later hosts get 1.1, from the capture."""
    fleet.repository.publish("demo-web", "1.1")
    swap = site.root / "swap"
    swap.write_text(f"#!/bin/sh\n[ ! -e {site.root}/swapped ] || exit 0\ntouch {site.root}/wanted\n"
                    f"until [ -e {site.root}/swapped ]; do sleep 0.1; done\n")  # fmt: skip
    swap.chmod(0o755)
    site.plan("web-update", WEB + f"after: [{{controller: [{swap}]}}]\nparallel: 1\n")
    with site.meanwhile("run", "web-update", "--yes", "--json") as process:
        wait_until((site.root / "wanted").exists, "the first host is done", deadline=120)
        fleet.repository.publish("demo-web", "1.2")
        fleet.repository.withdraw("demo-web", "1.1")
        (site.root / "swapped").touch()
        _, told = process.communicate(timeout=240)
    assert process.returncode == 0, told
    assert versions(web) == ["1.1"] * 3


def test_two_clones_of_a_site_can_not_work_on_the_same_host(fleet: Fleet, tmp_path: Path) -> None:
    (host,) = fleet.web(1)
    site, clone = (make_site(tmp_path / name, fleet, [host]) for name in ("site", "clone"))
    for one in (site, clone):
        one.plan("web-update", WEB)
    fleet.repository.publish("demo-web", "1.1")
    assert site("run", "web-update", "--yes").status == 0
    fleet.repository.publish("demo-web", "1.6")
    refused = clone("run", "web-update", "--yes", "--json")
    assert refused.status == 4 and refused.verdicts() == {host.name: "refused"}
    assert "adopt" in refused.host(host.name)["reason"]
    assert versions([host]) == ["1.1"]

    assert clone("hosts", "adopt", "all", "--yes").status == 0
    assert site("run", "web-update", "--yes").status == 4, "who it was taken from is refused now"


def test_a_changed_host_key_sends_nothing(site: OperatorSite, fleet: Fleet, web: list[Host]) -> None:
    known = site.root / "inventory" / "known_hosts"
    lines = known.read_text().splitlines()
    first, second = (
        next(line for line in lines if line.split()[0].strip("[]").split("]")[0] == web[n].address) for n in (0, 1)
    )
    known.write_text(known.read_text().replace(first, " ".join([first.split()[0], *second.split()[1:]])))
    fleet.repository.publish("demo-web", "1.1")
    ran = site("run", "web-update", "--yes", "--json")
    assert ran.status == 3
    assert ran.verdicts()[web[0].name] == "refused" and "--replace" in ran.host(web[0].name)["reason"]
    assert versions(web) == ["1.0", "1.1", "1.1"]


@pytest.mark.long
def test_a_controller_killed_in_mid_run_is_taken_over_and_nothing_is_done_twice(
    site: OperatorSite, fleet: Fleet, web: list[Host]
) -> None:
    fleet.repository.publish("demo-web", "1.6")  # its postinst prints for some seconds
    with site.meanwhile("run", "web-update", "--yes", "--json") as process:
        applying = "systemctl list-units --plain --no-legend 'mainstay-*apply*' | grep -c running"
        wait_until(
            lambda: web[0].exec(["sh", "-c", applying + " || true"]).strip() == "1", "it is applying", deadline=120
        )
        # A second process that looks, and one that wants to help, start nothing while the first one lives.
        assert len(site.in_flight()) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (run,) = [row["id"] for row in site.in_flight()]
    resumed = site("runs", "resume", run)
    assert resumed.status == 0, resumed.told
    record = site("records", "show", run, "--json")
    assert record.json["verdict"] == "succeeded"
    assert versions(web) == ["1.6"] * 3
    for host in web:
        log = host.exec(["grep", "-c", "upgrade demo-web", "/var/log/dpkg.log"])
        assert log.strip() == "1", "applied once"
    assert site.in_flight() == []


def test_hosts_behind_a_jump_host(fleet: Fleet, web: list[Host], tmp_path: Path) -> None:
    jump = web[0].name
    site = make_site(tmp_path / "jump", fleet, web, more={host.name: f", jump: {jump}" for host in web[1:]})
    site.plan("web-update", WEB.replace("[1, 100%]", "[100%]"))
    fleet.repository.publish("demo-web", "1.1")
    ran = site("run", "web-update", "--yes", "--json")
    assert ran.status == 0, ran.told
    assert versions(web) == ["1.1"] * 3
    began = {host["host"]: host["steps"][0]["started_at"] for host in ran.json["hosts"]}
    ended = {host["host"]: host["steps"][-1]["finished_at"] for host in ran.json["hosts"]}
    assert all(ended[host.name] <= began[jump] for host in web[1:]), "the jump host is last, alone"


def test_a_plan_with_a_window_is_refused_unless_the_glass_is_broken(fleet: Fleet, tmp_path: Path) -> None:
    (host,) = fleet.web(1)
    site = make_site(tmp_path / "site", fleet, [host])
    fleet.repository.publish("demo-web", "1.1")
    later = datetime.now(UTC) + timedelta(hours=6)  # whenever this test runs, it is closed
    site.plan("web-update", WEB + "window: night\n")
    path = site.root / "schedules" / "web-update.yml"
    window = f'{{rrule: "FREQ=DAILY", start: "{later:%H}:00", duration: 3h}}'
    path.write_text(f"windows:\n  night: {window}\n" + path.read_text())
    refused = site("run", "web-update", "--yes", "--json")
    assert refused.status == 4 and versions([host]) == ["1.0"]
    assert "--break-glass" in refused.told + refused.out
    broken = site("run", "web-update", "--yes", "--json", "--break-glass", "the site is down")
    assert broken.status == 0, broken.told
    assert broken.json["measures"]["break_glass"] == "the site is down"


def test_a_host_that_was_drained_when_the_cutoff_came_goes_back_into_service_unchanged_and_is_first_the_next_night(
    fleet: Fleet, tmp_path: Path
) -> None:
    (host,) = fleet.web(1)
    site = make_site(tmp_path / "site", fleet, [host])
    fleet.repository.publish("demo-web", "1.1")
    hooks = "before: {command: touch /run/drained}\nafter: {command: rm /run/drained}\n"
    site.plan("web-update", f"{WEB}window: night\n{hooks}")
    path = site.root / "schedules" / "web-update.yml"
    now = datetime.now(UTC)
    window = f'{{rrule: "FREQ=DAILY", start: "{now:%H}:00", duration: 10h, cutoff: 4h}}'
    path.write_text(f"windows:\n  night: {window}\n" + path.read_text())

    with bootstrap.load(site.root) as app:
        clock = Late(lambda: timedelta(hours=7 if host.exec(["ls", "/run"]).count("drained") else 0))
        vars(app)["clock"] = clock
        refused = _run(app)
        assert refused.summary.verdict == "refused" and "past the cutoff of night" in refused.hosts[0].reason
        assert versions([host]) == ["1.0"] and "drained" not in host.exec(["ls", "/run"])
        assert [step.name for step in refused.hosts[0].steps][-3:] == ["health", "after", "release"]
        assert [one.host for one in app.schedule_store.carried("web-update")] == [host.name]

        clock.late = lambda: timedelta(days=1)
        done = _run(app)
        assert done.summary.verdict == "succeeded" and versions([host]) == ["1.1"]
        assert app.schedule_store.carried() == [], "it had its turn"
    assert site("records", "verify").status == 0


class Late:
    """A clock that is as late as it is told."""

    def __init__(self, late: Callable[[], timedelta]) -> None:
        self.late = late

    def now(self) -> datetime:
        return datetime.now(UTC) + self.late()


def _run(app: Application) -> MaintenanceRecord:
    """As `mainstay run` asks for it, executed in this process by the engine without a database."""
    plan = app.runnable("web-update")
    bound = {
        "timing": timing(plan, app.loaded).to_json(),
        "first": first_in_line(app.schedule_store, plan.name),
    }
    request = plan_request(plan, app.targets(plan), app.asking()).model_copy(update=bound)
    runs = Runs(app.tools, MemoryEngine())
    runs.engine.launch()
    runs.submit(request)
    return runs.execute(request.id)


@pytest.mark.long  # a host that is put back, and all by one command, are above; which ones go back is in tests/unit/runner
def test_rollback_all_takes_every_host_back(site: OperatorSite, fleet: Fleet, web: list[Host]) -> None:
    """The second host is broken by its own administrator: what was well on the first goes back too."""
    fleet.repository.publish("demo-web", "1.1")
    site.plan("web-update", WEB.replace("rollback-host", "rollback-all").replace("[1, 100%]", "[1, 1, 1]"))
    # Its check is green before the change and red after it.
    broken = web[1].exec(["hostname"]).strip()
    script = f"test $(hostname) != {broken} || ! dpkg-query -W demo-web | grep -q 1.1"
    check = f"{{command: [sh, -c, {script!r}], retries: 1, every: 0.3s}}"
    plan = site.root / "schedules" / "web-update.yml"
    plan.write_text(plan.read_text().replace("health: [", f"health: [{check}, "))
    ran = site("run", "web-update", "--yes", "--json")
    assert list(ran.verdicts().values()) == ["rolled-back", "rolled-back", "cancelled"], ran.told
    assert versions(web) == ["1.0"] * 3

"""The controller is killed after every checkpoint and after every command that changed something, on real hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.controllers import PLAN, Controllers, breaks_on, hooks_run, left_on, transactions
from tests.fleet.site import make_site

pytestmark = pytest.mark.no_cover

# Each checkpoint ("kept …") is in tests/unit/runner/test_rollout_crash.py, and with a real host in the sweeps below.
ONE_PER_PHASE = [
    r"host h1 lock \d+ acquire",
    r"host h1 before \d+ launch",
    r"host h1 apply\.launch \d+ launch",
    r"kept h1 health",
    r"host h1 release \d+ release",
]


def prepared(fleet: Fleet, folder: Path, count: int, *, bad: bool) -> tuple[Controllers, list[Host]]:
    hosts = fleet.web(count)
    fleet.repository.publish("demo-web", "1.1")
    site = make_site(folder / "site", fleet, hosts)
    plan = PLAN.replace("health:\n", f"health:\n{breaks_on(hosts[-1])}\n") if bad else PLAN
    site.plan("web-update", plan)
    return Controllers(site, folder / "log"), hosts


def check(controllers: Controllers, hosts: list[Host], run: str, *, bad: bool) -> None:
    well, ill = (hosts[:-1], hosts[-1:]) if bad else (hosts, [])
    record = controllers.site("records", "show", run, "--json")
    expected = dict.fromkeys([host.name for host in well], "succeeded") | {host.name: "rolled-back" for host in ill}
    assert record.verdicts() == expected, record.out
    assert record.json["verdict"] == ("rolled-back" if bad else "succeeded")
    assert controllers.site.in_flight() == []
    assert controllers.site("records", "verify").status == 0
    assert controllers.repeated() == {}
    for host in hosts:
        assert transactions(host) == (["1.0 1.1", "1.1 1.0"] if host in ill else ["1.0 1.1"]), host.name
        assert hooks_run(host) == ["before", "after"], host.name
        assert left_on(host) == [], host.name


def test_one_death_per_phase(fleet: Fleet, tmp_path: Path) -> None:
    controllers, hosts = prepared(fleet, tmp_path, 2, bad=False)
    run, deaths = controllers.until_it_ends("web-update", ONE_PER_PHASE)
    died = [" ".join(line[1:]) for line in controllers.lines("died")]
    assert all(any(re.fullmatch(phase, name) for name in died) for phase in ONE_PER_PHASE), died
    assert deaths == len(died)
    check(controllers, hosts, run, bad=False)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_death_after_every_checkpoint_and_every_side_effect(fleet: Fleet, tmp_path: Path) -> None:
    controllers, hosts = prepared(fleet, tmp_path, 4, bad=False)
    run, deaths = controllers.until_it_ends("web-update", ["kept .*", "host .*"])
    assert deaths > 150, "the sweep is over a real rollout"
    check(controllers, hosts, run, bad=False)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_death_at_every_moment_of_a_host_that_is_taken_back(fleet: Fleet, tmp_path: Path) -> None:
    """The others are in the sweep above."""
    controllers, hosts = prepared(fleet, tmp_path, 4, bad=True)
    run, deaths = controllers.until_it_ends("web-update", [f"kept {hosts[-1].name} .*", f"host {hosts[-1].name} .*"])
    assert deaths > 50, "the way back is part of it"
    check(controllers, hosts, run, bad=True)


COUNT_BOOTS = """
[Service]
Type=oneshot
ExecStart=/bin/sh -c "cat /proc/sys/kernel/random/boot_id >>/root/boots"
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_host_is_rebooted_once_wherever_around_it_the_controller_dies(fleet: Fleet, tmp_path: Path) -> None:
    controllers, (host,) = prepared(fleet, tmp_path, 1, bad=False)
    fleet.repository.publish("demo-web", "1.5")
    host.exec(["tee", "/etc/systemd/system/count-boots.service"], stdin=COUNT_BOOTS.encode())
    host.exec(["systemctl", "enable", "-q", "count-boots"])
    controllers.site.plan("web-update", PLAN + "reboot: when-needed\n")
    moments = [f"(kept|host) {host.name} {step} ?.*" for step in ("reboot.need", "reboot.launch", "reboot", "health")]
    run, deaths = controllers.until_it_ends("web-update", moments)
    assert deaths >= 7
    record = controllers.site("records", "show", run, "--json")
    assert record.json["verdict"] == "succeeded" and record.json["measures"]["reboots"] == 1, record.out
    assert len(host.exec(["cat", "/root/boots"]).split()) == 1
    assert controllers.repeated() == {} and left_on(host) == []
    assert transactions(host) == ["1.0 1.5"] and hooks_run(host) == ["before", "after"]

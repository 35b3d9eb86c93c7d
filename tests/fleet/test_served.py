"""`mainstay serve` under a real systemd, on a host of its own, with the unit that `mainstay init --systemd` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.served import SITE, Installation, installed
from tests.fleet.system import run, wait_until

PHRASE = "correct horse"
KEY = "/etc/mainstay/id"
MAIN = f"""site: acme
timezone: Europe/Berlin
ssh: {{user: ops, key: "file:{KEY}", passphrase: "systemd:key-phrase", known_hosts: inventory/known_hosts}}
serve: {{health: "127.0.0.1:9477"}}
observe: daily
"""
PLANS = """
windows:
  soon: {cron: "* * * * *", duration: 50s}
plans:
  web-update:
    kind: patch
    targets: role=web
    window: soon
    updates: {select: all, only: [demo-web]}
    health: [{service: demo-web, retries: 3, every: 1s}]
"""
SLOW = "1.6"
"""Its postinst prints for some seconds."""
QUICK = "[Service]\nWatchdogSec=15\nTimeoutAbortSec=1\nRestartSec=100ms\n"
"""The unit's own limits are for a busy machine; here a frozen process is to be given up soon."""


@pytest.fixture(scope="module")
def hosts(fleet: Fleet) -> list[Host]:
    controller, target = fleet.pristine(2)
    target.install("demo-web", "1.0")
    return [controller, target]


@pytest.fixture(scope="module")
def mainstay(fleet: Fleet, hosts: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    controller, target = hosts
    key = tmp_path_factory.mktemp("key") / "id"
    key.write_bytes(fleet.key.read_bytes())
    key.chmod(0o600)
    run(["ssh-keygen", "-q", "-p", "-P", "", "-N", PHRASE, "-f", key])
    with installed(controller) as made:
        made.write("mainstay.yml", MAIN)
        made.write("inventory/hosts.yml", f"hosts:\n  web1: {{address: {target.address}, tags: {{role: web}}}}\n")
        made.write("schedules/web.yml", PLANS)
        made.write(KEY, key.read_text())
        made.write("known", fleet.known_hosts.read_text())
        made("hosts", "trust", "all", "--from", str(SITE / "known"), "--yes")
        unit = made("init", "--systemd", str(SITE), "--grace", "20s")
        made.install_unit(unit, {"credstore": PHRASE}, QUICK)
        yield made


def health(mainstay: Installation) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mainstay.host.exec(["curl", "-s", "http://127.0.0.1:9477/healthz"]))
    return found


def pid(mainstay: Installation) -> int:
    return int(mainstay.shown("MainPID")["MainPID"])


def succeeded(mainstay: Installation) -> list[dict[str, Any]]:
    return [one for one in mainstay.json("records", "list") if one["verdict"] == "succeeded"]


def observed(mainstay: Installation) -> bool:
    """Whether the daemon remembers a look at the host, read behind its back."""
    query = "select value from mark where name = 'observed/web1'"
    program = f"import sqlite3; print(sqlite3.connect('{SITE}/state/mainstay.db').execute(\"{query}\").fetchall())"
    return '"cohort":"debian' in mainstay.host.exec(["python3", "-c", program])


def test_it_serves_is_watched_over_and_stops_in_order(mainstay: Installation, fleet: Fleet, hosts: list[Host]) -> None:
    fleet.repository.publish("demo-web", "1.1")
    mainstay.host.exec(["systemctl", "enable", "--now", "mainstay"])  # returns when it is ready, or fails
    mainstay.wait_for("it says what it does", ActiveState="active", StatusText="serves 1 plan, next web-update ")
    checks = health(mainstay)["checks"]
    assert checks == {"clock": "ok", "database": "ok", "worker": "ok"}
    assert mainstay.shown("User") == {"User": "mainstay"}
    wait_until(lambda: observed(mainstay), "it has had a look at the host", deadline=90, every=0.3)

    first = pid(mainstay)
    mainstay.host.exec(["kill", "-STOP", str(first)])  # as one stands still whose loop hangs
    wait_until(lambda: pid(mainstay) not in (0, first), "the watchdog starts it again", deadline=90, every=0.2)
    mainstay.wait_for("ready again", ActiveState="active", SubState="running")
    assert "Watchdog timeout" in mainstay.journal()

    mainstay.write("schedules/more.yml", "plans:\n  by-hand: {targets: role=web}\n")
    mainstay.host.exec(["systemctl", "reload", "mainstay"])
    mainstay.wait_for("the new site is served", ActiveState="active", StatusText="serves 2 plans")

    wait_until(lambda: bool(succeeded(mainstay)), "an occurrence ran by itself", deadline=180, every=1.0)
    done = succeeded(mainstay)[0]
    assert (done["plan"], done["trigger"], done["requested_by"]) == ("web-update", "clock", "clock")
    assert hosts[1].installed()["demo-web"] == "1.1", "its rights were enough to reach another host"

    mainstay.host.exec(["systemctl", "stop", "mainstay"])
    ended = mainstay.shown("Result", "ExecMainStatus", "ActiveState")
    assert ended == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    said = [json.loads(line) for line in mainstay.journal("-o", "json").splitlines()]
    (last,) = [one for one in said if "daemon stopped" in one["MESSAGE"]]
    assert last["PRIORITY"] == "6" and last["MESSAGE"].startswith("[info"), "the journal has the time of its own"
    assert PHRASE not in mainstay.journal()


@pytest.mark.long
def test_a_stop_lets_the_step_in_hand_end_and_the_next_start_goes_on(
    mainstay: Installation, fleet: Fleet, hosts: list[Host]
) -> None:
    fleet.repository.publish("demo-web", SLOW)
    before = len(succeeded(mainstay))
    mainstay.host.exec(["systemctl", "enable", "--now", "mainstay"])

    def launched() -> int:
        return mainstay.journal().count("step=apply.launch")

    launches = launched()
    wait_until(lambda: launched() > launches, "an occurrence installs", deadline=180, every=0.3)
    mainstay.host.exec(["systemctl", "stop", "mainstay"])
    ended = mainstay.shown("Result", "ExecMainStatus", "ActiveState")
    assert ended == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    assert hosts[1].exec(["dpkg", "--audit"]) == ""
    mainstay.host.exec(["systemctl", "start", "mainstay"])
    wait_until(lambda: len(succeeded(mainstay)) > before, "it goes on", deadline=180, every=1.0)
    mainstay.host.exec(["systemctl", "stop", "mainstay"])
    assert hosts[1].installed()["demo-web"] == SLOW
    log = hosts[1].exec(["grep", "-c", f"upgrade demo-web.* {SLOW}$", "/var/log/dpkg.log"])
    assert log.strip() == "1", "applied once"

"""What the clock staged ahead of a window is all that the window's run needs of the repository's packages."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.fleet import Fleet
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until

PLAN = """
kind: patch
targets: role=web
window: night
stage: 2h before
updates: {select: all, only: [demo-web]}
before: {command: touch /run/drained}
health: [{service: demo-web, retries: 5, every: 1s}]
on_failure: rollback-host
"""
CACHE = "ls /var/cache/apt/archives | grep -c '^demo-web_1.1_' || true"


def test_the_clock_downloads_ahead_and_the_run_installs_what_the_repository_has_lost(
    fleet: Fleet, tmp_path: Path
) -> None:
    (host,) = fleet.web(1)
    site = make_site(tmp_path / "site", fleet, [host])
    fleet.repository.publish("demo-web", "1.1")
    opens = datetime.now(UTC) + timedelta(hours=1)  # it is to be staged at once, and nothing may be installed yet
    site.plan("web-update", PLAN)
    path = site.root / "schedules" / "web-update.yml"
    path.write_text(f'windows:\n  night: {{on: daily, start: "{opens:%H:%M}", duration: 1h}}\n' + path.read_text())

    def fetched() -> int:
        return sum("demo-web_1.1_" in line for line in fleet.repository.requests())

    before = fetched()
    with site.meanwhile("serve") as serving:
        wait_until(lambda: bool(records(site)), "what it staged is on record", deadline=120, every=1)
        serving.terminate()
        serving.wait(timeout=60)
    (listed,) = records(site)
    staged = site("records", "show", listed["id"], "--json").json
    assert (staged["kind"], staged["verdict"], staged["trigger"]) == ("stage", "succeeded", "clock"), staged
    assert staged["measures"]["occurrence"]["schedule"] == "web-update/night"
    assert staged["hosts"][0]["reason"] == "1 downloaded, nothing changed"
    assert host.installed()["demo-web"] == "1.0" and "drained" not in host.exec(["ls", "/run"])
    assert host.exec(["sh", "-c", CACHE]).strip() == "1" and fetched() == before + 1

    shutil.rmtree(fleet.repository.path / "www" / "pool")  # still on offer, and no package can be had any more
    passed = ("--skip-gate", "window", "--reason", "the night is an hour away")
    ran = site("run", "web-update", "--yes", "--json", *passed)
    assert ran.status == 0, ran.told
    assert host.installed()["demo-web"] == "1.1" and fetched() == before + 1, "nothing was asked for again"


def records(site: OperatorSite) -> list[dict[str, Any]]:
    listed = site("records", "list", "--json")
    found: list[dict[str, Any]] = listed.json if listed.status == 0 else []
    return found

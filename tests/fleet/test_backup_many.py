"""Many hosts at once: into one repository, which only so many may write to at a time, and each into its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import Ended, OperatorSite, make_site
from tests.servers.restic import folder, restic

pytestmark = pytest.mark.long
MANY = [pytest.param(3, id="3"), pytest.param(50, id="50", marks=pytest.mark.timeout(1800))]
MORE = pytest.param(100, id="100", marks=pytest.mark.timeout(3600))
AT_ONCE = 2
"""Hosts that the shared repository lets write at a time; the plan itself would take all at once."""
PASSWORD = "canary-4cd1-many"
PLAN = """
kind: backup
targets: all
parallel: 50
repository: main
sources:
  files: {paths: [/etc/hostname, /etc/hosts]}
"""


def site_of(path: Path, fleet: Fleet, hosts: Sequence[Host], repository: str) -> OperatorSite:
    made = make_site(path / "site", fleet, hosts)
    (made.root / "secrets").mkdir(mode=0o700)
    for name in ("all", *(host.name for host in hosts)):
        (made.root / "secrets" / name).write_text(PASSWORD)
        (made.root / "secrets" / name).chmod(0o600)
    (made.root / "recovery").mkdir()
    (made.root / "recovery" / "main.yml").write_text(f"repositories:\n  main: {{{repository}}}\n")
    made.plan("nightly", PLAN)
    return replace(made, environ={"PATH": f"{folder()}:{os.environ['PATH']}"})


def back_up(site: OperatorSite) -> Ended:
    made = site("repo", "init", "nightly", "--yes", timeout=1800)
    assert made.status == 0, made.told
    ran = site("run", "nightly", "--yes", "--json", timeout=3000)
    assert ran.status == 0, ran.told
    return ran


def check(site: OperatorSite, ran: Ended, hosts: Sequence[Host]) -> set[str]:
    """Every host is well, every point is known, and the run has one sealed record. Returns the points."""
    names = {host.name for host in hosts}
    assert ran.verdicts() == dict.fromkeys(names, "succeeded")
    points = {host["host"]: host["measures"]["points"] for host in ran.json["hosts"]}
    assert {len(of) for of in points.values()} == {1}
    told = site("points", "--json")
    rows = {row["host"]: row["newest"]["id"] for row in told.json}
    assert rows == {name: of[0] for name, of in points.items()}, told.told
    records = site("records", "list", "--json").json
    assert [one["id"] for one in records].count(ran.json["id"]) == 1
    assert site("records", "verify").status == 0
    return {point for of in points.values() for point in of}


def most_at_once(hosts: Iterable[dict[str, Any]], first: str, last: str) -> int:
    """Of how many hosts the time between the beginning of one step and the end of another overlaps."""
    moments: list[tuple[datetime, int]] = []
    for host in hosts:
        steps = {step["name"]: step for step in host["steps"]}
        moments.append((datetime.fromisoformat(steps[first]["started_at"]), 1))
        moments.append((datetime.fromisoformat(steps[last]["finished_at"]), -1))
    now = most = 0
    for _, change in sorted(moments):  # who ends in the moment in which another begins, ends first
        now += change
        most = max(most, now)
    return most


def stored(repository: Path) -> dict[str, str]:
    """Snapshot → host, by restic alone."""
    env = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(repository)}
    argv = [str(restic()), "snapshots", "--json", "--no-lock"]
    done = subprocess.run(argv, env=env, check=True, capture_output=True)
    return {one["id"]: one["hostname"] for one in json.loads(done.stdout)}


@pytest.mark.parametrize("count", [*MANY, MORE])
def test_one_repository_takes_so_many_at_once(fleet: Fleet, tmp_path: Path, count: int) -> None:
    hosts = fleet.pristine(count)
    told = f"url: '{tmp_path}/kept', password: 'file:secrets/all', shared: accepted, parallel: {AT_ONCE}"
    site = site_of(tmp_path, fleet, hosts, told)
    ran = back_up(site)
    points = check(site, ran, hosts)
    there = stored(tmp_path / "kept")
    assert set(there) == points
    assert sorted(there.values()) == sorted(host.name for host in hosts)
    assert most_at_once(ran.json["hosts"], "lock", "release") <= AT_ONCE


@pytest.mark.parametrize("count", MANY[1:])
def test_each_into_a_repository_of_its_own(fleet: Fleet, tmp_path: Path, count: int) -> None:
    hosts = fleet.pristine(count)
    site = site_of(tmp_path, fleet, hosts, f"url: '{tmp_path}/kept/{{host}}', password: 'file:secrets/{{host}}'")
    ran = back_up(site)
    points = check(site, ran, hosts)
    there = {host.name: stored(tmp_path / "kept" / host.name) for host in hosts}
    assert {name for of in there.values() for name in of} == points
    assert {name: set(of.values()) for name, of in there.items()} == {host.name: {host.name} for host in hosts}

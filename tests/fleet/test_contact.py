"""Contact lost in the middle of a change, on real hosts: the SSH session killed, the cable pulled, the power cut. Whatever
becomes of the connection, what the host did is found, mended where it has to be, and told as it was."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import MAINSTAY, OperatorSite, make_site
from tests.fleet.system import wait_until

pytestmark = pytest.mark.no_cover

SECONDS = 6
"""So long the postinst prints, ten lines a second: an offset is a share of these lines."""
OFFSETS = 20
LOST_AFTER = 4

PLAN = f"""
kind: patch
targets: role=web
updates: {{select: all, only: [demo-web]}}
waves: [100%]
parallel: 20
budget: 100%
lost_after: {LOST_AFTER}s
reconcile_for: 2m
health:
  - {{service: demo-web, retries: 5, every: 1s}}
  - {{http: "http://{{address}}:8080/healthz", retries: 5, every: 1s}}
on_failure: rollback-host
"""


@dataclass
class Running:
    """A run in a process of its own. told: what it has told people so far."""

    process: subprocess.Popen[bytes]
    folder: Path

    def told(self) -> str:
        return (self.folder / "told").read_text(errors="replace")

    def called(self, host: Host, word: str) -> bool:
        return f"{host.name}: {word}" in self.told()

    def record(self) -> dict[str, Any]:
        self.process.wait(timeout=280)
        found: dict[str, Any] = json.loads((self.folder / "record.json").read_bytes())
        return found


@contextmanager
def running(site: OperatorSite, *argv: str) -> Iterator[Running]:
    with (site.root / "record.json").open("wb") as out, (site.root / "told").open("wb") as told:
        process = subprocess.Popen([MAINSTAY, *argv, "--json"], cwd=site.root, stdout=out, stderr=told)
        try:
            yield Running(process, site.root)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@dataclass
class Trial:
    """One fault on one host. seen: what was measured."""

    host: Host
    fault: str
    offset: int
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.fault} at {self.offset}/{OFFSETS} on {self.host.name}"

    def reached(self) -> bool:
        """The job has come so far: it has begun at 0, and the postinst has printed its share of lines after that."""
        jobs = list((self.host.root / "var/lib/mainstay/jobs").glob("*apply"))
        if not jobs:
            return False
        if self.offset == 0:
            return True
        line = max(1, self.offset * SECONDS * 10 // OFFSETS)
        try:
            return f"record {line} of".encode() in (jobs[0] / "out").read_bytes()
        except FileNotFoundError:
            return False

    def strike(self, run: Running) -> None:
        wait_until(lambda: self.reached() or run.process.poll() is not None, f"{self.name} is reached", deadline=150)
        assert run.process.poll() is None, run.told()
        started = time.monotonic()
        getattr(self, f"_{self.fault}")(run)
        self.seen["seconds"] = time.monotonic() - started

    def _ssh(self, run: Running) -> None:
        self.host.cut_ssh()

    def _link(self, run: Running) -> None:
        self.host.link_down()
        try:
            self._called_unknown(run)
        finally:
            self.host.link_up()

    def _power(self, run: Running) -> None:
        """The cable first: a machine without power says no goodbye on the wire either. Every second one is back before
        anybody has called it unknown."""
        self.host.link_down()
        self.host.power_cut()
        if self.offset % 2:
            self._called_unknown(run)
        self.host.link_up()
        self.host.boot()

    def _called_unknown(self, run: Running) -> None:
        since = time.monotonic()
        wait_until(lambda: run.called(self.host, "unknown"), f"{self.name} is called unknown", deadline=120)
        self.seen["unknown after"] = time.monotonic() - since

    def judge(self, part: dict[str, Any]) -> None:
        """Nothing half-configured that is not named, nothing held, the result found, and the loss told."""
        host, told = self.host, f"{self.name}: {part['verdict']}: {part['reason']}; {part['measures']['notes']}"
        audit = host.exec(["dpkg", "--audit"])
        assert audit == "" or part["verdict"] in ("failed", "unknown"), f"{told}\n{audit}"
        assert host.installed()["demo-web"] == "1.6", told
        assert host.exec(["sh", "-c", "ls /var/lib/mainstay/lock 2>/dev/null || true"]) == "", told
        assert host.exec(["systemctl", "is-active", "demo-web"]).strip() == "active", told
        if self.fault == "power":
            assert part["verdict"] == "degraded" and "rebooted by itself" in part["reason"], told
        else:
            assert part["verdict"] == "succeeded", told
        if "unknown after" in self.seen:
            assert any("reconciled" in note for note in part["measures"]["notes"]), told


def prepared(host: Host) -> None:
    host.install("demo-web", "1.0")
    (host.root / "etc/demo-web/seconds").write_text(f"{SECONDS}\n")


def strike_all(tmp_path: Path, fleet: Fleet, offsets: list[int]) -> None:
    """Each fault at each of these offsets, each on a host of its own, all in one run."""
    faults = [(fault, offset) for offset in offsets for fault in ("ssh", "link", "power")]
    hosts = fleet.pristine(len(faults))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(prepared, hosts))
    fleet.repository.publish("demo-web", "1.6")
    site = make_site(tmp_path / "site", fleet, hosts, more={host.name: ", connect_timeout: 2s" for host in hosts})
    site.plan("web-update", PLAN)
    trials = [Trial(host, *fault) for host, fault in zip(hosts, faults, strict=True)]
    with running(site, "run", "web-update", "--yes") as run, ThreadPoolExecutor(len(trials)) as pool:
        struck = [pool.submit(trial.strike, run) for trial in trials]
        for one in struck:
            one.result()
        record = run.record()
    parts = {part["host"]: part for part in record["hosts"]}
    for trial in trials:
        figures = " ".join(f"{name} {value:.1f}" for name, value in trial.seen.items())
        part = parts[trial.host.name]
        print(f"{trial.name}: {part['verdict']} ({figures}) {part['reason']} {part['measures']['notes']}")
    for trial in trials:
        trial.judge(parts[trial.host.name])
    assert site.in_flight() == [] and site("records", "verify").status == 0


def test_contact_is_lost_in_mid_change(tmp_path: Path, fleet: Fleet) -> None:
    strike_all(tmp_path, fleet, [0, 11])


@pytest.mark.long
@pytest.mark.parametrize("offsets", [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 12, 13], [14, 15, 16], [17, 18, 19]])
def test_contact_is_lost_at_every_offset(tmp_path: Path, fleet: Fleet, offsets: list[int]) -> None:
    """With the short form, 20 offsets for each of three faults."""
    strike_all(tmp_path, fleet, offsets)


def test_what_a_run_has_left_unknown_is_reconciled_by_a_later_one(tmp_path: Path, fleet: Fleet) -> None:
    """One host is switched off in mid-dpkg and stays off until the run has ended; another reboots by itself meanwhile."""
    off, itself = fleet.pristine(2)
    for host in (off, itself):
        prepared(host)
    fleet.repository.publish("demo-web", "1.6")
    site = make_site(
        tmp_path / "site", fleet, [off, itself], more={h.name: ", connect_timeout: 2s" for h in (off, itself)}
    )
    site.plan("web-update", PLAN.replace("reconcile_for: 2m", "reconcile_for: 0"))
    with running(site, "run", "web-update", "--yes") as run:
        for host in (off, itself):
            trial = Trial(host, "power", 8)
            wait_until(trial.reached, f"{trial.name} is reached", deadline=150)
        off.power_cut()
        itself.reboot()
        record = run.record()
    parts = {part["host"]: part for part in record["hosts"]}
    assert parts[off.name]["verdict"] == "unknown" and record["verdict"] == "unknown" and run.process.returncode == 5
    assert f"mainstay runs reconcile {record['id']}" in parts[off.name]["reason"]
    assert parts[itself.name]["verdict"] == "degraded", parts[itself.name]["reason"]
    assert "rebooted by itself" in parts[itself.name]["reason"]
    assert itself.exec(["dpkg", "--audit"]) == "" and itself.installed()["demo-web"] == "1.6"

    off.boot()
    built_upon = site("run", "web-update", "--yes", "--json", "--hosts", off.name)
    assert built_upon.verdicts() == {off.name: "refused"}, built_upon.told
    assert f"mainstay runs reconcile {record['id']}" in built_upon.host(off.name)["reason"]

    looked = site("runs", "reconcile", record["id"], "--json")
    assert looked.verdicts() == {off.name: "degraded"} and looked.status == 3, looked.told
    assert looked.json["kind"] == "reconcile" and looked.json["links"]["reconciles"] == record["id"]
    assert "dpkg was interrupted (demo-web); repaired" in looked.host(off.name)["reason"]
    assert off.exec(["dpkg", "--audit"]) == "" and off.installed()["demo-web"] == "1.6"
    (status,) = [one for one in site("status", "--json").json if one["host"] == off.name]
    assert status["verdict"] == "degraded" and site("runs", "reconcile", record["id"]).status == 4

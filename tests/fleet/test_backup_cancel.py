"""A run is cancelled, by another process, while a real host's backup is under way: it ends there, soon and in order."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet import Host
from tests.fleet.site import OperatorSite
from tests.fleet.system import wait_until
from tests.fleet.test_backup import CANARY, site  # noqa: F401 - a fixture
from tests.servers.repository import make_repository

ENDLESS = """
kind: backup
targets: all
repository: main
before: {command: touch /var/tmp/drained}
after: {command: rm /var/tmp/drained}
sources:
  conf: {paths: [/etc]}
  dump:
    command: [sh, -c, 'n=0; while :; do head -c 100000 /dev/urandom; n=$((n+1)); echo "$n" >/var/tmp/at; sleep 0.1; done']
    filename: dump
    user: root
  tail: {paths: [/home]}
"""


@contextmanager
def under_way(site: OperatorSite, host: Host) -> Iterator[subprocess.Popen[str]]:  # noqa: F811 - the fixture
    host.exec(["rm", "-f", "/var/tmp/at"])

    def reads() -> bool:
        said = host.exec(["cat", "/var/tmp/at"], check=False).strip()
        return said.isdecimal() and int(said) >= 5

    with site.meanwhile("run", "slow", "--yes", "--json") as process:
        wait_until(lambda: reads() or process.poll() is not None, "it reads its source", deadline=120, every=0.2)
        assert process.poll() is None, process.communicate()
        yield process


def check(site: OperatorSite, host: Host, run: str, kept: Path) -> None:  # noqa: F811 - the fixture
    """It is told as it was, and nothing of it is left."""
    shown = site("records", "show", run, "--json")
    part = shown.host(host.name)
    assert shown.json["verdict"] == part["verdict"] == "cancelled", part["reason"]
    assert "not tonight; 1 of 3 taken" in part["reason"], part["reason"]
    rows = part["measures"]["sources"]
    assert {name: rows[name]["verdict"] for name in rows} == {
        "conf": "succeeded",
        "dump": "cancelled",
        "tail": "cancelled",
    }
    assert len(part["measures"]["points"]) == 1 and list((kept / "locks").iterdir()) == []
    assert (
        host.exec(["ls", "/var/lib/mainstay/taking"]) == "" and host.exec(["find", "/run/mainstay", "-type", "f"]) == ""
    )
    assert host.exec(["ls", "/var/tmp/drained"], check=False) == ""
    assert "the run was cancelled" in " ".join(site("records", "show", run).out.split())


def cancel(site: OperatorSite) -> str:  # noqa: F811 - the fixture
    (run,) = [row["id"] for row in site.in_flight()]
    asked = site("runs", "cancel", run, "--reason", "not tonight")
    assert asked.status == 0 and "the backup that is under way on a host is ended" in " ".join(asked.told.split()), (
        asked.told
    )
    return str(run)


def test_another_process_cancels_a_backup_that_is_under_way(
    site: OperatorSite,  # noqa: F811 - the fixture
    host: Host,
    tmp_path: Path,
) -> None:
    site.plan("slow", ENDLESS)
    kept = tmp_path / "kept" / host.name
    make_repository(kept, CANARY)
    with under_way(site, host) as process:
        run = cancel(site)
        out, said = process.communicate(timeout=240)
    assert process.returncode == 1, (out, said)
    check(site, host, run, kept)


@pytest.mark.long
def test_the_controller_dies_and_whoever_goes_on_ends_what_was_cancelled_meanwhile(
    site: OperatorSite,  # noqa: F811 - the fixture
    host: Host,
    tmp_path: Path,
) -> None:
    site.plan("slow", ENDLESS)
    assert site("repo", "init", "slow", "--yes").status == 0
    with under_way(site, host) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        run = cancel(site)
        resumed = site("runs", "resume", run, "--json")
    assert resumed.status == 1, resumed.told + resumed.out
    check(site, host, run, tmp_path / "kept" / host.name)

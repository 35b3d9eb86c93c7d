"""Backups of real hosts, from the command line: through the controller, with a restic that is sent, into a folder on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.restic import folder, restic

CANARY = "canary-0b7c-fleet"
NIGHTLY = """
kind: backup
targets: all
repository: main
sources:
  files: {paths: [/etc, /home]}
  packages: {command: [dpkg, -l], filename: dpkg.txt}
"""


@pytest.fixture
def site(tmp_path: Path, fleet: Fleet, host: Host) -> OperatorSite:
    made = make_site(tmp_path / "site", fleet, [host])
    secret = made.root / "secrets" / host.name
    secret.parent.mkdir(mode=0o700)
    secret.write_text(CANARY)
    secret.chmod(0o600)
    (made.root / "recovery").mkdir()
    lines = f"    url: {tmp_path}/kept/{{host}}\n    password: file:secrets/{{host}}\n"
    (made.root / "recovery" / "main.yml").write_text(f"repositories:\n  main:\n{lines}")
    made.plan("nightly", NIGHTLY)
    return replace(made, environ={"PATH": f"{folder()}:{os.environ['PATH']}"})


def test_a_host_is_backed_up_and_what_came_is_what_was_there(site: OperatorSite, host: Host, tmp_path: Path) -> None:
    refused = site("run", "nightly", "--yes")
    assert refused.status == 4 and "mainstay repo init nightly" in refused.told
    made = site("repo", "init", "nightly", "--yes")
    assert made.status == 0, made.told
    preview = site("preview", "nightly")
    assert preview.status == 0 and "sends the controller's restic" in preview.out

    ran = site("run", "nightly", "--yes", "--json")
    assert ran.status == 0, ran.told + ran.out
    part = ran.host(host.name)
    assert part["verdict"] == "succeeded" and part["reason"].startswith("2 sources, "), part["reason"]
    points = part["measures"]["points"]
    assert len(points) == 2
    assert site("records", "verify").status == 0
    assert host.exec(["find", "/run/mainstay", "-type", "f"]) == ""

    env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(tmp_path / "kept" / host.name)}
    for point in points:
        subprocess.run([str(restic()), "restore", point, "--target", str(tmp_path / "back")], env=env, check=True)
    sums = ["sh", "-c", "find /etc /home -type f -exec sha256sum {} + | sort"]
    back = subprocess.run(
        ["sh", "-c", "find etc home -type f -exec sha256sum {} + | sed 's|  |  /|' | sort"],
        cwd=tmp_path / "back",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert back == host.exec(sums)
    assert (tmp_path / "back" / "dpkg.txt").read_text() == host.exec(["dpkg", "-l"])


SLOW = """
kind: backup
targets: all
repository: main
lost_after: 60s
sources:
  dump:
    command: [sh, -c, "i=0; while [ $i -lt 60 ]; do echo $i >/var/tmp/at; head -c 100000 /dev/urandom; i=$((i+1)); sleep 0.1; done"]
    filename: dump.bin
    user: root
"""


@pytest.mark.long
def test_another_controller_goes_on_with_a_backup_and_opens_the_same_way_again(
    site: OperatorSite, host: Host, tmp_path: Path
) -> None:
    """The connections to the host are cut, and then the controller is killed, while the job reads its source."""
    site.plan("slow", SLOW)
    assert site("repo", "init", "slow", "--yes").status == 0

    def at(number: int) -> bool:
        said = host.exec(["cat", "/var/tmp/at"], check=False).strip()
        return said.isdecimal() and int(said) >= number

    with site.meanwhile("run", "slow", "--yes", "--json") as process:
        wait_until(lambda: at(5) or process.poll() is not None, "it reads its source", deadline=120, every=0.2)
        assert process.poll() is None, process.communicate()
        host.cut_ssh()
        wait_until(lambda: at(15), "it goes on reading", deadline=60, every=0.2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (run,) = [row["id"] for row in site.in_flight()]
    resumed = site("runs", "resume", run, "--json")
    assert resumed.status == 0, resumed.told + resumed.out
    part = resumed.host(host.name)
    assert part["verdict"] == "succeeded" and part["measures"]["bytes"] == 6_000_000, part["reason"]
    look = f"grep -rlaF {CANARY} /var /run /etc /root /home /tmp 2>/dev/null; grep -laF {CANARY} /proc/[0-9]*/environ; true"
    assert host.exec(["sh", "-c", look]) == ""
    kept = [path for path in site.root.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert [path for path in kept if CANARY.encode() in path.read_bytes()] == []
    assert host.exec(["journalctl", "-q", "--no-pager", "-g", CANARY], check=False) == ""


def test_a_host_loses_its_power_in_mid_backup(site: OperatorSite, host: Host, tmp_path: Path) -> None:
    """What the repository has of it is counted, what it has not is said, and the next night goes well without help."""
    # Sources are taken in the order of their names.
    first = "  conf: {paths: [/etc]}\n"
    site.plan("slow", SLOW.replace("sources:\n", "sources:\n" + first))
    make_repository(tmp_path / "kept" / host.name, CANARY)
    locks = tmp_path / "kept" / host.name / "locks"

    def reads() -> bool:
        said = host.exec(["cat", "/var/tmp/at"], check=False).strip()
        return said.isdecimal() and int(said) >= 5

    with site.meanwhile("run", "slow", "--yes", "--json") as process:
        wait_until(lambda: reads() or process.poll() is not None, "it reads its source", deadline=120, every=0.2)
        assert process.poll() is None, process.communicate()
        host.link_down()
        host.power_cut()
        assert len(list(locks.iterdir())) == 1
        host.link_up()
        host.boot()
        out, said = process.communicate(timeout=240)
    assert process.returncode == 1, (out, said)
    (part,) = json.loads(out)["hosts"]
    assert part["verdict"] == "failed" and "dump: it was interrupted" in part["reason"], part["reason"]
    rows = part["measures"]["sources"]
    assert {name: rows[name]["verdict"] for name in rows} == {"conf": "succeeded", "dump": "failed"}, rows
    assert len(part["measures"]["points"]) == 1 and list(locks.iterdir()) == []

    again = site("run", "slow", "--yes", "--json")
    assert again.status == 0, again.told + again.out
    assert again.host(host.name)["measures"]["bytes"] > 6_000_000
    assert host.exec(["ls", "/var/lib/mainstay/taking"]) == "" and list(locks.iterdir()) == []
    env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(tmp_path / "kept" / host.name)}
    subprocess.run([str(restic()), "check", "--read-data"], env=env, check=True, capture_output=True)

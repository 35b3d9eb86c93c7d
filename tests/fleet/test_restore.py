"""Restores and proofs of a real host, from the command line: back onto it, onto the controller when it is gone, and drilled."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
from tests.servers.repository import make_repository
from tests.servers.restic import folder

CANARY = "canary-4e1d-fleet"
NIGHTLY = """
kind: backup
targets: all
repository: main
sources:
  files: {paths: [/etc, /home]}
prove: {sample: 5}
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


SUMS = "cd {} && find . -type f -exec sha256sum {{}} + | sort && find . -printf '%p %m %u %g %T@ %l\\n' | sort"
TREE = "mkdir -p /home/a && cd /home/a && umask 027 && echo one >f && ln f hard && ln -s f soft && seq 20000 >big"


@pytest.fixture
def backup(site: OperatorSite, host: Host, tmp_path: Path) -> str:
    """The run that has backed it up."""
    host.exec(["sh", "-c", f"{TREE} && : >empty && mkfifo pipe && printf x >'odd \"name'"])
    make_repository(tmp_path / "kept" / host.name, CANARY)
    made = site("run", "nightly", "--yes", "--json")
    assert made.status == 0, made.told
    return str(made.json["id"])


def test_files_come_back_over_what_was_changed(site: OperatorSite, host: Host, backup: str) -> None:
    was = host.exec(["sh", "-c", SUMS.format("/home/a")])
    host.exec(["sh", "-c", "echo two >/home/a/f; rm /home/a/big"])
    over = site("restore", host.name, "--path", "/home/a", "--to", "/", "--yes", "--json", f"--confirm={host.name}")
    assert over.status == 0, over.told + over.out
    assert host.exec(["sh", "-c", SUMS.format("/home/a")]) == was
    assert "over the running system" in over.told.lower() and "/home/a/f" in over.told
    assert over.json["kind"] == "restore" and over.json["links"]["relies_on"] == [backup]
    assert over.host(host.name)["measures"]["restored files"]["verified"] == 5
    assert host.exec(["find", "/run/mainstay", "-type", "f"]) == ""


@pytest.mark.long
def test_what_is_refused_and_what_works_when_the_host_is_gone(
    site: OperatorSite, host: Host, backup: str, tmp_path: Path
) -> None:
    was = host.exec(["sh", "-c", SUMS.format("/home/a")])
    new = site("restore", host.name, "--path", "/home/a", "--to", "/srv/back", "--yes")
    assert new.status == 0, new.told
    assert host.exec(["sh", "-c", SUMS.format("/srv/back/home/a")]) == was
    host.exec(["sh", "-c", "echo two >/home/a/f"])
    preview = site("restore", host.name, "--path", "/home/a", "--to", "/", "-n")
    assert "OVER THE RUNNING SYSTEM" in preview.out and "/home/a/f" in preview.out, preview.out
    assert f"--confirm={host.name}" in preview.out
    refused = site("restore", host.name, "--path", "/home/a", "--to", "/", "--yes")
    assert refused.status == 4 and host.exec(["cat", "/home/a/f"]) == "two\n"
    host.exec(["sh", "-c", "ln -s /home/a /srv/link && chown -h nobody /srv/link"])
    trap = site("restore", host.name, "--path", "/home/a", "--to", "/srv/link/x", "--yes")
    assert trap.status == 4 and "symlink that somebody else may change" in trap.told
    host.power_cut()
    proved = site("prove", "nightly", "--json")
    assert proved.status == 0, proved.told + proved.out
    assert proved.json["kind"] == "drill" and proved.json["links"]["proves"] == [backup]
    back = tmp_path / "back"
    here = site("restore", host.name, "--path", "/home/a/f", "--to", str(back), "--on", "controller", "--yes")
    assert here.status == 0, here.told
    assert (back / "home/a/f").read_text() == "one\n"
    assert site("records", "verify").status == 0

"""Restores and proofs of a real host, from the command line: back onto it, onto the controller when it is gone, and drilled."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
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


def test_files_come_back_where_they_were_and_where_the_host_is_gone(
    site: OperatorSite, host: Host, tmp_path: Path
) -> None:
    tree = "mkdir -p /home/a && cd /home/a && umask 027 && echo one >f && ln f hard && ln -s f soft && seq 20000 >big"
    host.exec(["sh", "-c", f"{tree} && : >empty && mkfifo pipe && printf x >'odd \"name'"])
    assert site("repo", "init", "nightly", "--yes").status == 0
    backup = site("run", "nightly", "--yes", "--json")
    assert backup.status == 0, backup.told

    # Onto the host: into a new folder, then over what was changed.
    sums = "cd {} && find . -type f -exec sha256sum {{}} + | sort && find . -printf '%p %m %u %g %T@ %l\\n' | sort"
    was = host.exec(["sh", "-c", sums.format("/home/a")])
    new = site("restore", host.name, "--path", "/home/a", "--to", "/srv/back", "--yes", "--json")
    assert new.status == 0, new.told + new.out
    assert host.exec(["sh", "-c", sums.format("/srv/back/home/a")]) == was
    part = new.host(host.name)
    assert part["measures"]["restored files"]["verified"] == 5
    assert new.json["kind"] == "restore" and new.json["links"]["relies_on"] == [backup.json["id"]]
    host.exec(["sh", "-c", "echo two >/home/a/f; rm /home/a/big"])
    preview = site("restore", host.name, "--path", "/home/a", "--to", "/", "-n")
    assert "OVER THE RUNNING SYSTEM" in preview.out and "/home/a/f" in preview.out, preview.out
    assert f"--confirm={host.name}" in preview.out
    refused = site("restore", host.name, "--path", "/home/a", "--to", "/", "--yes")
    assert refused.status == 4 and host.exec(["cat", "/home/a/f"]) == "two\n"
    over = site("restore", host.name, "--path", "/home/a", "--to", "/", "--yes", f"--confirm={host.name}")
    assert over.status == 0, over.told
    assert host.exec(["sh", "-c", sums.format("/home/a")]) == was
    host.exec(["sh", "-c", "ln -s /home/a /srv/link && chown -h nobody /srv/link"])
    trap = site("restore", host.name, "--path", "/home/a", "--to", "/srv/link/x", "--yes")
    assert trap.status == 4 and "symlink that somebody else may change" in trap.told
    assert host.exec(["find", "/run/mainstay", "-type", "f"]) == ""

    # Proved, and brought to the controller, with nothing of the host left.
    host.power_cut()
    proved = site("prove", "nightly", "--json")
    assert proved.status == 0, proved.told + proved.out
    assert proved.json["kind"] == "drill" and proved.json["links"]["proves"] == [backup.json["id"]]
    back = tmp_path / "back"
    here = site("restore", host.name, "--path", "/home/a/f", "--to", str(back), "--on", "controller", "--yes")
    assert here.status == 0, here.told
    assert (back / "home/a/f").read_text() == "one\n"
    assert site("records", "verify").status == 0

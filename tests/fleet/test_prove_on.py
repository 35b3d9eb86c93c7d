"""Proofs on another real host than the one whose points they are, from the command line, through the controller."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.restic import folder

CANARY = "canary-93aa-fleet"
NIGHTLY = """
kind: backup
targets: name={source}
repository: main
sources:
  big: {{paths: /home}}
  app: {{sqlite: /var/lib/app.db}}
prove: {{sample: 5, on: {drill}, check: [{{source: app, database: /var/lib/app.db, query: select count(*) from t, equals: "3"}}]}}
"""
ROOT = "/var/lib/mainstay/scratch"
LEFT = f"mkdir -p {ROOT} && chmod 700 {ROOT} && mkdir -p {ROOT}/OLD/files && touch {ROOT}/OLD/lock && echo x >{ROOT}/OLD/files/x"
HIDDEN = (
    f"grep -rlaF {CANARY} /var /run /etc /root /home /tmp 2>/dev/null; grep -laF {CANARY} /proc/[0-9]*/environ; true"
)
DUMP = "import sqlite3; d = sqlite3.connect('/var/lib/app.db'); d.execute('create table t as values (1), (2), (3)'); d.commit()"
# sqlite3's command line is not in Debian's base; this is what a backup asks of it: a copy, and whether it is whole.
SQLITE3 = """#!/usr/bin/python3
import shlex, sqlite3, sys
path, command = sys.argv[-2:]
if command.startswith(".backup "):
    sqlite3.connect(path).backup(sqlite3.connect(shlex.split(command)[2]))
else:
    print(sqlite3.connect(path).execute(command).fetchone()[0])
"""


@pytest.fixture
def hosts(fleet: Fleet) -> list[Host]:
    return fleet.pristine(2)


@pytest.fixture
def site(tmp_path: Path, fleet: Fleet, hosts: list[Host]) -> OperatorSite:
    source, drill = hosts
    made = make_site(tmp_path / "site", fleet, hosts)
    secret = made.root / "secrets" / source.name
    secret.parent.mkdir(mode=0o700)
    secret.write_text(CANARY)
    secret.chmod(0o600)
    (made.root / "recovery").mkdir()
    lines = f"    url: {tmp_path}/kept/{{host}}\n    password: file:secrets/{{host}}\n"
    (made.root / "recovery" / "main.yml").write_text(f"repositories:\n  main:\n{lines}")
    made.plan("nightly", NIGHTLY.format(source=source.name, drill=drill.name))
    return replace(made, environ={"PATH": f"{folder()}:{os.environ['PATH']}"})


def test_another_host_restores_and_proves_and_keeps_nothing(
    site: OperatorSite, hosts: list[Host], tmp_path: Path
) -> None:
    source, drill = hosts
    source.exec(["sh", "-c", "cat >/usr/bin/sqlite3 && chmod 755 /usr/bin/sqlite3"], stdin=SQLITE3.encode())
    source.exec(["sh", "-c", "head -c 3000000 /dev/urandom >/home/big"])
    source.exec(["python3", "-c", DUMP])
    drill.exec(["sh", "-c", LEFT])
    make_repository(tmp_path / "kept" / source.name, CANARY)
    made = site("run", "nightly", "--yes", "--json")
    assert made.status == 0, made.told

    proved = site("prove", "nightly", "--json")
    assert proved.status == 0, proved.told + proved.out
    assert f"On {drill.name}: it restores them, and is given the password" in proved.told
    assert proved.json["kind"] == "drill" and proved.json["links"]["proves"] == [made.json["id"]]
    part = proved.host(drill.name)
    assert part["reason"].startswith("2 of 2 points proved"), part["reason"]
    proofs = part["measures"]["proofs"]
    assert {(one["of"], one["on"], one["verdict"]) for one in proofs} == {(source.name, drill.name, "succeeded")}
    assert "1 assertion held" in next(one["scope"] for one in proofs if one["unit"].startswith("app/"))
    assert any("removed: OLD" in note for note in part["measures"]["notes"]), part["measures"]["notes"]
    assert drill.exec(["ls", "-A", ROOT]) == "" and drill.exec(["sh", "-c", HIDDEN]) == ""
    assert drill.exec(["sh", "-c", "ls -d /tmp/mainstay-drill-* /var/tmp/mainstay-drill-* 2>/dev/null; true"]) == ""
    packs = [path for path in (tmp_path / "kept" / source.name / "data").rglob("*") if path.is_file()]
    big = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(big.read_bytes())
    content[len(content) // 2] ^= 0xFF
    big.chmod(0o600)
    big.write_bytes(content)
    spoilt = site("prove", "nightly", "--source", "big", "--json")
    assert spoilt.status == 1, spoilt.told + spoilt.out
    assert "not as in the repository: /home/big" in spoilt.host(drill.name)["reason"]
    assert drill.exec(["ls", "-A", ROOT]) == ""


@pytest.mark.long
def test_a_drill_host_that_loses_its_power_proves_nothing_and_keeps_nothing(
    site: OperatorSite, hosts: list[Host]
) -> None:
    source, drill = hosts
    source.exec(["sh", "-c", "cat >/usr/bin/sqlite3 && chmod 755 /usr/bin/sqlite3"], stdin=SQLITE3.encode())
    source.exec(["sh", "-c", "head -c 200000000 /dev/urandom >/home/big"])
    source.exec(["python3", "-c", DUMP])
    assert site("repo", "init", "nightly", "--yes").status == 0
    assert site("run", "nightly", "--yes").status == 0

    def stands_still() -> bool:
        """In the middle of the restore."""
        stop = f"ls -d {ROOT}/*/files/home/big >/dev/null && pkill -STOP restic && echo so"
        return drill.exec(["sh", "-c", stop], check=False) != ""

    with site.meanwhile("prove", "nightly", "--json", "--source", "big") as process:
        wait_until(lambda: stands_still() or process.poll() is not None, "it restores", deadline=120, every=0.05)
        assert process.poll() is None, process.communicate()
        drill.link_down()
        drill.power_cut()
        drill.link_up()
        drill.boot()
        out, said = process.communicate(timeout=240)
    assert process.returncode == 1, out + said
    assert "0 of 1 point proved" in out and "the job was broken off" in out
    assert drill.exec(["ls", "-A", ROOT]) == ""
    again = site("prove", "nightly", "--json")
    assert again.status == 0, again.told + again.out
    # Cancelled in the middle: what it was at is told to end, and what was tried by then counts.
    with site.meanwhile("prove", "nightly", "--json") as process:
        wait_until(lambda: stands_still() or process.poll() is not None, "it restores", deadline=120, every=0.05)
        assert process.poll() is None, process.communicate()
        (run,) = [row["id"] for row in site.in_flight()]
        assert site("runs", "cancel", run, "--yes").status == 0
        out, said = process.communicate(timeout=240)
    assert process.returncode == 1 and '"cancelled"' in out, out + said
    assert drill.exec(["ls", "-A", ROOT]) == ""

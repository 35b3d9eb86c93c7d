"""Proofs on hosts by `mainstay prove` itself: the whole way from the command to the record. The hosts are this machine, each with a
folder of its own for what mainstay keeps on a host; all else is real: sshd, restic, rclone, MariaDB, PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.sshd import Sshd
from tests.servers import mariadb
from tests.servers.postgres import Postgres, programs
from tests.servers.restic import folder

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]

CANARY = "canary-51d0-{host}"
HOSTS = ("one", "two", "three")
COMMANDS = """
import contextlib, copy, io, json, sys
from mainstay.console import cli
from mainstay.runner.shell.adapters.fabric import FabricShells

real = FabricShells.open

def own(shells, host, *, write=True):
    shells = copy.copy(shells)
    shells.state_dir = f"{sys.argv[1]}/{host.name}"
    return real(shells, host, write=write)

FabricShells.open = own
done = []
for words in json.loads(sys.argv[2]):
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        status = cli.run(words)
    done.append((status, out.getvalue(), told.getvalue()))
print(json.dumps(done))
"""


@dataclass(frozen=True)
class Site:
    """root: the site's. kept: of the repositories, one for each host. hosts: what mainstay keeps on them."""

    root: Path
    kept: Path
    hosts: Path

    def do(self, *commands: str) -> list[Any]:
        """Each ends well, but for those that begin with `! `. What they print as JSON."""
        words = [["--site", str(self.root), *one.removeprefix("! ").split()] for one in commands]
        argv = [sys.executable, "-c", COMMANDS, str(self.hosts), json.dumps(words)]
        env = {**os.environ, "PATH": f"{folder()}:{os.environ['PATH']}"}
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=280, check=False)
        assert ended.returncode == 0, ended.stderr
        said = json.loads(ended.stdout)
        for one, (status, out, told) in zip(commands, said, strict=True):
            assert (status != 0) is one.startswith("! "), (one, status, out, told)
        return [json.loads(out) if " --json" in one else None for one, (_, out, _) in zip(commands, said, strict=True)]


@pytest.fixture
def site(tmp_path: Path, server: Sshd) -> Iterator[Site]:
    made = Site(tmp_path / "site", tmp_path / "kept", tmp_path / "hosts")
    host_key = (server.folder / "host_key.pub").read_text()
    hosts = "".join(f"  {name}: {{address: 127.0.0.1, port: {server.port}}}\n" for name in HOSTS)
    texts = {
        "mainstay.yml": f'site: acme\ntimezone: UTC\nssh: {{user: root, key: "file:{server.key}", known_hosts: known}}\n',
        "known": f"[127.0.0.1]:{server.port} {host_key}",
        "inventory/hosts.yml": f"hosts:\n{hosts}",
        "recovery/main.yml": f"repositories:\n  main: {{url: '{made.kept}/{{host}}', password: 'file:secrets/{{host}}'}}\n",
        **{f"secrets/{name}": CANARY.format(host=name) for name in HOSTS},
    }
    for name, text in texts.items():
        path = made.root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(text)
        path.chmod(0o600)
    (made.root / "schedules").mkdir()
    yield made
    for left in made.hosts.rglob("*"):
        assert not left.is_file() or b"canary-51d0" not in left.read_bytes(), f"{left} holds a password"
    assert [left for name in HOSTS for left in (made.hosts / name / "scratch").glob("*")] == []


def parts(record: Any) -> dict[str, Any]:
    return {host["host"]: host for host in record["hosts"]}


@pytest.mark.long
def test_several_hosts_prove_themselves_at_once(site: Site, tmp_path: Path) -> None:
    """Each in its own repository: what is wrong with one says nothing of the others."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(8):
        (data / f"file{number}").write_bytes(os.urandom(5_000))
    plan = f"targets: all, repository: main, sources: {{data: {{paths: {data}}}}}, prove: {{on: host, sample: 5}}"
    (site.root / "schedules/plan.yml").write_text(f"plans:\n  nightly: {{kind: backup, {plan}}}\n")
    _, ran = site.do("repo init nightly --yes", "run nightly --yes --json")
    packs = [path for path in (site.kept / "two/data").rglob("*") if path.is_file()]
    spoilt = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(spoilt.read_bytes())
    content[:] = bytes(255 - byte for byte in content)
    spoilt.chmod(0o600)
    spoilt.write_bytes(content)
    proved, listed = site.do("! prove nightly --json", "points --json")
    found = parts(proved)
    assert {name: part["verdict"] for name, part in found.items()} == {
        "one": "succeeded",
        "two": "failed",
        "three": "succeeded",
    }
    assert "not as in the repository" in found["two"]["reason"]
    for name, part in found.items():
        (proof,) = part["measures"]["proofs"]
        assert (proof["of"], proof["on"], proof["run"]) == (name, name, ran["id"])
    assert listed


@pytest.mark.long
def test_databases_are_proved_on_another_host(site: Site, postgres: Postgres) -> None:
    with mariadb.running() as server:
        server.execute("CREATE DATABASE shop; CREATE TABLE shop.t AS SELECT 1 AS n UNION SELECT 2")
        cluster = f"host: {postgres.folder}, port: {postgres.port}, bin: {programs()}, method: basebackup"
        sources = (
            f"shop: {{mysql: {{socket: {server.socket}, databases: [shop]}}}}, whole: {{postgresql: {{{cluster}}}}}"
        )
        asked = "{source: shop, database: shop, query: select sum(n) from t, equals: '3'}"
        plan = f"targets: name=one, repository: main, sources: {{{sources}}}, prove: {{on: two, check: [{asked}]}}"
        (site.root / "schedules/plan.yml").write_text(f"plans:\n  nightly: {{kind: backup, {plan}}}\n")
        _, ran, proved, shown = site.do(
            "repo init nightly --yes", "run nightly --yes --json", "prove nightly --json", "points --json"
        )
    assert (proved["kind"], proved["links"]["proves"]) == ("drill", [ran["id"]])
    part = parts(proved)["two"]
    proofs = {one["unit"]: one for one in part["measures"]["proofs"]}
    assert {unit: (one["of"], one["on"], one["verdict"]) for unit, one in proofs.items()} == {
        "shop/shop": ("one", "two", "succeeded"),
        "whole/(cluster)": ("one", "two", "succeeded"),
    }
    assert (
        "1 assertion held" in proofs["shop/shop"]["scope"] and "the whole cluster" in proofs["whole/(cluster)"]["scope"]
    )
    assert shown

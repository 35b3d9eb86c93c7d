"""Anchors on other machines, through the command line that an operator types: a real sshd, an S3 server, a dead one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.sshd import Sshd, sshd
from tests.faults.command_line import Done, mainstay
from tests.servers.s3 import REGION, S3, moto
from tests.unit.console.fakes import SITE, write_site

RUN = ("run", "patch-web", "--yes")
TRUST = ("hosts", "trust", "vault1", "--yes")
VERIFY = ("records", "verify", "--json")
KEYS = "access_key: 'env:ANCHOR_KEY', secret_key: 'env:ANCHOR_SECRET'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(scope="module")
def objects() -> Iterator[S3]:
    with moto() as one:
        yield one


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


class Operator:
    """At the command line. said: everything that it printed."""

    def __init__(self, site: Path, objects: S3) -> None:
        self.site = site
        self.env = {"ANCHOR_KEY": objects.access, "ANCHOR_SECRET": objects.secret}
        self.said = ""

    def __call__(self, *commands: tuple[str, ...]) -> list[Done]:
        done = mainstay(self.site, *commands, env=self.env)
        self.said += "".join(one.out + one.err for one in done)
        return done


def anchors(verified: Done) -> dict[str, tuple[object, object]]:
    """(reached, behind) by the kind of each anchor, as `records verify --json` says."""
    return {one["name"].split()[0]: (one["reached"], one["behind"]) for one in json.loads(verified.out)["anchors"]}


def site_with(tmp_path: Path, server: Sshd, objects: S3, s3: str) -> Operator:
    vault = f"  vault1: {{address: 127.0.0.1, port: {server.port}, user: root, key: 'file:{server.key}', tags: {{role: vault}}}}\n"
    hosts = SITE["inventory/hosts.yml"].replace("hosts:\n", "hosts:\n" + vault, 1)
    anchors = f"anchors:\n  - ssh: {{host: vault1, path: {tmp_path}/vault/acme}}\n  - s3: {s3}\n"
    write_site(tmp_path / "site", **{"inventory/hosts.yml": hosts, "mainstay.yml": SITE["mainstay.yml"] + anchors})
    return Operator(tmp_path / "site", objects)


def test_a_run_leaves_its_seal_on_both_machines_and_a_lost_state_is_noticed(
    tmp_path: Path, server: Sshd, objects: S3
) -> None:
    bucket = objects.bucket()
    s3 = f"{{bucket: {bucket}, prefix: acme, region: {REGION}, endpoint: '{objects.endpoint}', {KEYS}}}"
    operator = site_with(tmp_path, server, objects, s3)
    _, done, verified = operator(TRUST, RUN, VERIFY)
    assert done.code == 4, operator.said
    assert len((tmp_path / "vault" / "acme").read_text().splitlines()) == 1
    assert [item["Key"] for item in objects.client.list_objects_v2(Bucket=bucket)["Contents"]] == [
        f"acme/{0:020d}",  # that nothing is overwritten there
        f"acme/{1:020d}",
    ]
    assert anchors(verified) == {"ssh": (1, 0), "s3": (1, 0)}
    (tmp_path / "site" / "state").rename(tmp_path / "site" / "lost")
    [refused] = operator(RUN)
    assert refused.code == 2
    assert "has seen 1 records" in refused.err
    kept = [path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert not any(objects.secret.encode() in text for text in [*kept, operator.said.encode()])


@pytest.mark.long
def test_a_server_that_never_answers_holds_no_run_up(tmp_path: Path, server: Sshd, objects: S3, silent: str) -> None:
    bucket = objects.bucket()
    s3 = f"{{bucket: {bucket}, region: {REGION}, endpoint: '{objects.endpoint}', {KEYS}}}"
    operator = site_with(tmp_path, server, objects, s3)
    _, first = operator(TRUST, RUN)
    assert first.code == 4, operator.said
    main = tmp_path / "site" / "mainstay.yml"
    well = main.read_text()
    main.write_text(well.replace(objects.endpoint, silent))
    second, status = operator(RUN, ("status",))
    assert second.code == 4, operator.said
    assert len((tmp_path / "vault" / "acme").read_text().splitlines()) == 2, "the other anchor has it"
    assert f"anchor s3 {bucket} at {silent} lacks 2 seals since" in status.out
    main.write_text(well)
    [verified] = operator(VERIFY)
    assert anchors(verified) == {"ssh": (2, 0), "s3": (2, 0)}

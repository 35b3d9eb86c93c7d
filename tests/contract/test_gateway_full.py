"""A gateway whose storage has no room: a host's restic would ask again for a quarter of an hour, and not say why it failed."""

from __future__ import annotations

import http.client
import os
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from tests.contract.hosts_restic import KEY, PASSWORD, HostsRestic
from tests.servers.repository import make_repository
from tests.servers.restic import rclone
from tests.servers.sftp import sftp

from mainstay.inventory.secrets import Secret
from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.repository import Access

pytestmark = pytest.mark.server


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A repository on a disk of 12 MB."""
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", disk], check=True)
    try:
        make_repository(disk / "repository", KEY)
        yield disk / "repository"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# What the host is answered there is in the test at the end; what its restic makes of it is the same for both.
@pytest.fixture(params=["path", pytest.param("sftp", marks=pytest.mark.long)])
def access(request: pytest.FixtureRequest, small: Path, tmp_path: Path) -> Iterator[Access]:
    if request.param == "path":
        yield Access("vault", "web1", str(small), Secret(KEY), "write", "path")
        return
    with over_sftp(small, tmp_path) as one:
        yield one


@contextmanager
def over_sftp(folder: Path, tmp_path: Path) -> Iterator[Access]:
    (tmp_path / "sshd").mkdir()
    with sftp(tmp_path / "sshd") as there:
        key, pinned = str(there.key), str(there.known_hosts)
        yield Access("vault", "web1", there.url(folder), Secret(KEY), "write", "sftp", key=key, known_hosts=pinned)


def test_a_full_disk_ends_a_backup_at_once_and_says_so(access: Access, small: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "fits").write_bytes(os.urandom(1 << 20))
    with Rclone(str(rclone())).serve(access, "run-1", PASSWORD) as served:
        host = HostsRestic(served.port, tmp_path)
        host.good("backup", "--json", str(data))
        (data / "large").write_bytes(os.urandom(40 << 20))
        done = host("backup", "--json", str(data))
        assert done.returncode == 1, done.stderr
        assert "no room is left where the repository vault is kept" in done.stderr
        assert len(host.ids()) == 1 and list((small / "locks").iterdir()) == []
        host.good("check", "--read-data")


def test_what_an_sftp_server_has_no_room_for_is_refused_and_why(small: Path, tmp_path: Path) -> None:
    login = b64encode(f"run-1:{PASSWORD.reveal()}".encode()).decode()
    answers = []
    with over_sftp(small, tmp_path) as access, Rclone(str(rclone())).serve(access, "run-1", PASSWORD) as served:
        for size in (1 << 20, 20 << 20):
            body = os.urandom(size)
            there = http.client.HTTPConnection(*served, timeout=60)
            there.request("POST", f"/data/{sha256(body).hexdigest()}", body, {"Authorization": f"Basic {login}"})
            answer = there.getresponse()
            answers.append((answer.status, answer.reason))
            there.close()
    assert answers == [(200, "OK"), (403, "no room is left where the repository vault is kept")]

"""A gateway that is killed with a file in its hands, on each kind of storage: half of it must not stand in the way for ever."""

from __future__ import annotations

import os
import signal
import socket
from base64 import b64encode
from pathlib import Path

import pytest
from tests.contract.hosts_restic import PASSWORD
from tests.contract.test_gateway import Places, asked, gateway, named, places, read, s3, serving, sftp_server
from tests.fleet.system import birth, wait_until
from tests.servers.s3 import S3

from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.gateway.contract import Served
from mainstay.recovery.repository import Access, Kind

pytestmark = pytest.mark.server
__all__ = ["gateway", "places", "s3", "sftp_server"]  # fixtures
SIZE = 1_000_000


def killed_within(served: Served, access: Access, body: bytes) -> None:
    """An upload of which a part has come, then rclone is killed, then the rest comes."""
    login = b64encode(f"run-1:{PASSWORD.reveal()}".encode()).decode()
    head = f"POST /data/{named(body)} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Length: {SIZE}\r\n\r\n"
    pid = serving(access)
    born = birth(pid)
    with socket.create_connection(served, timeout=60) as there:
        there.sendall(head.encode() + body[: SIZE // 2])
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: birth(pid) != born, "it is dead", deadline=60)
        there.sendall(body[SIZE // 2 :])
        assert there.recv(100).startswith(b"HTTP/1.1 503 ")


def put_half(access: Access, body: bytes, folder: Path, store: S3 | None) -> None:
    """What a storage may keep of it; one that keeps nothing of what was cut off (S3) is given it."""
    place = f"data/{named(body)[:2]}/{named(body)}"
    if store is not None:
        bucket = access.url.split("/")[3]
        store.client.put_object(Bucket=bucket, Key=f"web1/{place}", Body=body[: SIZE // 2])
        return
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(body[: SIZE // 2])


@pytest.mark.parametrize("kind", ["path", "sftp", "s3"])
def test_half_a_file_of_a_killed_gateway_is_removed_and_written_anew(
    gateway: Rclone, places: Places, tmp_path: Path, request: pytest.FixtureRequest, kind: Kind
) -> None:
    access, body, other = places.access(kind), os.urandom(SIZE), os.urandom(SIZE)
    store: S3 | None = request.getfixturevalue("s3") if kind == "s3" else None
    with gateway.serve(access, "run-1", PASSWORD) as served:
        assert asked(served, "POST", f"/data/{named(other)}", body=other) == 200
        killed_within(served, access, body)
        put_half(access, body, tmp_path / "kept" / "web1", store)

        def there() -> bool:
            return asked(served, "POST", f"/data/{named(body)}", body=body) == 200

        wait_until(there, "it is taken, as restic asks again", deadline=120, every=0.2)
        assert read(served, f"/data/{named(body)}") == body
        assert read(served, f"/data/{named(other)}") == other
        assert asked(served, "DELETE", f"/data/{named(body)}") == 403

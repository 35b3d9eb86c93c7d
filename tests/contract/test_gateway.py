"""The gateway as a host's restic meets it, on each kind of storage: what it may do, what it may not, and what is left behind."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.contract.hosts_restic import KEY, PASSWORD, HostsRestic
from tests.fleet.system import birth, wait_until
from tests.servers.restic import rclone
from tests.servers.s3 import S3, moto
from tests.servers.sftp import Sftp, sftp

from mainstay.inventory.secrets import Secret
from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.gateway.adapters.storage import root
from mainstay.recovery.gateway.contract import GatewayError, Served
from mainstay.recovery.repository import Access, Kind

pytestmark = pytest.mark.server
V2 = {"Accept": "application/vnd.x.restic.rest.v2"}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def sftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sftp]:
    with sftp(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture
def gateway() -> Rclone:
    return Rclone(str(rclone()))


class Places:
    """Access to a new repository of each kind."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self._folder = folder
        self._request = request

    def access(self, kind: Kind) -> Access:
        access = Access("vault", "web1", "", Secret(KEY), "write", kind)
        folder = self._folder / "kept" / "web1"
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "path":
            return replace(access, url=str(folder))
        if kind == "sftp":
            server: Sftp = self._request.getfixturevalue("sftp_server")
            return replace(access, url=server.url(folder), key=str(server.key), known_hosts=str(server.known_hosts))
        store: S3 = self._request.getfixturevalue("s3")
        url = f"s3:{store.endpoint}/{store.bucket()}/web1"
        return replace(access, url=url, user=store.access, secret=Secret(store.secret), region="us-east-1")


@pytest.fixture
def places(tmp_path: Path, request: pytest.FixtureRequest) -> Places:
    return Places(tmp_path, request)


def asked(served: Served, method: str, path: str, user: str = f"run-1:{PASSWORD.reveal()}", body: bytes = b"") -> int:
    """The status of one request, its path sent as it is."""
    there = http.client.HTTPConnection(*served, timeout=60)
    try:
        login = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
        there.request(method, path, body=body, headers={**V2, **login})
        return there.getresponse().status
    finally:
        there.close()


def read(served: Served, path: str) -> bytes:
    there = http.client.HTTPConnection(*served, timeout=60)
    try:
        login = b64encode(f"run-1:{PASSWORD.reveal()}".encode()).decode()
        there.request("GET", path, headers={**V2, "Authorization": f"Basic {login}"})
        return there.getresponse().read()
    finally:
        there.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["path", "sftp", "s3"])
def test_a_hosts_restic_adds_and_reads_back_and_removes_nothing(
    gateway: Rclone, places: Places, tmp_path: Path, kind: Kind
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(20):
        (data / f"{number}").write_bytes(os.urandom(2_000_000))
    with gateway.serve(places.access(kind), "run-1", PASSWORD) as served:
        host = HostsRestic(served.port, tmp_path)
        assert host("snapshots").returncode == 10, "nothing is there, and nothing was made"
        host.good("init")
        for _ in range(2):
            host.good("backup", "-q", str(data))
        (data / "0").unlink()
        host.good("backup", "-q", str(data))
        before = host.ids()
        assert len(before) == 3
        for words in (sorted(before), ["--keep-last", "1", "--prune", "--max-unused", "0"]):
            assert "403" in host("forget", *words).stderr and host.ids() == before
        host.good("check", "--read-data", "-q")
        host.good("restore", "latest", "--target", str(tmp_path / "back"), "-q")
    again = tmp_path / "back" / str(data).strip("/")
    assert {f.name: f.read_bytes() for f in again.iterdir()} == {f.name: f.read_bytes() for f in data.iterdir()}


@pytest.mark.parametrize("kind", ["path", "sftp", "s3"])
def test_what_is_there_is_not_written_over_nor_removed(gateway: Rclone, places: Places, kind: Kind) -> None:
    kept = {"config": b"the config", f"keys/{named(b'a key')}": b"a key", f"data/{named(b'data')}": b"data"}
    lock = f"/locks/{named(b'lock')}"
    with gateway.serve(places.access(kind), "run-1", PASSWORD) as served:
        assert asked(served, "POST", "/?create=true") == 200
        for path, body in kept.items():
            assert asked(served, "GET", f"/{path}") == 404
            assert asked(served, "POST", f"/{path}", body=body) == 200
        for path, body in kept.items():
            for other in (b"mine", b""):
                assert asked(served, "POST", f"/{path}", body=other) == 403
            assert asked(served, "DELETE", f"/{path}") == 403
            assert read(served, f"/{path}") == body
        assert [asked(served, word, lock, body=b"lock") for word in ("POST", "DELETE")] == [200, 200]
        assert asked(served, "GET", lock) == 404


# -- uploads that are sent again


@pytest.mark.parametrize("size", [100, 6_000_000])
def test_an_upload_that_is_sent_twice_is_there(gateway: Rclone, places: Places, size: int) -> None:
    """restic never heard that it had arrived; rclone's 403 would end the whole backup."""
    body = os.urandom(size)
    path = f"/data/{named(body)}"
    with gateway.serve(places.access("path"), "run-1", PASSWORD) as served:
        assert [asked(served, "POST", path, body=body) for _ in range(3)] == [200, 200, 200]
        assert asked(served, "POST", path, body=body[:-1] + b"?") == 403
        assert asked(served, "POST", path, "run-1:wrong", body=body) == 401
        assert asked(served, "GET", path) == 200


def test_half_a_file_is_not_taken_for_the_whole(gateway: Rclone, places: Places) -> None:
    """Nor is it final that it is there: who wrote it may just be giving it up."""
    access, body = places.access("path"), os.urandom(100_000)
    with gateway.serve(access, "run-1", PASSWORD) as served:
        path = f"/data/{named(body)}"
        half = Path(access.url, "data", named(body)[:2], named(body))
        half.parent.mkdir(parents=True)
        half.write_bytes(body[:50_000])
        assert asked(served, "POST", path, body=body) == 503
        half.unlink()
        assert asked(served, "POST", path, body=body) == 200 and half.read_bytes() == body


@pytest.mark.parametrize("reset", [False, True])
def test_an_upload_that_breaks_leaves_nothing(gateway: Rclone, places: Places, reset: bool) -> None:
    access, body = places.access("path"), os.urandom(1_000_000)
    login = b64encode(f"run-1:{PASSWORD.reveal()}".encode()).decode()
    head = f"POST /data/{named(body)} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Length: {len(body)}\r\n\r\n"
    place = Path(access.url, "data", named(body)[:2], named(body))
    with gateway.serve(access, "run-1", PASSWORD) as served:
        with socket.create_connection(served) as there:
            there.sendall(head.encode() + body[:600_000])
            wait_until(place.exists, "it is being written", deadline=60)
            if reset:
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_until(lambda: not place.exists(), "what was written is gone", deadline=60)
        assert asked(served, "POST", f"/data/{named(body)}", body=body) == 200 and place.read_bytes() == body


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: +4",
        "Content-Length: -4",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_none(gateway: Rclone, places: Places, lines: str) -> None:
    login = b64encode(f"run-1:{PASSWORD.reveal()}".encode()).decode()
    access = places.access("path")
    with gateway.serve(access, "run-1", PASSWORD) as served, socket.create_connection(served, timeout=60) as there:
        head = f"POST /config HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n{lines}\r\n\r\n"
        there.sendall(head.encode() + b"4\r\nmine\r\n0\r\n\r\n")
        assert there.recv(100).startswith(b"HTTP/1.1 400 ")
    assert not Path(access.url, "config").exists()


def named(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# -- who gets in, and where


def test_nothing_but_this_one_repository_can_be_reached(gateway: Rclone, places: Places) -> None:
    access = places.access("path")
    other = Path(access.url).parent / "web2"
    key = named(b"a key")
    (other / "keys").mkdir(parents=True)
    (other / "keys" / key).write_bytes(b"a key")
    (other / "config").write_bytes(b"the config")
    with gateway.serve(access, "run-1", PASSWORD) as served:
        for way in ("..", "%2e%2e", ".%2e", "x/../..", "keys/../..", "..%2f..%2fkept"):
            assert asked(served, "GET", f"/{way}/web2/config") in (301, 400, 404)
            assert asked(served, "GET", f"/{way}/web2/keys/{key}") in (301, 400, 404)
            assert asked(served, "POST", f"/{way}/web2/config", body=b"mine") in (301, 400, 403, 404, 405)
    assert (other / "config").read_bytes() == b"the config" and {one.name for one in other.iterdir()} == {
        "config",
        "keys",
    }


def test_nobody_else_is_let_in(gateway: Rclone, places: Places) -> None:
    with gateway.serve(places.access("path"), "run-1", PASSWORD) as served:
        for user in ("", "run-1:", "run-1:wrong", f"run-2:{PASSWORD.reveal()}", f":{PASSWORD.reveal()}"):
            for method in ("GET", "POST", "DELETE"):
                assert asked(served, method, "/config", user) == 401
        with gateway.serve(places.access("path"), "run-2", Secret("another")) as second:
            assert second.port != served.port
            assert asked(second, "GET", "/config", "run-2:another") == 404
            assert asked(second, "GET", "/config") == asked(served, "GET", "/config", "run-2:another") == 401


@pytest.mark.parametrize("kind", ["path", "sftp", "s3"])
def test_no_secret_is_an_argument(gateway: Rclone, places: Places, kind: Kind) -> None:
    access = places.access(kind)
    with gateway.serve(access, "run-1", PASSWORD):
        pid = serving(access)
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        environ = dict(one.split(b"=", 1) for one in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if one)
        shown = subprocess.run(["ps", "-eo", "args", "ww"], capture_output=True, check=True).stdout
    assert b"--append-only" in argv and root(access).encode() in argv
    assert environ[b"RCLONE_PASS"] == PASSWORD.reveal().encode() and KEY.encode() not in b"".join(environ.values())
    for secret in (PASSWORD.reveal(), KEY, access.secret.reveal() if access.secret else KEY):
        assert secret.encode() not in argv + shown
    assert not [name for name in environ if name.startswith((b"RESTIC_", b"AWS_", b"SSH_"))]


def serving(access: Access) -> int:
    """The rclone that serves it."""
    wanted = {b"restic", root(access).encode()}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[0].endswith(b"/rclone") and wanted <= set(words):
                return int(path.parts[2])
    raise AssertionError(f"nothing serves {root(access)}")


# -- what goes wrong


@contextmanager
def refused(gateway: Rclone, access: Access) -> Iterator[pytest.ExceptionInfo[GatewayError]]:
    with pytest.raises(GatewayError) as caught, gateway.serve(access, "run-1", PASSWORD):
        pass
    said = f"{caught.value.message} {caught.value.hint}"
    assert not [word for word in (PASSWORD.reveal(), KEY, "wrong-canary") if word in said]
    yield caught


def test_a_key_of_the_storage_that_is_wrong_is_said(gateway: Rclone, places: Places, tmp_path: Path) -> None:
    access = places.access("sftp")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    with refused(gateway, replace(access, key=str(tmp_path / "other"))) as caught:
        assert "unable to authenticate" in caught.value.message and "authorized_keys" in str(caught.value.hint)
    with refused(gateway, replace(access, key=str(tmp_path / "none"))) as caught:
        assert f"{tmp_path}/none can't be read" in caught.value.message
    with refused(gateway, replace(access, key=None)) as caught:
        assert "no key:" in caught.value.message


def test_a_server_whose_key_is_not_the_pinned_one_is_refused(gateway: Rclone, places: Places, tmp_path: Path) -> None:
    access = places.access("sftp")
    place = re.match(r"\S+ ", Path(str(access.known_hosts)).read_text())
    assert place
    public = Path(str(access.key)).with_name("id.pub").read_text().split()[:2]
    (tmp_path / "other_hosts").write_text(f"{place[0]}{' '.join(public)}\n")
    with refused(gateway, replace(access, known_hosts=str(tmp_path / "other_hosts"))) as caught:
        assert "key mismatch" in caught.value.message and "Pin all of its keys" in str(caught.value.hint)
    (tmp_path / "none").write_text("")
    with refused(gateway, replace(access, known_hosts=str(tmp_path / "none"))) as caught:
        assert "key is unknown" in caught.value.message


@pytest.mark.parametrize("kind", ["sftp", pytest.param("s3", marks=pytest.mark.long)])
def test_a_storage_that_is_away_is_said(gateway: Rclone, places: Places, kind: Kind) -> None:
    access = places.access(kind)
    away = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", access.url)
    with refused(gateway, replace(access, url=away)) as caught:
        assert "connection refused" in caught.value.message


def test_a_rest_server_is_not_served(gateway: Rclone, places: Places) -> None:
    with refused(gateway, replace(places.access("path"), kind="rest", url="rest:https://kept/web1/")) as caught:
        assert "REST server" in caught.value.message and "via" in str(caught.value.hint)


def test_without_rclone_it_is_said_what_to_install() -> None:
    with pytest.raises(GatewayError, match="no-such-rclone is not installed") as caught:
        Rclone("no-such-rclone").version()
    assert "apt-get install" in str(caught.value.hint)


def test_its_version(gateway: Rclone) -> None:
    assert re.match(r"\d+\.\d+", gateway.version())


# -- what is left


def test_it_ends_when_it_is_closed_also_where_it_does_not_listen(
    gateway: Rclone, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.recovery.gateway.adapters.rclone.GRACE", 0.2)
    access = places.access("path")
    with gateway.serve(access, "run-1", PASSWORD):
        pid = serving(access)
        os.kill(pid, signal.SIGSTOP)
        born = birth(pid)
    assert born is not None and birth(pid) != born


OWNER = """
import sys, threading
from mainstay.inventory.secrets import Secret
from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.repository import Access
gateway = Rclone(sys.argv[1])
access = Access("vault", "web1", sys.argv[2], Secret("x"), "write", "path")
opened = gateway.serve(access, "run-1", Secret("secret"))
def open():
    print(opened.__enter__().port, flush=True)
first = threading.Thread(target=open)
first.start()
first.join()
sys.stdin.read()
"""


def test_it_ends_with_its_owner_however_that_ends_and_not_with_a_thread_of_it(gateway: Rclone, places: Places) -> None:
    access = places.access("path")
    argv = [sys.executable, "-c", OWNER, str(rclone()), access.url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        served = Served("127.0.0.1", int(owner.stdout.readline()))
        pid = serving(access)
        born = birth(pid)
        assert born is not None and asked(served, "GET", "/config", "run-1:secret") == 404
        owner.kill()
    wait_until(lambda: birth(pid) != born, "it has ended", deadline=60)


def test_settings_that_lie_around_change_nothing(
    gateway: Rclone, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".config" / "rclone").mkdir(parents=True)
    (tmp_path / ".config" / "rclone" / "rclone.conf").write_text("[local]\ntype = alias\nremote = /etc\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RCLONE_USER", "everybody")
    monkeypatch.setenv("RCLONE_HTPASSWD", str(tmp_path))
    with gateway.serve(places.access("path"), "run-1", PASSWORD) as served:
        assert asked(served, "GET", "/config", "") == asked(served, "GET", "/config", "everybody:") == 401
        assert asked(served, "POST", "/config", body=b"mine") == 200
    assert Path(places.access("path").url, "config").read_bytes() == b"mine"

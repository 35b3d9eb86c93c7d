"""Who is logged in to and with what: pinned keys, private keys, deadlines. Against a real sshd that logs every packet."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.pipe import Pipe
from tests.contract.sshd import Sshd, sshd
from tests.fleet.system import wait_until
from tests.servers.ports import closed_port

from mainstay.inventory.host import Host, Ssh
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import Command, ContactLost, HostKeyRefused, ShellError, Unreachable

PACKET = re.compile(r"receive packet: type (\d+)")
KEY_EXCHANGE = {20, 21, 30}
"""KEXINIT, NEWKEYS, KEX_ECDH_INIT (RFC 4253, RFC 5656). A service request would be 5, a login 50."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("sshd")
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", folder / "rsa_key"], check=True)
    with sshd(folder, more=f"LogLevel DEBUG3\nHostKey {folder}/rsa_key\n") as one:
        yield one


@pytest.fixture
def shells(tmp_path: Path) -> Iterator[FabricShells]:
    shells = FabricShells(
        _no_jump, tmp_path / "known_hosts", {"env:P": "horse", "env:WRONG": "cow"}.__getitem__, root=tmp_path
    )
    yield shells
    shells.close()


def _no_jump(name: str) -> Host:
    raise AssertionError(name)


def _host(server: Sshd, **ssh: object) -> Host:
    settings = {"user": "root", "key": f"file:{server.key}", "port": server.port, **ssh}
    return Host(name="loop", address="127.0.0.1", ssh=Ssh.model_validate(settings))


def _run(shells: FabricShells, host: Host) -> bytes:
    shell = shells.open(host)
    try:
        return shell.run(Command(("printf", "in"))).stdout
    finally:
        shell.close()


def _quiet(server: Sshd) -> int:
    """Waits until no connection is open; where the log then ends."""
    wait_until(lambda: not server.sessions(), "the connection has ended", deadline=60)
    return len(server.log())


def _packets(server: Sshd, before: int) -> set[int]:
    """Types of all packets that arrived since."""
    return {int(kind) for kind in PACKET.findall(server.log()[before : _quiet(server)])}


def test_the_keys_on_offer_are_seen_without_a_login(server: Sshd, shells: FabricShells) -> None:
    before = _quiet(server)
    keys = shells.scan(_host(server, user="whoever", key=None))
    assert {key.type for key in keys} == {"ssh-ed25519", "ssh-rsa"}
    for key, file in zip(keys, ("host_key", "rsa_key"), strict=True):
        told = subprocess.run(
            ["ssh-keygen", "-l", "-f", server.folder / file], capture_output=True, text=True, check=True
        )
        assert key.fingerprint in told.stdout
    assert _packets(server, before) <= KEY_EXCHANGE


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa"])
def test_a_host_is_known_by_any_one_pinned_key(server: Sshd, shells: FabricShells, kind: str) -> None:
    host = _host(server)
    shells.pins.pin(host, [key for key in shells.scan(host) if key.type == kind])
    assert _run(shells, host) == b"in"


def test_an_unknown_host_is_not_even_dialled(shells: FabricShells) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = Host(name="loop", address="127.0.0.1", ssh=Ssh(key="file:id", port=listener.getsockname()[1]))
        with pytest.raises(HostKeyRefused):
            _run(shells, host)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_changed_key_gets_nothing_not_even_a_login(server: Sshd, shells: FabricShells) -> None:
    host = _host(server)
    shells.pins.path.write_text(f"{_pin_line(server, server.key.with_suffix('.pub'))} pinned 2026-01-02\n")
    before = _quiet(server)
    with pytest.raises(HostKeyRefused) as caught:
        _run(shells, host)
    packets = _packets(server, before)
    assert packets and packets <= KEY_EXCHANGE
    offered = next(key for key in shells.scan(host) if key.type == "ssh-ed25519")
    assert offered.fingerprint in caught.value.message
    assert shells.pins.keys(host)[0].fingerprint in caught.value.message
    assert "since 2026-01-02" in caught.value.message


def test_a_host_without_a_key_of_the_pinned_type_gets_nothing(
    server: Sshd, shells: FabricShells, tmp_path: Path
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ec"], check=True)
    shells.pins.path.write_text(f"{_pin_line(server, tmp_path / 'ec.pub')}\n")
    before = _quiet(server)
    with pytest.raises(HostKeyRefused, match="no key of a pinned type"):
        _run(shells, _host(server))
    assert _packets(server, before) <= KEY_EXCHANGE


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ssh-dss AAAAB3NzaC1kc3M=", "of a kind that can't be used here is pinned"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "its pinned ssh-ed25519 key is damaged"),
    ],
)
def test_a_pinned_key_that_is_of_no_use_is_said(server: Sshd, shells: FabricShells, line: str, says: str) -> None:
    shells.pins.path.write_text(f"[127.0.0.1]:{server.port} {line}\n")
    with pytest.raises(HostKeyRefused, match=f"{says}.*nothing was sent"):
        _run(shells, _host(server))


def _pin_line(server: Sshd, public: Path) -> str:
    kind, blob, *_ = public.read_text().split()
    return f"[127.0.0.1]:{server.port} {kind} {blob} loop"


# -- private keys


@pytest.fixture
def known(server: Sshd, shells: FabricShells) -> FabricShells:
    shells.pins.pin(_host(server), shells.scan(_host(server)))
    return shells


def _add_key(server: Sshd, folder: Path, kind: str, passphrase: str) -> None:
    """A new key pair `folder/mine` that may log in from now on."""
    folder.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", folder / "mine"], check=True)
    with (server.folder / "id.pub").open("a") as keys:
        keys.write((folder / "mine.pub").read_text())


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_may_be_relative_to_the_site_and_have_a_passphrase(
    known: FabricShells, server: Sshd, tmp_path: Path, kind: str
) -> None:
    _add_key(server, tmp_path / "keys", kind, "horse")
    with pytest.raises(ShellError, match="keys/mine needs a passphrase"):
        _run(known, _host(server, key="file:keys/mine"))
    with pytest.raises(ShellError, match=r"keys/mine can't be used: its passphrase is wrong") as caught:
        _run(known, _host(server, key="file:keys/mine", passphrase="env:WRONG"))
    assert "cow" not in str(caught.value)
    assert _run(known, _host(server, key="file:keys/mine", passphrase="env:P")) == b"in"


def test_a_passphrase_that_is_not_needed_is_said(known: FabricShells, server: Sshd) -> None:
    with pytest.raises(ShellError, match="has no passphrase, but one is given"):
        _run(known, _host(server, passphrase="env:P"))


def test_a_key_in_the_home_folder_is_found(
    known: FabricShells, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id").write_bytes(server.key.read_bytes())
    assert _run(known, _host(server, key="file:~/.ssh/id")) == b"in"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is not there"),
        (b"", "no private key of a supported kind"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nrubbish\n-----END OPENSSH PRIVATE KEY-----\n", "no private key"),
        (b"ssh-ed25519 AAAAC3Nz comment\n", "no private key"),
    ],
)
def test_a_key_that_is_none_is_an_error_that_names_the_file(
    known: FabricShells, server: Sshd, tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ShellError, match=says) as caught:
        _run(known, _host(server, key="file:bad"))
    assert (caught.value.kind, str(tmp_path / "bad") in caught.value.message) == ("ssh", True)


def test_without_a_key_nothing_else_is_tried(
    known: FabricShells, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_bytes(server.key.read_bytes())
    with pytest.raises(ShellError, match="no SSH key"):
        _run(known, _host(server, key=None))


def test_a_login_that_the_host_does_not_take_is_unreachable(known: FabricShells, server: Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", tmp_path / "other"], check=True)
    with pytest.raises(Unreachable, match="the login root was refused"):
        _run(known, _host(server, key="file:other"))


def test_no_ssh_config_is_looked_at(
    known: FabricShells, server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    trap = f'Match exec "touch {tmp_path}/executed"\n  User nobody\nHost *\n  ProxyCommand touch {tmp_path}/executed\n'
    (tmp_path / ".ssh" / "config").write_text(trap)
    (tmp_path / "fabric.yml").write_text("user: nobody\n")
    monkeypatch.chdir(tmp_path)
    assert _run(known, _host(server)) == b"in"
    assert not (tmp_path / "executed").exists()


# -- deadlines


@pytest.mark.parametrize(
    "greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"chatter\r\n" * 100, b"HTTP/1.1 400 no\r\n\r\n"]
)
def test_connecting_has_one_deadline(shells: FabricShells, server: Sshd, greeting: bytes) -> None:
    """Something listens, and says nothing, or stops in the middle of the greeting or of the key exchange."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            there, _ = listener.accept()
            held.append(there)
            there.sendall(greeting)

        threading.Thread(target=accept, daemon=True).start()
        host = _host(server, port=listener.getsockname()[1], connect_timeout=1)
        shells.pins.pin(host, shells.scan(_host(server)))
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            _run(shells, host)
        assert time.monotonic() - started < 15, "paramiko's own deadlines are 15 s and longer"
        assert not isinstance(caught.value, HostKeyRefused)
        for there in held:
            there.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "nothing.invalid"])
def test_where_nobody_listens_is_said(shells: FabricShells, server: Sshd, address: str) -> None:
    with closed_port() as port:
        host = Host(name="gone", address=address, ssh=Ssh(key=f"file:{server.key}", port=port, connect_timeout=3))
        shells.pins.pin(host, shells.scan(_host(server)))
        with pytest.raises(Unreachable, match=r"refused|can't be resolved"):
            _run(shells, host)


def test_a_connection_that_stalls_in_the_middle_is_left_at_the_deadline(known: FabricShells, server: Sshd) -> None:
    """Everything arrives, then nothing does any more: nobody closes, no error comes."""
    with Pipe(server.port) as pipe:
        host = _host(server, port=pipe.port, connect_timeout=6)
        known.pins.pin(host, known.scan(_host(server)))
        shell = known.open(host)
        shell.run(Command(("printf", "x")))
        pipe.stall()
        started = time.monotonic()
        with pytest.raises((ContactLost, Unreachable)):
            shell.run(Command(("printf", "x"), deadline=1))
        assert time.monotonic() - started < 60
        shell.close()

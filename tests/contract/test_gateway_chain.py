"""The whole way of a host that can't reach its repository: its restic, a forward over SSH, the gateway, the storage."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.contract.hosts_restic import KEY, PASSWORD, HostsRestic
from tests.contract.sshd import Sshd
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.restic import rclone

from mainstay.inventory.host import Host, Ssh
from mainstay.inventory.secrets import Secret
from mainstay.recovery.gateway.adapters.rclone import AGAIN, Rclone
from mainstay.recovery.repository import Access
from mainstay.runner.shell.adapters.fabric import FabricShells

pytestmark = pytest.mark.server
PART = 3_000_000


class Way:
    """From a host, which is this machine over SSH, to a new repository in a folder."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server = server
        self.kept = folder / "kept"
        make_repository(self.kept, KEY)
        self.data = folder / "data"
        self.data.mkdir()
        self._folder = folder
        ssh = Ssh(user="root", key=f"file:{server.key}", port=server.port)
        self._host = Host(name="web1", address="127.0.0.1", ssh=ssh)
        self._shells = FabricShells(lambda name: self._host, folder / "known_hosts", str)
        self._shells.pins.pin(self._host, self._shells.scan(self._host))

    @contextmanager
    def open(self) -> Iterator[HostsRestic]:
        access = Access("vault", "web1", str(self.kept), Secret(KEY), "write", "path")
        try:
            with (
                Rclone(str(rclone())).serve(access, "run-1", PASSWORD) as served,
                self._shells.open(self._host).forward(served) as port,
            ):
                yield HostsRestic(port, self._folder)
        finally:
            self._shells.close()

    def fill(self, parts: int) -> None:
        for number in range(parts):
            (self.data / str(number)).write_bytes(os.urandom(PART))

    def arrived(self) -> int:
        size = 0
        for path in self.kept.glob("data/*/*"):
            with suppress(FileNotFoundError):  # an upload that is given up
                size += path.stat().st_size
        return size


@pytest.fixture
def way(server: Sshd, tmp_path: Path) -> Way:
    return Way(server, tmp_path)


def backed_up(way: Way, host: HostsRestic, cuts: int, every: int) -> int:
    """A backup in which the connection is cut that often, after so many bytes each; returns how often it was."""
    over = threading.Event()
    done = 0

    def cut() -> None:
        nonlocal done
        for _ in range(cuts):
            mark = way.arrived() + every
            wait_until(lambda mark=mark: over.is_set() or way.arrived() >= mark, "data arrives", deadline=200)  # type: ignore[misc]  # bound on purpose
            if over.is_set():
                return
            way.server.cut()
            done += 1

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        host.good("backup", "-q", str(way.data))
    finally:
        over.set()
        cutter.join()
    return done


def test_a_backup_ends_well_although_its_connection_is_cut(way: Way) -> None:
    way.fill(20)
    with way.open() as host:
        # On a busy machine a backup may be over before anybody has seen that it began.
        tries = 1
        while not backed_up(way, host, cuts=1, every=4 * PART):
            way.fill(20)
            tries += 1
            assert tries < 10
        ids = host.ids()
        assert len(ids) == tries
        assert "403" in host("forget", *ids).stderr and host.ids() == ids
        host.good("check", "--read-data", "-q")


def gateway(way: Way) -> int | None:
    """The process that serves this test's own repository; None while there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"restic" in words and words[-2] == f":local:{way.kept}".encode() and words[0].endswith(b"rclone"):
                return int(folder.name)
    return None


def killed(way: Way) -> int:
    wait_until(lambda: gateway(way) is not None, "a gateway serves", deadline=60)
    pid = gateway(way)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gateway(way) != pid, "it is dead", deadline=60)
    return pid


def test_a_gateway_that_is_killed_in_the_middle_of_a_backup_is_started_again(way: Way) -> None:
    way.fill(20)
    first: list[int] = []
    with way.open() as host:
        over = threading.Event()

        def kill() -> None:
            mark = way.arrived() + PART
            wait_until(lambda: over.is_set() or way.arrived() >= mark, "data arrives", deadline=200)
            if not over.is_set():
                first.append(killed(way))

        for _ in range(10):  # on a busy machine a backup may be over before anybody has seen that it began
            killer = threading.Thread(target=kill)
            killer.start()
            try:
                host.good("backup", "-q", str(way.data))
            finally:
                over.set()
                killer.join()
            if first:
                break
            over.clear()
            way.fill(20)
        assert first
        wait_until(lambda: gateway(way) not in (None, *first), "another serves in its place", deadline=60)
        assert "403" in host("forget", *host.ids()).stderr
        host.good("check", "--read-data", "-q")
    assert gateway(way) is None


def test_a_gateway_that_dies_again_and_again_is_given_up_and_restic_is_told_why(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.recovery.gateway.adapters.rclone.PAUSE", 0.0)
    way.fill(1)
    with way.open() as host:
        seen = {killed(way) for _ in range(AGAIN + 1)}
        assert len(seen) == AGAIN + 1
        tried = host("backup", "-q", str(way.data))
    assert tried.returncode != 0
    assert f"the gateway on the controller has died {AGAIN + 1} times (killed by signal 9)" in tried.stderr


@pytest.mark.long
@pytest.mark.parametrize("turn", range(5))
def test_it_ends_well_however_often_it_is_cut(way: Way, turn: int) -> None:
    """Before uploads that are sent again were looked into, three of ten such backups failed."""
    way.fill(60)
    with way.open() as host:
        assert backed_up(way, host, cuts=3, every=8 * PART) > 0
        assert len(host.ids()) == 1
        host.good("check", "--read-data", "-q")

"""Word to the supervisor: what arrives at $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mainstay.console.service.notify import Supervisor
from mainstay.inventory.redaction import remember


class Listener:
    """A supervisor's end of the socket."""

    def __init__(self, channel: socket.socket, address: str) -> None:
        self._channel = channel
        self.address = address

    def heard(self) -> list[str]:
        """Each datagram that has arrived; a datagram on one machine has arrived once it was sent."""
        found = []
        self._channel.setblocking(False)
        while True:
            try:
                found.append(self._channel.recv(65536).decode())
            except BlockingIOError:
                return found


@contextmanager
def listening(address: str) -> Iterator[Listener]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + address[1:] if address.startswith("@") else address)
        yield Listener(channel, address)


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@mainstay-{uuid.uuid4()}"
    with listening(address) as one:
        yield one


def test_each_moment_is_one_datagram(listener: Listener) -> None:
    supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": listener.address})
    assert supervisor.listens
    supervisor.ready("serves 3 plans")
    supervisor.status("serves 3 plans")
    supervisor.status("1 run in hand")
    supervisor.reloading()
    supervisor.ready()
    supervisor.stopping("lets steps end")
    first, second, reloading, again, last = listener.heard()
    assert first == "READY=1\nSTATUS=serves 3 plans"
    assert second == "STATUS=1 run in hand", "what was said already is not said again"
    assert reloading.startswith("RELOADING=1\nMONOTONIC_USEC=") and reloading.rpartition("=")[2].isdigit()
    assert (again, last) == ("READY=1", "STOPPING=1\nSTATUS=lets steps end")


def test_a_status_forges_no_assignment_and_tells_no_secret(listener: Listener) -> None:
    remember("hunter2-and-more")
    supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": listener.address})
    supervisor.status("plan\nMAINPID=1\x1b[31m of hunter2-and-more")
    supervisor.status("x" * 10_000)
    first, second = listener.heard()
    assert first == "STATUS=plan\\nMAINPID=1 of ***"
    assert len(second) < 500


@pytest.mark.parametrize(
    ("environ", "pings"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 3),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 3),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_pings_come_as_often_as_a_third_of_the_limit(
    tmp_path: Path, environ: dict[str, str], pings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked every second for 25 s, with a limit of 30 s."""
    with listening(str(tmp_path / "notify")) as listener:
        now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        made = Supervisor.from_environment({"NOTIFY_SOCKET": listener.address, **environ})
        supervisor = Supervisor(listener.address, ping_every=made._ping_every, now=lambda: now)
        for _ in range(25):
            supervisor.watchdog()
            now += 1.0
        assert listener.heard() == ["WATCHDOG=1"] * pings


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens-here", "vsock:2:1234", "nonsense"])
def test_without_a_supervisor_nothing_is_said_and_nothing_fails(address: str) -> None:
    supervisor = Supervisor.from_environment({"NOTIFY_SOCKET": address} if address else {})
    supervisor.ready("all is well")
    supervisor.watchdog()
    supervisor.stopping()


def test_a_supervisor_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with listening(str(tmp_path / "notify")) as listener:
        supervisor = Supervisor(listener.address, send_within=0.01)
        queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        for number in range(queue + 5):
            supervisor.status(f"still here {number}")
        assert 0 < len(listener.heard()) < queue + 5

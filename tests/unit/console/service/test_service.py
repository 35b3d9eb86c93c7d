"""What a daemon's main loop passes on: that it is at work, and nothing while a part that everything hangs on is stuck."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mainstay.console.service.health import Health
from mainstay.console.service.notify import Supervisor
from mainstay.console.service.service import Service, serving, standing
from mainstay.inventory.serving import Listen


class Time:
    passed = 0.0

    def __call__(self) -> float:
        return self.passed


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        yield channel


@pytest.fixture
def service(channel: socket.socket, time: Time) -> Service:
    health = Health(now=time)
    for name in ("worker", "clock"):
        health.expect(name, within=30, vital=True)
    health.expect("database", within=60)
    return Service(Supervisor(channel.getsockname(), ping_every=10, now=time), health)


def heard(channel: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(channel.recv(65536).decode())
        except BlockingIOError:
            return found


def test_a_loop_that_is_stuck_is_told_by_silence(service: Service, channel: socket.socket, time: Time) -> None:
    service.round("serves 1 plan")
    assert heard(channel) == ["WATCHDOG=1", "STATUS=serves 1 plan"]
    told: list[str] = []
    for second in range(1, 61):
        time.passed = second
        service.health.note("worker")  # the clock does not go round any more
        service.health.note("database")
        service.round("serves 1 plan")
        told += heard(channel)
    assert told.count("WATCHDOG=1") == 3, "up to the 30 s that the clock may be silent"
    assert told[-1] == "STATUS=serves 1 plan; not well: clock" and told.count(told[-1]) == 1
    service.health.note("clock")
    service.round("serves 1 plan")
    assert heard(channel) == ["WATCHDOG=1", "STATUS=serves 1 plan"]


def test_a_database_that_is_away_is_no_reason_to_start_anew(
    service: Service, channel: socket.socket, time: Time
) -> None:
    service.health.note("database", "does not answer")
    time.passed = 20
    service.round("serves 1 plan")
    assert heard(channel) == ["WATCHDOG=1", "STATUS=serves 1 plan; not well: database"]


def test_it_is_ready_again_after_a_reload_that_failed(service: Service, channel: socket.socket) -> None:
    service.ready("serves 1 plan")
    with pytest.raises(ValueError, match="no site"), service.reloading():
        raise ValueError("no site")
    service.stopping("lets steps end")
    first, reloading, again, last = heard(channel)
    assert first == "READY=1\nSTATUS=serves 1 plan" and again == "READY=1"
    assert reloading.startswith("RELOADING=1\n") and last == "STOPPING=1\nSTATUS=lets steps end"


def test_health_is_answered_where_the_site_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with serving() as quiet:
        quiet.round("nobody listens")
        assert quiet.port is None
    with serving(Listen("127.0.0.1", 0)) as service:
        service.health.expect("clock", within=1000)
        assert service.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.request("GET", "/healthz")
        assert json.loads(connection.getresponse().read())["checks"] == {"clock": "ok"}


def test_the_status_line() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 12, 11, 1, 0, tzinfo=UTC)
    said = "serves 3 plans, next patch-web Fri 2026-12-11 02:00 CET; 1 run in hand"
    assert standing(3, ("patch-web", moment), 1, berlin) == said
    assert standing(1, None, 0, berlin) == "serves 1 plan; 0 runs in hand"

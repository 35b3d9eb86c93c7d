"""Whether a daemon is well: parts that speak, parts that are silent, and who may ask over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay.console.service.endpoint import Endpoint
from mainstay.console.service.health import Health
from mainstay.inventory.errors import UsageError
from mainstay.inventory.redaction import remember

BEGINNING = datetime(2026, 12, 11, 1, 0, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return 50.0 + self.passed

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.passed)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health(now=time.monotonic, clock=time)


def test_a_part_that_falls_silent_is_a_fault_and_since_when_it_is_one(health: Health, time: Time) -> None:
    assert health.to_json() == {"status": "failing", "since": "2026-12-11T01:00:00.000Z", "checks": {}}
    health.expect("clock", within=30, vital=True)
    health.expect("database", within=90)
    time.passed = 30
    assert health.to_json() == {
        "status": "ok",
        "since": "2026-12-11T01:00:30.000Z",
        "checks": {"clock": "ok", "database": "ok"},
    }
    time.passed = 40
    assert health.frozen() == ("clock",)
    assert health.faults() == {"clock": "silent for 40 s"}
    assert health.to_json()["since"] == "2026-12-11T01:00:40.000Z"
    health.note("clock")
    assert health.frozen() == () and health.to_json()["status"] == "ok"
    time.passed = 95
    assert set(health.faults()) == {"clock", "database"} and health.frozen() == ("clock",), "not vital: no new start"


def test_a_fault_that_is_told_of_is_no_silence(health: Health, time: Time) -> None:
    remember("canary-of-health")
    health.expect("database", within=90, vital=True)
    health.note("database", "does not answer: canary-of-health")
    assert health.to_json()["checks"] == {"database": "does not answer: ***"}
    assert health.frozen() == (), "starting anew would not help it"
    health.note("database")
    assert health.faults() == {}
    health.forget("database")
    with pytest.raises(KeyError):
        health.note("database")


def test_work_without_an_end_is_stuck_until_it_ends(health: Health, time: Time) -> None:
    health.expect("clock", within=1000)
    with pytest.raises(ValueError, match="done"), health.busy("chore calendars", within=60):
        time.passed = 60
        assert health.faults() == {}
        time.passed = 75
        assert health.faults() == {"chore calendars": "stuck for 15 s"}
        with health.busy("chore calendars", within=60):
            pass
        assert health.faults(), "the other one still is"
        raise ValueError("done")
    assert health.faults() == {}


@pytest.fixture
def endpoint(health: Health) -> Iterator[Endpoint]:
    health.expect("clock", within=30, vital=True)
    with Endpoint("127.0.0.1", 0, health) as one:
        yield one


def ask(endpoint: Endpoint, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=60)
    connection.request(method, path, body=body)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content else None


def said(endpoint: Endpoint, request: bytes) -> bytes:
    """All that comes back before the end, for bytes as they are."""
    with socket.create_connection((endpoint.host, endpoint.port), timeout=60) as connection:
        found = b""
        try:
            connection.sendall(request)
            while part := connection.recv(65536):
                found += part
        except ConnectionError:
            pass
        return found


def test_a_monitoring_is_told_by_the_status_and_people_by_the_body(
    endpoint: Endpoint, health: Health, time: Time
) -> None:
    status, body = ask(endpoint, "GET", "/healthz")
    assert (status, body["status"], body["checks"]) == (200, "ok", {"clock": "ok"})
    assert ask(endpoint, "GET", "/livez") == (200, {"status": "ok", "frozen": []})
    health.expect("database", within=90)
    health.note("database", "does not answer")
    status, body = ask(endpoint, "GET", "/healthz")
    assert (status, body["checks"]["database"]) == (503, "does not answer")
    assert ask(endpoint, "HEAD", "/healthz") == (503, None)
    assert ask(endpoint, "GET", "/livez")[0] == 200, "starting anew would not help"
    time.passed = 31
    assert ask(endpoint, "GET", "/livez") == (503, {"status": "frozen", "frozen": ["clock"]})


@pytest.mark.parametrize("path", ["/", "/healthz/../../etc/passwd", "/healthz?x=1", "//healthz", "/%2e%2e/etc/passwd"])
def test_there_is_nothing_else_to_be_had(endpoint: Endpoint, path: str) -> None:
    assert ask(endpoint, "GET", path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_only_reads(endpoint: Endpoint, method: str) -> None:
    assert ask(endpoint, method, "/healthz", b"{}")[0] == 405


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET /healthz\r\n\r\n", b"HTTP/1.1 400"),
        (b"\x00\xff\x1b[31m\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b""),
        (b"G" * 100_000, b""),
    ],
)
def test_odd_requests_do_no_harm(endpoint: Endpoint, request_: bytes, answer: bytes) -> None:
    found = said(endpoint, request_)
    assert found.startswith(answer) and bool(found) == bool(answer)
    assert ask(endpoint, "GET", "/healthz")[0] == 200


def test_who_sends_nothing_is_let_go_and_keeps_nobody_out(health: Health) -> None:
    health.expect("clock", within=30)
    with Endpoint("127.0.0.1", 0, health, within=0.2) as endpoint:
        assert said(endpoint, b"GET /healthz HTTP/1.1\r\n") == b"", "no end of the request"
        while not said(endpoint, b"GET /healthz HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200"):
            pass  # on a busy machine it may be late itself


def test_more_at_once_than_it_takes_are_turned_away(health: Health) -> None:
    health.expect("clock", within=30)
    with (
        Endpoint("127.0.0.1", 0, health, within=300, at_once=1) as endpoint,
        socket.create_connection((endpoint.host, endpoint.port), timeout=60) as first,
    ):
        first.sendall(b"GET /healthz HTTP/1.1\r\n")
        while said(endpoint, b"GET /healthz HTTP/1.1\r\n\r\n"):
            pass  # the first had not been taken yet
        first.sendall(b"\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_address_that_is_taken_is_said(endpoint: Endpoint, health: Health) -> None:
    with pytest.raises(UsageError, match=f"no health endpoint on 127.0.0.1:{endpoint.port}: .*use"):
        Endpoint("127.0.0.1", endpoint.port, health).__enter__()


def test_nothing_of_it_remains(health: Health) -> None:
    with Endpoint("127.0.0.1", 0, health) as endpoint:
        idle = [socket.create_connection((endpoint.host, endpoint.port), timeout=60) for _ in range(3)]
        ask(endpoint, "GET", "/livez")  # those before it have been accepted
        thread = endpoint._thread
    assert not thread.is_alive() and thread not in threading.enumerate()
    for one in idle:
        with one, contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((endpoint.host, endpoint.port), timeout=60)

"""An exchange whose other end takes nothing any more: paramiko's write knows no timeout, only the end of its socket."""

from __future__ import annotations

import io
import threading
import time

import pytest

from mainstay.runner.shell.adapters.exchange import Exchange, watched


def _drop(data: bytes) -> None: ...


class _Pipe:
    def set_event(self, event: object) -> None: ...


class DeafChannel:
    """As paramiko's on a connection whose send buffer is full: `send` returns only once the socket was shut."""

    def __init__(self) -> None:
        self.in_buffer = self.in_stderr_buffer = _Pipe()
        self.status_event = threading.Event()
        self.exit_status = -1
        self.eof_received = self.closed = False
        self.shut = threading.Event()

    def recv_ready(self) -> bool:
        return False

    recv_stderr_ready = recv_ready

    def settimeout(self, seconds: float) -> None: ...

    def send(self, data: bytes) -> int:
        assert self.shut.wait(30), "nobody broke the connection off"
        self.closed = True
        self.status_event.set()
        raise EOFError


@pytest.mark.thorough
@pytest.mark.timeout(60)
def test_a_write_that_never_returns_is_broken_off_after_the_deadline() -> None:
    channel = DeafChannel()
    exchange = Exchange(channel, out=_drop, err=_drop, stdin=io.BytesIO(b"x"), deadline=time.monotonic() + 0.3)
    with watched(exchange, channel.shut.set):
        assert exchange.run() is None
    assert exchange.overdue() and channel.shut.is_set()


@pytest.mark.thorough
def test_an_exchange_in_its_time_is_left_alone() -> None:
    channel = DeafChannel()
    exchange = Exchange(channel, out=_drop, err=_drop, deadline=time.monotonic() + 60)
    with watched(exchange, channel.shut.set):
        assert not channel.shut.wait(1.5)

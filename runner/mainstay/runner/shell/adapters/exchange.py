"""One command on one paramiko channel: both streams drained together, bounded memory, a deadline of our own.

Why not paramiko's files: reading stdout and then stderr hangs once the other one's window is full, and
`recv_exit_status` and `exec_command` know no timeout. Why not fabric's runner: its buffers are quadratic.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from paramiko.common import cMSG_CHANNEL_REQUEST
from paramiko.message import Message

CHUNK = 1 << 20
QUIET = 3.0
"""Seconds of silence after the program's exit after which its background children's output is no longer waited for."""


class Late(Exception):
    """The deadline passed."""


class Exchange:
    """Feeds stdin, drains stdout and stderr until both have ended and the exit status is there.

    out, err: take the bytes as they come. ready: whether stdin may be sent now (a password goes first).
    watch: called after each drain; what it returns is sent before stdin.
    deadline: on the monotonic clock; stall: instead, so many seconds without any byte moving.
    """

    def __init__(
        self,
        channel: Any,
        *,
        out: Callable[[bytes], None],
        err: Callable[[bytes], None],
        stdin: BinaryIO | None = None,
        ready: Callable[[], bool] = lambda: True,
        watch: Callable[[], bytes] = lambda: b"",
        deadline: float,
        stall: float | None = None,
    ) -> None:
        self._channel = channel
        self._out, self._err = out, err
        self._stdin, self._ready, self._watch = stdin, ready, watch
        self._deadline, self._stall = deadline, stall
        self._wake = _Wake()
        self._pending = b""
        self._open = True
        channel.in_buffer.set_event(self._wake)
        channel.in_stderr_buffer.set_event(self._wake)

    def start(self, line: str) -> None:
        """Ask for the command without waiting for the answer: a refusal closes the channel, and that is seen anyway."""
        request = Message()
        request.add_byte(cMSG_CHANNEL_REQUEST)
        request.add_int(self._channel.remote_chanid)
        request.add_string("exec")
        request.add_boolean(True)
        request.add_string(line)
        self._channel.transport._send_user_message(request)

    def run(self) -> int | None:
        """The exit status, None where the channel closed without one. Raises Late."""
        channel, quiet_since = self._channel, None
        while True:
            self._wake.again()
            moved = self._drain()
            blocked = self._send()
            now = time.monotonic()
            if self._stall is not None and (moved or blocked is False):
                self._deadline = now + self._stall
            exited = channel.status_event.is_set()
            ended = (channel.eof_received or channel.closed) and not self._waiting()
            if exited and ended:
                return int(channel.exit_status) if channel.exit_status >= 0 else None
            if exited:
                quiet_since = now if moved or quiet_since is None else quiet_since
                if now - quiet_since > QUIET:
                    return int(channel.exit_status) if channel.exit_status >= 0 else None
            if now >= self._deadline:
                raise Late
            if not moved and blocked is None:
                # Data, end of file and close wake us; the exit status alone does not, hence the short naps.
                self._wake.wait(min(0.05 if ended else 0.5, self._deadline - now))

    def _waiting(self) -> bool:
        return bool(self._channel.recv_ready() or self._channel.recv_stderr_ready())

    def _drain(self) -> bool:
        moved = False
        if self._channel.recv_ready():
            self._out(self._channel.recv(CHUNK))
            moved = True
        if self._channel.recv_stderr_ready():
            self._err(self._channel.recv_stderr(CHUNK))
            moved = True
        return moved

    def _send(self) -> bool | None:
        """None: nothing to send. False: something went out. True: the window is full."""
        if not self._open:
            return None
        if not self._pending:
            self._pending = self._watch()
        if not self._pending:
            if not self._ready():
                return None
            self._pending = self._stdin.read(CHUNK) if self._stdin else b""
        try:
            if not self._pending:
                self._open = False
                self._channel.shutdown_write()
                return None
            # A full window is waited for only this long, so that the other direction is drained meanwhile.
            self._channel.settimeout(0.05)
            sent = self._channel.send(self._pending[: 1 << 15])
            self._pending = self._pending[sent:]
            return False
        except TimeoutError:
            return True
        except (OSError, EOFError):
            self._open = False
            return None

    def overdue(self, grace: float = 0.0) -> bool:
        return time.monotonic() > self._deadline + grace


class _Wake:
    """What paramiko's two pipes set when bytes come or a stream ends. They would also clear it when they run empty,
    which loses the other one's news: only we may."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        """For paramiko: nothing."""

    def again(self) -> None:
        self._event.clear()

    def wait(self, seconds: float) -> None:
        self._event.wait(max(0.0, seconds))


@contextmanager
def watched(exchange: Exchange, break_off: Callable[[], None]) -> Iterator[None]:
    """Breaks the connection off when the exchange is well past its deadline and can't see that itself.

    paramiko's write goes on for ever where the other end takes nothing any more (a stopped sshd, a frozen host): no
    timeout reaches it, only the end of its socket.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            if exchange.overdue(grace=1.0):
                break_off()
                return

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()

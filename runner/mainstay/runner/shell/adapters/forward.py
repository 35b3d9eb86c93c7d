"""A reverse forward: a port of the host's loopback whose connections arrive at an address of the controller's side.

It has a connection of its own, and a thread that makes it again when it broke: a Shell serves one thread at a time, and
hangs up when a command of it is late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fabric
import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.message import Message

from mainstay.inventory.host import Host
from mainstay.runner.shell.adapters.connect import KEEPALIVE, hang_up
from mainstay.runner.shell.adapters.exchange import Exchange, Late
from mainstay.runner.shell.adapters.pump import Pump
from mainstay.runner.shell.contract import ForwardRefused, ShellError, Unreachable
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.quote import quote
from mainstay.runner.shell.refusals import not_forwarded, not_on_loopback, port_taken
from mainstay.runner.shell.scripts import FORWARD_END, FORWARD_LOOK
from mainstay.runner.shell.streams import Kept

LOOPBACK = "127.0.0.1"
MOST = 32
"""Connections at once; more are closed at once. Each may fill an SSH window of 2 MiB here, and restic uses 5 to 10."""
SILENCE = 30.0
"""Seconds without a sign of life, asked for every KEEPALIVE seconds, after which a connection counts as broken. The kernel
notices that earlier, but not where a jump host or a proxy goes on acknowledging."""
LOOK = 0.5
"""Seconds between two looks at whether the connection is still there."""
PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to make it again; the last one over and over."""


class Forward:
    """Opened, it stays until it is closed. connect: a new connection that is logged in; raises ShellError."""

    def __init__(self, host: Host, connect: Callable[[], fabric.Connection], local: tuple[str, int], port: int) -> None:
        self._host = host
        self._connect = connect
        self._local = local
        self._port = port
        self._closed = threading.Event()
        self._link: _Link | None = None
        self._thread = threading.Thread(target=self._keep, name=f"forward {host.name}", daemon=True)

    def __enter__(self) -> int:
        self._link = self._linked()
        self._port = self._link.port
        self._thread.start()
        return self._port

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        if self._link is not None:
            self._link.give_back()
            self._link.end()
        self._thread.join()  # at most as long as one attempt to connect
        if self._link is not None:
            self._link.end()

    def _linked(self) -> _Link:
        link = _Link(self._host, self._connect(), self._local)
        try:
            link.listen(self._port)
        except BaseException:
            link.end()
            raise
        return link

    def _keep(self) -> None:
        failed = 0
        while not self._closed.wait(LOOK):
            last = self._link
            if last is not None and last.lives():
                failed = 0
                continue
            if last is not None:
                last.end()
            if self._closed.wait(PAUSES[min(failed, len(PAUSES) - 1)]):
                return
            failed += 1
            with suppress(ShellError):  # the host is away, or what is left of the old connection keeps the port
                self._again(last)

    def _again(self, last: _Link | None) -> None:
        link = _Link(self._host, self._connect(), self._local)
        try:
            try:
                link.listen(self._port)
            except ForwardRefused:
                if last is None or not link.end_other(last):
                    raise
                link.listen(self._port)
        except BaseException:
            link.end()
            raise
        self._link = link


class _Link:
    """One connection with the port that listens on it, and the pumps of what came."""

    def __init__(self, host: Host, connection: fabric.Connection, local: tuple[str, int]) -> None:
        self._host = host
        self._transport: paramiko.Transport = connection.transport
        self._local = local
        self._lock = threading.Lock()
        self._pumps: set[Pump] = set()
        self._over = False
        self._heard_at = time.monotonic()
        self.port = 0
        self._server: tuple[str, str] | None = None
        """sshd's process there: its id and when it was started; None where it could not be seen."""

    def listen(self, port: int) -> None:
        """Raises ForwardRefused, Unreachable."""
        seconds = self._host.ssh.connect_timeout
        try:
            with self._guarded(seconds):
                self.port = self._requested(port)
                self._look(seconds)
        except (OSError, EOFError, paramiko.SSHException, Late) as error:
            said = printable(str(error)) or type(error).__name__
            raise Unreachable(self._host.name, f"the connection for the forward broke: {said}") from error
        self.heard()
        # sshd answers every question, also one that it does not know.
        self._transport.completion_event = _Heard(self.heard)
        self._transport.packetizer.set_keepalive(KEEPALIVE, self._ask)

    def lives(self) -> bool:
        return bool(self._transport.is_active()) and time.monotonic() - self._heard_at < SILENCE

    def heard(self) -> None:
        self._heard_at = time.monotonic()

    def give_back(self) -> None:
        """Waits until sshd has closed the port, so that it can be asked for again; not where it does not answer."""
        with self._guarded(5.0), suppress(OSError, EOFError, paramiko.SSHException):
            if self.lives():
                self._transport.global_request("cancel-tcpip-forward", (LOOPBACK, self.port), wait=True)

    def end(self) -> None:
        with self._lock:
            self._over, pumps = True, list(self._pumps)
        hang_up(self._transport)
        for pump in pumps:
            pump.break_off()
        for pump in pumps:
            pump.join(15)

    def end_other(self, other: _Link) -> bool:
        """End the sshd of an older connection of ours, which does not know that it broke and keeps the port."""
        if other._server is None:
            return False
        try:
            return self._run(("sh", "-c", FORWARD_END, "mainstay", *other._server)).endswith(b"forward ended\n")
        except (OSError, EOFError, paramiko.SSHException, Late):
            return False

    @contextmanager
    def _guarded(self, seconds: float) -> Iterator[None]:
        """paramiko waits for an answer without an end, but for that of the connection: so that ends, where it takes too long."""
        guard = threading.Timer(seconds, hang_up, (self._transport,))
        guard.daemon = True
        guard.start()
        try:
            yield
        finally:
            guard.cancel()

    def _requested(self, port: int) -> int:
        # Set before it is asked for: who waits for the port there comes in the moment it listens.
        self._transport._tcp_handler = self._accept
        try:
            got = self._transport.request_port_forward(LOOPBACK, port, self._accept)
        except paramiko.SSHException:
            if not self._transport.is_active():
                raise
            if port == 0 or not self._allowed():
                raise not_forwarded(self._host.name) from None
            raise port_taken(self._host.name, port) from None
        return int(got)

    def _allowed(self) -> bool:
        """Whether any port may listen; sshd refuses without a reason."""
        try:
            other = self._transport.request_port_forward(LOOPBACK, 0, self._accept)
        except paramiko.SSHException:
            if not self._transport.is_active():
                raise
            return False
        self._transport.global_request("cancel-tcpip-forward", (LOOPBACK, other), wait=True)
        return True

    def _look(self, seconds: float) -> None:
        """Raises ForwardRefused where sshd listens on every address, as GatewayPorts makes it do unasked."""
        said = self._run(("sh", "-c", FORWARD_LOOK, "mainstay", str(self.port)), seconds).decode("ascii", "replace")
        for line in said.splitlines():
            match line.split():
                case ["forward", "everywhere"]:
                    raise not_on_loopback(self._host.name)
                case ["forward", "server", process, started]:
                    self._server = (process, started)

    def _run(self, argv: tuple[str, ...], seconds: float = 10.0) -> bytes:
        out = Kept(4096)
        channel = self._transport.open_session(timeout=seconds)
        try:
            exchange = Exchange(channel, out=out, err=Kept(4096), deadline=time.monotonic() + seconds)
            exchange.start(quote(argv))
            exchange.run()
        finally:
            channel.close()
        return out.value()

    def _accept(self, channel: Any, origin: tuple[str, int], server: tuple[str, int]) -> None:
        """In paramiko's own thread: must not wait, nor raise."""
        pump = Pump(channel, self._local, self.heard, self._forget)
        with self._lock:
            taken = not self._over and len(self._pumps) < MOST
            if taken:
                self._pumps.add(pump)
                try:
                    pump.start()
                except RuntimeError:  # no thread to be had
                    self._pumps.discard(pump)
                    taken = False
        if not taken:
            channel.close()

    def _forget(self, pump: Pump) -> None:
        with self._lock:
            self._pumps.discard(pump)

    def _ask(self) -> None:
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        self._transport._send_user_message(message)


class _Heard(threading.Event):
    """What paramiko sets when an answer to a request has come."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard

    def set(self) -> None:
        self._heard()

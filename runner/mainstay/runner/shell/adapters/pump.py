"""Carries the bytes of one forwarded connection in both directions: a channel of paramiko and a socket of this machine.

Two threads that block, one for each direction, keep no more than one piece each: what the slower side does not take stays
in the SSH window and in the kernel, and holds back the sender. An end of file goes on as such; a connection that broke
arrives as a reset, never as an end: what was cut off must not look whole.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paramiko

CONNECT = 10.0
"""Seconds for which the local end may take its time to accept."""
_SLICE = struct.pack("ll", 0, 250_000)
"""timeval: a write that blocks looks every quarter of a second whether there is still somebody to write for."""
_RESET = struct.pack("ii", 1, 0)
_BROKEN = (OSError, EOFError, paramiko.SSHException)


class Pump:
    """One connection. heard: called when the host showed that it lives. ended: called once, at the very end."""

    def __init__(
        self, channel: Any, local: tuple[str, int], heard: Callable[[], None], ended: Callable[[Pump], None]
    ) -> None:
        self._channel = channel
        self._local = local
        self._heard, self._ended = heard, ended
        self._sock: socket.socket | None = None
        self._broken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    def break_off(self) -> None:
        """Both ends see that it broke. Returns at once."""
        self._broken.set()
        with suppress(*_BROKEN):
            self._channel.close()
        sock = self._sock
        if sock is not None:
            with suppress(OSError):
                # Wakes who reads. The other half would send an end of file, and this is none.
                sock.shutdown(socket.SHUT_RD)

    def _run(self) -> None:
        try:
            try:
                sock = socket.create_connection(self._local, timeout=CONNECT)
            except OSError:
                return
            with sock:
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SLICE)
                self._sock = sock
                if self._broken.is_set():  # before there was a socket to wake
                    return
                back = threading.Thread(target=self._guarded, args=(self._to_host, sock), name="forward", daemon=True)
                back.start()
                self._guarded(self._to_local, sock)
                back.join()
                if self._broken.is_set():
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            with suppress(*_BROKEN):
                self._channel.close()
            self._ended(self)

    def _guarded(self, work: Callable[[socket.socket], None], sock: socket.socket) -> None:
        try:
            work(sock)
        except _BROKEN:
            self.break_off()

    def _to_local(self, sock: socket.socket) -> None:
        while data := self._channel.recv(1 << 18):
            self._heard()
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[sock.send(rest) :]
                except BlockingIOError:  # its slice is over
                    if self._broken.is_set() or self._channel.closed:
                        raise EOFError from None
        if not self._channel.eof_received:
            raise EOFError
        sock.shutdown(socket.SHUT_WR)

    def _to_host(self, sock: socket.socket) -> None:
        # One packet at a time: what a channel sends in one call waits for its window without an end.
        size = self._channel.out_max_packet_size - 64
        while data := sock.recv(size):
            self._channel.sendall(data)
            self._heard()
        if self._broken.is_set():
            raise EOFError
        self._channel.shutdown_write()

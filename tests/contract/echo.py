"""What stands at the controller's end of a forward: says who it is, and gives back what it is sent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Echo:
    """Says its port, and then whatever is said to it, on any number of connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.resets = 0
        """Connections that ended with an error and not with an end of file."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def held(self) -> int:
        """Connections that are open."""
        with self._lock:
            return len(self._open)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(one)
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        try:
            one.sendall(str(self.address[1]).encode())
            while data := one.recv(65536):
                one.sendall(data)
        except OSError:
            with self._lock:
                self.resets += 1
        finally:
            with self._lock:
                self._open.discard(one)
            one.close()


def said(port: int) -> bytes:
    """What is heard on loopback until the end, after one's own end of file; nothing where nobody listens or it breaks."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as there:
            there.shutdown(socket.SHUT_WR)
            heard = b""
            while data := there.recv(100):
                heard += data
            return heard
    except OSError:
        return b""

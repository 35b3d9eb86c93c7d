"""A wire between a client and a server that a test can cut, freeze, or cut just when an answer comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Forwards TCP from `port` on loopback to the server's."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._lose_after: bytes | None = None
        self.lost = threading.Event()
        """An answer was kept back and the connection cut."""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answer_to(self, words: bytes) -> None:
        """The next time a client says these words, the server hears them and the client never hears the answer."""
        self.lost.clear()
        self._lose_after = words

    def freeze(self) -> None:
        """Nothing goes through any more; every connection stays open, and new ones are taken."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.thaw()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                try:
                    server = socket.create_connection(("127.0.0.1", self._server))
                except OSError:  # nobody there: so it is for the client
                    client.close()
                    continue
                self._pairs.append((client, server))
                keep = threading.Event()
                for source, target, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, target, asks, keep), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, asks: bool, keep: threading.Event) -> None:
        """keep: set once the next answer on this connection is to be lost."""
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if asks and self._lose_after is not None and self._lose_after in data:
                    self._lose_after = None
                    keep.set()
                elif not asks and keep.is_set():
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if keep.is_set():
            self.lost.set()


@contextmanager
def wire(server: int) -> Iterator[Wire]:
    one = Wire(server)
    try:
        yield one
    finally:
        one.close()

"""What is made of an rclone that dies in the middle of an answer: it ends by closing its connection, as a good end does."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from mainstay.recovery.gateway.adapters.relay import LOOPBACK, Relay, relay

GOOD = b"a pack, as restic has sent it" * 1000
PATH = f"/data/{hashlib.sha256(GOOD).hexdigest()}"
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD[: len(GOOD) // 2]
"""What a process that is killed has sent."""
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(GOOD) // 2) + GOOD[: len(GOOD) // 2]
"""A whole answer, of a file that is half of itself."""

Answers = Callable[[str], bytes]


@contextmanager
def _standing_for_rclone(answers: Answers) -> Iterator[int]:
    """A connection for each request, closed after what it answers to the method. Its port."""
    with socket.create_server((LOOPBACK, 0)) as server:
        ending = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                if ending.is_set():
                    connection.close()
                    return
                with closing(connection), connection.makefile("rb") as came:
                    method, length = came.readline().split(b" ")[0].decode(), 0
                    while (line := came.readline().strip().lower()) != b"":
                        if line.startswith(b"content-length:"):
                            length = int(line.partition(b":")[2])
                    came.read(length)
                    connection.sendall(answers(method))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ending.set()
            socket.create_connection((LOOPBACK, server.getsockname()[1])).close()
            thread.join(60)


def _ask(server: Relay, method: str, body: bytes | None = None) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(LOOPBACK, server.port, timeout=60)) as there:
        there.request(method, PATH, body=body)
        answer = there.getresponse()
        return answer.status, answer.read()


def test_an_answer_that_rclone_breaks_off_breaks_off_for_the_host_too() -> None:
    """It would wait for the rest, until the relay's own patience of a quarter of an hour ends."""
    with (
        _standing_for_rclone(lambda method: CUT) as port,
        relay(port) as server,
        pytest.raises((http.client.IncompleteRead, ConnectionError)),
    ):
        _ask(server, "GET")


@pytest.mark.parametrize(("kept", "gone"), [(CUT, []), (HALF, [PATH])], ids=["cut", "half"])
def test_a_file_is_not_taken_for_half_of_itself_because_rclone_died_while_it_was_read(
    kept: bytes, gone: list[str]
) -> None:
    with (
        _standing_for_rclone(lambda method: kept if method == "GET" else REFUSED) as port,
        relay(port) as server,
    ):
        removed: list[str] = []
        server.remove = removed.append
        server.torn.add(PATH)
        assert _ask(server, "POST", GOOD)[0] == 503
        assert removed == gone
        assert (PATH in server.torn) == (not gone)

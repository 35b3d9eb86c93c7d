"""Stands before rclone and makes an upload that is sent twice a good one.

Where the connection breaks after rclone has a file and before the host has heard so, restic sends the file again; rclone
answers 403, as to everything that would be written over, and restic gives the whole backup up (403 is final to it: measured,
one cut connection in ten). Here such an answer is looked into. What is sent bears its SHA-256 as its name: where what is kept
is the same to the byte, it is there, and that is said; where it is not, or not yet, restic is told to come again (503).
Everything else passes as it is, logins too: it is rclone that lets in or refuses.

Source of the protocol: https://restic.readthedocs.io/en/stable/100_references.html#rest-backend
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

LOOPBACK = "127.0.0.1"
MOST = 64
"""Connections at once; more are closed. A host's restic has 5, behind a forward that takes 32."""
IDLE = 900.0
"""Seconds without a byte from the host; it is the forward that notices a connection that is none any more."""
ANSWER = 3600.0
"""Seconds that rclone may take for an answer, of a storage that is slow."""
_CHUNK = 1 << 18
_NAMED = re.compile(r"/(?:data|index|keys|locks|snapshots)/([0-9a-f]{64})")
_OWN = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "host",
    "proxy-connection",
    "content-length",
}
"""Headers that are about one connection (RFC 9110, 7.6.1), and the length, which is said anew."""
_SHORT = 1 << 20
"""Bytes of a request whose length is not said before."""
_T = TypeVar("_T")


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """It has its own port on loopback, for what is to reach rclone's."""
    server = Relay((LOOPBACK, 0), port)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="gateway", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Relay(ThreadingHTTPServer):
    request_queue_size = 64
    block_on_close = False  # they are woken, and end by themselves

    def __init__(self, address: tuple[str, int], upstream: int) -> None:
        self.upstream = upstream
        """rclone's port; another one when it was started anew, 0 while there is none."""
        self.over = ""
        """Why nothing is behind it any more, in ASCII; restic is told so, and gives up instead of asking on."""
        self.torn: set[str] = set()
        """Paths whose upload was in rclone's hands when it died: half a file may be there, which it would not write over."""
        self.remove: Callable[[str], None] = lambda path: None
        """Given such a path, once what is kept there is known not to be what its name says."""
        self.short: Callable[[int], str] = lambda size: ""
        """Why the storage has no room for so many bytes, in ASCII; empty where it has, or where that can't be known."""
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            if len(self._open) >= MOST:
                return False
            self._open.add(request)
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._lock:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE

    def do_GET(self) -> None:
        self._pass()

    def do_HEAD(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, format: str, *args: object) -> None:
        """rclone says what there is to be said."""

    def _pass(self) -> None:
        try:
            length, first = self._length()
        except ValueError:
            self.close_connection = True
            self._answer(400)
            return
        with closing(self._there()) as there:
            digest = self._send(there, length, first)
            # Without a socket nobody was there: http.client would fail over it.
            answer = _or_none(there.getresponse) if there.sock is not None else None
            if self.command == "POST" and answer is None and self._name():
                self.server.torn.add(self.path)
            if answer is None and self.server.over:
                self._answer(403, self.server.over)
            elif self.command == "POST" and (answer is None or answer.status == 403):
                self._answer(self._judged(digest) if digest == self._name() else 403 if answer else 503)
            elif answer is None:
                self._answer(502)
            elif self.command == "POST" and answer.status >= 500 and (why := self.server.short(length)):
                self._answer(403, why)  # restic would ask again for a quarter of an hour
            else:
                self._return(answer)

    def _length(self) -> tuple[int, bytes]:
        """How much comes after the headers, and what of it has been read. Raises ValueError where that is not said in one
        way, that nobody reads in another. In chunks restic sends what is short alone (to make a repository: nothing)."""
        lengths = self.headers.get_all("Content-Length", [])
        coding = self.headers.get_all("Transfer-Encoding", [])
        if not coding:
            if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", "".join(lengths) or "0"):
                raise ValueError
            return int("".join(lengths) or "0"), b""
        if lengths or coding != ["chunked"]:
            raise ValueError
        body = b""
        while size := int(self.rfile.readline(20).strip().decode("ascii"), 16):
            if not 0 < size <= _SHORT - len(body):
                raise ValueError
            body += self.rfile.read(size)
            if self.rfile.readline(3) != b"\r\n":
                raise ValueError
        if self.rfile.readline(3) != b"\r\n":
            raise ValueError
        return len(body), body

    def _there(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(LOOPBACK, self.server.upstream, timeout=ANSWER)

    def _send(self, there: http.client.HTTPConnection, length: int, first: bytes) -> str:
        """The SHA-256 of what came. What rclone does not take, as it refuses, is read all the same."""
        takes = _did(lambda: self._head(there, length))
        digest, left = hashlib.sha256(), length
        while left:
            data = first or self.rfile.read(min(left, _CHUNK))
            if not data:
                # Half a file: rclone must see that it broke, and no end of file that it might take for one.
                if there.sock is not None:
                    there.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ConnectionResetError
            first, left = b"", left - len(data)
            digest.update(data)
            takes = takes and _did(partial(there.send, data))
        return digest.hexdigest()

    def _head(self, there: http.client.HTTPConnection, length: int) -> None:
        there.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OWN:
                there.putheader(name, value)
        if length or self.command == "POST":
            there.putheader("Content-Length", str(length))
        there.endheaders()

    def _name(self) -> str:
        found = _NAMED.fullmatch(self.path)
        return found[1] if found else ""

    def _judged(self, digest: str) -> int:
        """200 where what is kept is what was sent; else 503: it may be half of it, of an upload that is just given up."""
        with closing(self._there()) as there:
            kept = hashlib.sha256()
            try:
                headers = {"Authorization": self.headers.get("Authorization", "")}
                there.request("GET", self.path, headers=headers)
                answer = there.getresponse()
                for data in _body(answer):
                    kept.update(data)
            except (OSError, http.client.HTTPException):
                return 503
        if answer.status == 200 and kept.hexdigest() == digest:
            return 200
        if answer.status == 200 and self.path in self.server.torn:
            self.server.torn.discard(self.path)
            self.server.remove(self.path)
        return 503

    def _answer(self, status: int, words: str | None = None) -> None:
        self.send_response_only(status, words)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _return(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        length = answer.getheader("Content-Length")
        for name, value in answer.getheaders():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", length)
        plain = self.command == "HEAD" or length is not None or answer.status in (204, 304)
        if not plain:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for data in _body(answer):  # raises where it broke in the middle, and ours breaks with it
            if not plain:
                self.wfile.write(b"%x\r\n" % len(data))
            self.wfile.write(data if plain else data + b"\r\n")
        if not plain:
            self.wfile.write(b"0\r\n\r\n")


def _body(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Raises IncompleteRead where it ends early: read in pieces, http.client takes the end of the connection for the answer's."""
    while data := answer.read(_CHUNK):
        yield data
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def _or_none(work: Callable[[], _T]) -> _T | None:
    """What it gives; None where rclone does not answer."""
    try:
        return work()
    except (OSError, http.client.HTTPException):
        return None


def _did(work: Callable[[], object]) -> bool:
    """Whether rclone goes on listening."""
    try:
        work()
    except (OSError, http.client.HTTPException):
        return False
    return True

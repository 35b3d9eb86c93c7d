"""One HTTP request with urllib3. Every address that the name resolves to is looked at before one is dialled, and the one
that was looked at is dialled: a name can't lead to a cloud's metadata, nor change its mind in between (DNS rebinding)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from mainstay.inventory.addresses import forbidden
from mainstay.inventory.web.contract import Answer, Forbidden, WebError

CHUNK = 65536
NAMED_PORTS = {"http": 80, "https": 443}

Resolve = Callable[[str, int], list[tuple[int, tuple[str, int]]]]
"""(name, port) → (address family, (IP, port)) of each, in the order in which they are to be tried."""


def resolve(name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [(family, (str(address[0]), port)) for family, _, _, _, address in found]


class Guarded:
    """Implements Web."""

    def __init__(self, resolve: Resolve = resolve, *, context: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._context = context

    def __call__(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 10.0,
        largest: int = 65536,
    ) -> Answer:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or NAMED_PORTS.get(parts.scheme, 0)
        except ValueError:
            raise WebError("what is to be asked is no URL") from None
        if parts.scheme not in NAMED_PORTS or not host or parts.username or parts.password:
            raise WebError("what is to be asked is no http or https URL")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": "mainstay", "Accept-Encoding": "identity", **(headers or {})}
        deadline = time.monotonic() + seconds
        with _translated(host), self._dialled(host, port, deadline) as plain, _ended(plain, deadline):
            connection = self._connection(parts.scheme, host, port, deadline)
            # The one step of urllib3's own connecting that would look the name up again.
            connection._new_conn = lambda: plain  # type: ignore[method-assign]  # urllib3 has no other place for it
            try:
                connection.request(method, path, body or None, sent, preload_content=False, decode_content=False)
                # closed here: what breaks off in its middle would keep the line open for as long as its error is kept
                with contextlib.closing(connection.getresponse()) as response:
                    return _answer(response, host, deadline, largest)
            finally:
                connection.close()

    def _connection(self, scheme: str, host: str, port: int, deadline: float) -> HTTPConnection:
        timeout = max(0.1, deadline - time.monotonic())
        if scheme == "http":
            return HTTPConnection(host, port, timeout=timeout)
        return HTTPSConnection(host, port, timeout=timeout, ssl_context=self._context or ssl.create_default_context())

    @contextlib.contextmanager
    def _dialled(self, host: str, port: int, deadline: float) -> Iterator[socket.socket]:
        plain = self._dial(host, port, deadline)
        try:
            yield plain
        finally:
            plain.close()

    def _dial(self, host: str, port: int, deadline: float) -> socket.socket:
        addresses = self._resolve(host, port)
        for _, (ip, _) in addresses:
            if why := forbidden(ip):
                raise Forbidden(f"{host} can't be asked: {ip}: {why}")
        fault: OSError | None = None
        for family, address in addresses:
            plain = socket.socket(family, socket.SOCK_STREAM)
            try:
                plain.settimeout(max(0.1, deadline - time.monotonic()))
                plain.connect(address)
            except OSError as error:
                plain.close()
                fault = error
            else:
                return plain
        raise fault or OSError(f"{host} has no address")


def _answer(response: BaseHTTPResponse, host: str, deadline: float, largest: int) -> Answer:
    body = bytearray()
    while chunk := response.read(CHUNK, decode_content=False):
        body += chunk
        if len(body) > largest:
            raise WebError(f"{host} answers with more than {largest} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, bytes(body))


@contextlib.contextmanager
def _ended(plain: socket.socket, deadline: float) -> Iterator[None]:
    """A server that says a byte now and then keeps within every timeout of a socket: its line is cut at the deadline."""
    line, cut = plain.dup(), threading.Event()  # TLS takes the socket's own number over

    def end() -> None:
        cut.set()
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (HTTPError, HTTPException, OSError, ValueError):
        if cut.is_set():
            raise TimeoutError from None
        raise
    else:
        if cut.is_set():  # to HTTP/1.0, what ends is whole
            raise TimeoutError
    finally:
        timer.cancel()
        line.close()


@contextlib.contextmanager
def _translated(host: str) -> Iterator[None]:
    # `from None`: urllib3's own words hold the whole URL.
    try:
        yield
    except (TimeoutError, urllib3.exceptions.TimeoutError):
        raise WebError(f"{host} does not answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise WebError(f"the certificate of {host} is not accepted: {error.verify_message}") from None
    except socket.gaierror as error:
        raise WebError(f"{host} can't be resolved: {error.strerror}") from None
    except (ssl.SSLError, urllib3.exceptions.SSLError):
        raise WebError(f"no secure connection with {host}") from None
    except OSError as error:
        raise WebError(f"{host} can't be reached: {error.strerror or type(error).__name__}") from None
    except (HTTPError, HTTPException, ValueError) as error:
        raise WebError(f"{host} does not speak HTTP as it has to: {type(error).__name__}") from None

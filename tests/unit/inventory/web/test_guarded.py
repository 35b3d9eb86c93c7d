"""HTTP as a site may use it: to nobody's metadata, never redirected, never longer than it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mainstay.inventory.web.adapters.guarded import Guarded, Resolve, resolve
from mainstay.inventory.web.contract import Forbidden, WebError

SECRET = "s3cr3t-path"


class Seen:
    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler], None], context: ssl.SSLContext | None = None
) -> Iterator[tuple[int, Seen]]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.requests.append((self.command, self.path, body))
            seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer(self)

        do_GET = do_POST = _any

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that refuses our certificate is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def well(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("ETag", '"1"')
    handler.end_headers()
    handler.wfile.write(b"OK")


def test_a_request_and_its_answer() -> None:
    with serving(well) as (port, seen):
        answer = Guarded()("POST", f"http://127.0.0.1:{port}/a/b?c=d", body=b"x", headers={"If-None-Match": '"0"'})
    assert (answer.status, answer.body, answer.headers["etag"]) == (200, b"OK", '"1"')
    assert seen.requests == [("POST", "/a/b?c=d", b"x")]
    assert seen.headers[0]["host"] == f"127.0.0.1:{port}"
    assert (seen.headers[0]["if-none-match"], seen.headers[0]["accept-encoding"]) == ('"0"', "identity")


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    def away(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        handler.end_headers()

    with serving(away) as (port, seen):
        assert Guarded()("GET", f"http://127.0.0.1:{port}/").status == 302
    assert len(seen.requests) == 1


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "https://[fe80::1]/", "http://[::ffff:a9fe:a9fe]/", "http://0/"]
)
def test_what_leads_to_metadata_is_not_dialled(url: str) -> None:
    with pytest.raises(Forbidden):
        Guarded()("GET", url, seconds=60)


def test_a_name_that_has_one_forbidden_address_is_not_dialled() -> None:
    with serving(well) as (port, seen):
        here = (int(socket.AF_INET), ("127.0.0.1", port))
        there = (int(socket.AF_INET), ("169.254.169.254", port))
        with pytest.raises(
            Forbidden, match=r"cal\.example can't be asked: 169\.254\.169\.254: it is a cloud's metadata"
        ):
            Guarded(lambda name, port: [here, there])("GET", f"http://cal.example:{port}/{SECRET}")
    assert seen.requests == []


def test_a_name_is_looked_up_once_and_what_was_looked_at_is_dialled() -> None:
    asked: list[str] = []

    def rebinding(name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        asked.append(name)
        ip = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(int(socket.AF_INET), (ip, port))]

    with serving(well) as (port, seen):
        assert Guarded(rebinding)("GET", f"http://rebind.example:{port}/").status == 200
    assert asked == ["rebind.example"]
    assert seen.headers[0]["host"] == f"rebind.example:{port}"


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    with serving(well) as (port, _), socket.socket() as closed:
        closed.bind(("127.0.0.2", 0))  # bound, and nobody listens
        dead = (int(socket.AF_INET), closed.getsockname())
        here = (int(socket.AF_INET), ("127.0.0.1", port))
        assert Guarded(lambda name, port: [dead, here])("GET", f"http://two.example:{port}/").status == 200


def test_an_answer_that_is_too_long_is_none() -> None:
    def long(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"x" * 70000)

    with serving(long) as (port, _), pytest.raises(WebError, match="more than 65536 bytes"):
        Guarded()("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("drip", [b"x", b""], ids=["drips", "hangs"])
def test_a_server_that_never_ends_is_left(drip: bytes) -> None:
    over = threading.Event()

    def forever(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not over.wait(0.05):
            try:
                handler.wfile.write(drip)
            except OSError:
                return

    with serving(forever) as (port, _):
        try:
            with pytest.raises(WebError, match=r"127\.0\.0\.1 does not answer in time"):
                Guarded()("GET", f"http://127.0.0.1:{port}/{SECRET}", seconds=0.5)
        finally:
            over.set()


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    """A server that speaks no TLS at all, and one whose certificate can't be checked: neither is asked anything."""
    with serving(well) as (port, seen), pytest.raises(WebError, match=r"no secure connection|certificate"):
        Guarded()("GET", f"https://127.0.0.1:{port}/{SECRET}", seconds=30)
    assert seen.requests == []
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def certificate(folder: Path, name: str) -> Path:
    """Key and certificate of a server of that name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    began = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def test_a_certificate_is_held_against_the_name_that_was_asked_for(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "ping.example")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=str(pem))

    with serving(well, server_side) as (port, seen):
        here: Resolve = lambda name, port: [(int(socket.AF_INET), ("127.0.0.1", port))]  # noqa: E731
        assert Guarded(here, context=trusting)("GET", f"https://ping.example:{port}/a", seconds=60).body == b"OK"
        for web, name in ((Guarded(here, context=trusting), "other.example"), (Guarded(here), "ping.example")):
            with pytest.raises(WebError, match=f"the certificate of {name} is not accepted"):
                web("GET", f"https://{name}:{port}/{SECRET}", seconds=60)
    assert [path for _, path, _ in seen.requests] == ["/a"]


@pytest.mark.parametrize(
    "url",
    [
        f"http://nobody.invalid/{SECRET}",
        f"ftp://127.0.0.1/{SECRET}",
        f"http://user:{SECRET}@127.0.0.1/",
        f"http://[::1/{SECRET}",
        f"http://127.0.0.1:99999/{SECRET}",
        f"http://127.0.0.1:1/{SECRET}",
        f"file:///etc/{SECRET}",
        f"http://127.0.0.1:1/\r\nX: {SECRET}",
    ],
)
def test_no_error_holds_the_url(url: str) -> None:
    with pytest.raises(WebError) as raised:
        Guarded()("GET", url, seconds=30)
    assert SECRET not in raised.value.message
    assert raised.value.__cause__ is None


def test_what_speaks_no_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(4096)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(WebError, match=r"127\.0\.0\.1"):
            Guarded()("GET", f"http://127.0.0.1:{port}/{SECRET}", seconds=30)
        thread.join()


def test_names_are_looked_up_for_real() -> None:
    # An old way to write 127.0.0.1, which the system's resolver alone reads as such; a small machine may know no localhost.
    assert ("127.0.0.1", 80) in [address for _, address in resolve("127.1", 80)]

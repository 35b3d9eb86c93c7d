"""Checks from the controller, against real sockets: what answers, what lies, what drips, what never comes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.ports import closed_port

from mainstay.inventory.host import Host
from mainstay.runner.health import network
from mainstay.runner.health.contract import Look
from mainstay.runner.plan import Check
from mainstay.runner.shell.fake import FakeHost, FakeShells

HOST = Host(name="web1", address="127.0.0.1")
SHELL = FakeShells([FakeHost("web1")]).open(HOST)

Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(talk: Talk, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> Iterator[int]:
    """A server on loopback that does so with each connection; its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:

        def serve() -> None:
            while True:
                try:
                    made, _ = server.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), made:
                    if tls:
                        with tls.wrap_socket(made, server_side=True) as safe:
                            talk(safe)
                    else:
                        talk(made)

        worker = threading.Thread(target=serve, daemon=True)
        worker.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        worker.join(5)


def says(answer: bytes, heard: list[bytes] | None = None) -> Talk:
    def talk(made: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (more := made.recv(4096)):
            asked += more
        if heard is not None:
            heard.append(asked)
        made.sendall(answer)

    return talk


def page(status: str, body: bytes = b"", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def ask(url: str, host: Host = HOST, **more: object) -> Look:
    return network.get(Check.model_validate({"http": url, "timeout": "3s", **more}), host, SHELL)


def test_the_page_that_is_expected_is_well_and_the_request_is_plain() -> None:
    heard: list[bytes] = []
    with listening(says(page("200 OK", b"all well"), heard)) as port:
        look = ask(f"http://{{address}}:{port}/healthz?deep=1", contains="all well")

    assert look == Look(ok=True, detail="200")
    assert heard[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in heard[0]


def test_another_status_and_another_text_are_not() -> None:
    with listening(says(page("503 Down", b"maintenance"))) as port:
        assert ask(f"http://127.0.0.1:{port}/").detail == "503, expected 200"
        assert ask(f"http://127.0.0.1:{port}/", expect=503).ok
        assert ask(f"http://127.0.0.1:{port}/", expect=503, contains="well").detail.endswith("text that was expected")


def test_a_redirect_is_not_followed_to_wherever_it_points() -> None:
    heard: list[bytes] = []
    with (
        listening(says(page("200 OK"), heard)) as elsewhere,
        listening(says(page("302 Found", b"", f"Location: http://127.0.0.1:{elsewhere}/\r\n"))) as port,
    ):
        look = ask(f"http://127.0.0.1:{port}/")

    assert not look.ok
    assert f"points to http://127.0.0.1:{elsewhere}/" in look.detail
    assert heard == []


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with listening(says(page("200 OK"), heard)) as proxy, listening(says(page("204 Fine"))) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy}")
        assert ask(f"http://127.0.0.1:{port}/", expect=204).ok

    assert heard == []


@pytest.mark.thorough
def test_a_server_that_drips_for_ever_ends_at_the_deadline() -> None:
    def drip(made: socket.socket) -> None:
        made.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            made.sendall(b"X-Drip: drip\r\n")
            if stop.wait(0.2):
                return

    stop = threading.Event()
    started = time.monotonic()
    with listening(drip) as port:
        look = ask(f"http://127.0.0.1:{port}/", timeout="1s")
        stop.set()

    assert look == Look(ok=False, detail="no answer within 1 s")
    assert time.monotonic() - started < 60, "and not with the last header"


def test_a_body_without_end_is_read_to_its_cap() -> None:
    def pour(made: socket.socket) -> None:
        made.recv(4096)
        made.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            made.sendall(b"x" * 65536)

    with listening(pour) as port:
        look = ask(f"http://127.0.0.1:{port}/", contains="well", timeout="20s")

    assert look.detail == "200, but without the text that was expected"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 xyz\r\n\r\n", b"\xff" * 70000])
def test_what_is_no_http_is_not_well_and_no_crash(answer: bytes) -> None:
    with listening(says(answer)) as port:
        look = ask(f"http://127.0.0.1:{port}/")

    assert not look.ok
    assert look.detail


def test_a_refused_connection_and_a_name_that_is_not_there_are_not_well() -> None:
    with closed_port() as port:
        assert ask(f"http://127.0.0.1:{port}/").detail == "Connection refused"
    assert not ask("http://no-such-host.invalid/").ok


def test_a_certificate_that_nobody_vouches_for_is_not_well(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
         "-days", "1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with listening(says(page("200 OK")), tls=context) as port:
        look = ask(f"https://127.0.0.1:{port}/")

    assert not look.ok
    assert look.detail.startswith("certificate: ")


def test_a_port_that_takes_connections_is_well_and_one_that_does_not_is_not() -> None:
    with listening(says(b"")) as port:
        assert network.tcp(Check(tcp=str(port)), HOST, SHELL).ok
        assert network.tcp(Check(tcp=f"{{address}}:{port}"), HOST, SHELL).ok

    closed = network.tcp(Check(tcp=str(port)), HOST, SHELL)
    assert (closed.ok, closed.detail) == (False, "Connection refused")


def test_an_ipv6_address_is_put_in_brackets() -> None:
    host = Host(name="web6", address="::1")
    heard: list[bytes] = []
    with listening(says(page("200 OK"), heard), address="::1") as port:
        assert ask(f"http://{{address}}:{port}/", host).ok
        assert network.tcp(Check(tcp=str(port)), host, SHELL).ok

    assert f"Host: [::1]:{port}\r\n".encode() in heard[0]

"""Checks from the controller: a port that answers, a page that says what it should. Standard library alone: one request,
no redirect followed, no proxy, a deadline over the whole."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from mainstay.inventory.host import Host
from mainstay.runner.health import grammar
from mainstay.runner.health.contract import Look
from mainstay.runner.plan import Check
from mainstay.runner.shell.contract import Shell

BODY_CAP = 1024 * 1024
"""Bytes of an answer that are read to find `contains` in."""


@dataclass(slots=True)
class _Socket:
    """The connection of a look, so that whoever gives up can close it."""

    timeout: float
    given_up: bool = False
    open: socket.socket | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, host: str, port: int) -> socket.socket:
        made = socket.create_connection((host, port), timeout=self.timeout)
        with self.guard:
            if self.given_up:
                made.close()
                raise TimeoutError
            self.open = made
        return made

    def give_up(self) -> None:
        with self.guard:
            self.given_up = True
            if self.open is not None:
                _hang_up(self.open)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads; close alone would not
    except OSError:
        pass  # it is gone already
    finally:
        connection.close()


def tcp(check: Check, host: Host, shell: Shell) -> Look:
    target, port = grammar.tcp(check.tcp or "", address=host.address, name=host.name)

    def connect(held: _Socket) -> Look:
        held.connect(target, port).close()
        return Look(ok=True, detail="connected")

    return _within(check.timeout, connect)


def get(check: Check, host: Host, shell: Shell) -> Look:
    url = grammar.http(check.http or "", address=host.address, name=host.name)
    expect = check.expect if check.expect is not None else http.client.OK

    def ask(held: _Socket) -> Look:
        connection = http.client.HTTPConnection(url.host, url.port)
        made = held.connect(url.host, url.port)
        if url.scheme == "https":
            made = ssl.create_default_context().wrap_socket(made, server_hostname=url.host)
            held.open = made
        connection.sock = made
        headers = {"Host": url.authority, "User-Agent": "mainstay", "Accept": "*/*", "Connection": "close"}
        connection.request("GET", url.target, headers=headers)
        response = connection.getresponse()
        return _judge(response, expect, check.contains)

    return _within(check.timeout, ask)


def _judge(response: http.client.HTTPResponse, expect: int, contains: str | None) -> Look:
    if response.status != expect:
        detail = f"{response.status}, expected {expect}"
        if 300 <= response.status < 400:
            detail += f" (redirects are not followed; it points to {response.getheader('Location', 'nowhere')[:200]})"
        return Look(ok=False, detail=detail)
    if contains is not None and contains.encode() not in response.read(BODY_CAP):
        return Look(ok=False, detail=f"{response.status}, but without the text that was expected")
    return Look(ok=True, detail=str(response.status))


def _within(deadline: float, work: Callable[[_Socket], Look]) -> Look:
    """A socket's timeout starts anew with every byte, and a name's resolution has none: so the whole is watched."""
    held = _Socket(timeout=deadline)
    looks: list[Look] = []

    def run() -> None:
        try:
            looks.append(work(held))
        except ssl.SSLCertVerificationError as error:
            looks.append(Look(ok=False, detail=f"certificate: {error.verify_message}"))
        except TimeoutError:
            looks.append(Look(ok=False, detail=f"no answer within {deadline:g} s"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            looks.append(Look(ok=False, detail=_why(error)))
        finally:
            if held.open is not None:
                held.open.close()

    worker = threading.Thread(target=run, name="health-check", daemon=True)
    worker.start()
    worker.join(deadline)
    if worker.is_alive():
        held.give_up()
        return Look(ok=False, detail=f"no answer within {deadline:g} s")
    return looks[0]


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error)
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__

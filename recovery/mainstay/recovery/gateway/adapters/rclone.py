"""`rclone serve restic --append-only`, a process for each gateway. Its user, its password and the storage's credentials are
in its environment, which root and its own user alone can read; its arguments hold none of them.

rclone 1.60 (Debian 12) and newer. Its `serve restic` cleans a request's path before it looks for it, so that `..` leads nowhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from mainstay.inventory.secrets import Secret
from mainstay.recovery.gateway.adapters.relay import Relay, relay
from mainstay.recovery.gateway.adapters.storage import environment, root
from mainstay.recovery.gateway.contract import GatewayError, Served
from mainstay.recovery.repository import Access
from mainstay.runner.shell.printable import printable

LOOPBACK = "127.0.0.1"
READY = 90.0
"""Seconds for rclone to start and to reach its storage."""
GRACE = 5.0
"""Seconds between asking it to end and killing it."""
AGAIN = 5
"""How often one that has died is started anew, for one run on one host."""
PAUSE = 0.5
"""Seconds before it is started anew, times how often that was."""
_SERVING = re.compile(r"Serving restic REST API on \[?http://127\.0\.0\.1:(\d+)/")
_STAMP = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
_V2 = "application/vnd.x.restic.rest.v2"


class Rclone:
    """program: its name or path; looked for when it is used."""

    def __init__(self, program: str = "rclone") -> None:
        self._program = program

    def version(self) -> str:
        argv = [_found(self._program), "version"]
        said = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=30, check=False
        )
        words = said.stdout.split()
        if said.returncode != 0 or words[:1] != ["rclone"] or len(words) < 2:
            raise GatewayError(f"{self._program} does not say its version: {printable(said.stderr or said.stdout)}")
        return words[1].removeprefix("v")

    @contextmanager
    def serve(self, access: Access, user: str, password: Secret) -> Iterator[Served]:
        if not user or ":" in user or not password.reveal():
            raise GatewayError("a gateway needs a user, without a colon, and a password")
        argv = [
            # A gateway must not outlive who may close it, however that one ends.
            *(_found("setpriv", "util-linux"), "--pdeathsig", "KILL", "--"),
            *(_found(self._program), "serve", "restic", "--append-only"),
            # Others write to and prune the same repository: what was there a moment ago may be gone.
            "--cache-objects=false",
            *("--addr", f"{LOOPBACK}:0", "--", root(access)),
        ]
        env = {**environment(access), "RCLONE_USER": user, "RCLONE_PASS": password.reveal()}
        process = _Process(argv, env)
        try:
            port = process.port(READY)
            if port is None:
                raise _failed(access, process.said())
            self._probe(access, process, port, f"{user}:{password.reveal()}")
            with relay(port) as server:
                server.remove, server.short = partial(self._remove, access), partial(self._short, access)
                process.follow(server)
                yield Served(LOOPBACK, server.port)
        finally:
            process.end()

    def _probe(self, access: Access, process: _Process, port: int, login: str) -> None:
        """Nobody else is let in, and its storage answers. Raises GatewayError."""
        try:
            stranger = _status(port, {})
            ours = _status(port, {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"})
        except (OSError, http.client.HTTPException) as error:
            raise _failed(access, process.said() or printable(str(error))) from None
        if stranger != 401:
            raise GatewayError(f"the gateway lets in who names no user (it answers with {stranger}); it was closed")
        if ours != 200:
            raise _failed(access, self._reason(access) or process.said() or f"the gateway answers with {ours}")

    def _remove(self, access: Access, path: str) -> None:
        """Half a file that a gateway has left as it died; where that fails, restic asks again until it gives up."""
        _, kind, name = path.split("/")
        place = f"{root(access).rstrip('/')}/{kind}/{f'{name[:2]}/{name}' if kind == 'data' else name}"
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [_found(self._program), "deletefile", "--retries", "1", "--", place],
                env=environment(access),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=READY,
                check=False,
            )

    def _short(self, access: Access, size: int) -> str:
        """rclone does not say why it could not write: it is looked how much room there is. An object store tells nobody."""
        free = None
        with suppress(OSError, ValueError, subprocess.TimeoutExpired):
            if access.kind == "path":
                space = os.statvfs(access.url)
                free = space.f_bavail * space.f_frsize
            elif access.kind == "sftp":
                free = self._free(access)
        short = free is not None and free < size
        return f"no room is left where the repository {access.repository} is kept" if short else ""

    def _free(self, access: Access) -> int | None:
        """Bytes that an SFTP server says are free there; None where it does not. Raises OSError, ValueError, TimeoutExpired."""
        argv = [_found(self._program), "about", "--json", "--retries", "1", "--", root(access)]
        asked = subprocess.run(
            argv,
            env=environment(access),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=READY,
            check=False,
        )
        told = json.loads(asked.stdout or "{}") if asked.returncode == 0 else {}
        free = told.get("free") if isinstance(told, dict) else None
        return free if isinstance(free, int) else None

    def _reason(self, access: Access) -> str:
        """What the storage says to a question; of a server's answer rclone prints the name of its type only."""
        argv = [_found(self._program), "lsf", "--retries", "1", "--", root(access)]
        try:
            asked = subprocess.run(
                argv,
                env=environment(access),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=READY,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return _words(asked.stderr.splitlines()[-2:]) if asked.returncode else ""


def _status(port: int, headers: dict[str, str]) -> int:
    """Of asking for the list of restic's keys: it is short, and where there is no repository yet it is empty."""
    there = http.client.HTTPConnection(LOOPBACK, port, timeout=READY)
    try:
        there.request("GET", "/keys/", headers={"Accept": _V2, **headers})
        return there.getresponse().status
    finally:
        there.close()


class _Process:
    """It is started by the thread that reads what it says: Linux ends it when that thread does, and not only at the end of
    the process (PR_SET_PDEATHSIG), so that it must not be a thread that others own.

    One that served and has died (out of memory, killed) is started anew, with the same credentials: what is on its way is
    asked for again by restic, of the relay, which stays where it is and is told the new port."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self._argv, self._env = argv, env
        self._lines: deque[str] = deque(maxlen=20)
        self._port: int | None = None
        self._known = threading.Event()
        self._ending = threading.Event()
        self._relay: Relay | None = None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._follow, name="gateway", daemon=True)
        self._thread.start()

    def port(self, seconds: float) -> int | None:
        """None where it ended, or did not say it in time."""
        self._known.wait(seconds)
        return self._port

    def follow(self, relay: Relay) -> None:
        """From now on it is told where rclone is, or why it is nowhere any more."""
        with self._lock:
            self._relay = relay
            if self._port is not None:
                relay.upstream = self._port

    def said(self) -> str:
        """Its last words about what went wrong, fit for a terminal, without secrets."""
        return _words([line for line in self._lines if not _SERVING.search(line)][-3:])

    def end(self) -> None:
        self._ending.set()
        for what in (signal.SIGTERM, signal.SIGKILL):
            process = self._process
            if process is not None and process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, what)
            self._thread.join(GRACE)
            if not self._thread.is_alive():
                return

    def _follow(self) -> None:
        try:
            code = self._serve()
            for turn in range(1, AGAIN + 1):
                # One that never served says why by ending, and would say so again.
                if self._port is None or self._ending.wait(PAUSE * turn):
                    return
                code = self._serve()
            self._give_up(code)
        except OSError as error:
            self._lines.append(f"{error.strerror or error}")
            self._give_up(None)
        finally:
            self._known.set()

    def _serve(self) -> int:
        """Start it, and hear what it says until it ends; returns with what."""
        with subprocess.Popen(
            self._argv,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            start_new_session=True,
        ) as process:
            self._process = process
            if self._ending.is_set():
                process.kill()
            assert process.stderr is not None
            for line in process.stderr:
                self._lines.append(line[:2000])
                if found := _SERVING.search(line):
                    self._serves(int(found[1]))
            # Whoever takes the port next must not be sent the user and the password.
            self._serves(0)
            return process.wait()

    def _serves(self, port: int) -> None:
        """port: 0 where it does not serve any more."""
        with self._lock:
            if port or self._port is not None:
                self._port = port
            if self._relay is not None:
                self._relay.upstream = port
        self._known.set()

    def _give_up(self, code: int | None) -> None:
        ended = f" (killed by signal {-code})" if code is not None and code < 0 else ""
        with self._lock:
            if self._relay is not None and not self._ending.is_set():
                self._relay.over = f"the gateway on the controller has died {AGAIN + 1} times{ended}"


def _found(program: str, package: str = "") -> str:
    path = shutil.which(program)
    if path is None:
        raise GatewayError(
            f"{program} is not installed on the controller, and hosts that can't reach a repository need it",
            hint=f"Install it: apt-get install {package or 'rclone'}",
        )
    return path


_HINTS: tuple[tuple[str, str], ...] = (
    (
        "knownhosts: key mismatch",
        "The server's key is not the pinned one. Pin all of its keys: rclone before 1.64 asks for ecdsa first (ssh-keyscan).",
    ),
    (
        "knownhosts: key is unknown",
        "Pin the server's keys in the file of known_hosts: (ssh-keyscan; compare the fingerprints).",
    ),
    (
        "unable to authenticate",
        "Is the key of key: among the server's authorized_keys, and the user in the address right?",
    ),
    ("InvalidAccessKeyId", "The storage does not know the access key: see write: or maintain:."),
    ("SignatureDoesNotMatch", "The secret of the access key is wrong: see write: or maintain:."),
    ("AccessDenied", "The access key must list, read and write in this bucket; it needs no right to remove."),
    ("permission denied", "Whoever mainstay runs as must be able to read and write there."),
)


def _failed(access: Access, said: str) -> GatewayError:
    hint = next((hint for words, hint in _HINTS if words in said), None)
    return GatewayError(f"the repository {access.repository} can't be served: {said}", hint=hint)


def _words(lines: list[str]) -> str:
    """Lines of rclone's as one, fit for a terminal, without secrets."""
    return printable(" · ".join(dict.fromkeys(_STAMP.sub("", line).strip() for line in lines)), 500)

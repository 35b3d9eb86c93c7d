"""Shells over SSH."""

from __future__ import annotations

import hashlib
import io
import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fabric
import paramiko

from mainstay.inventory.host import Host
from mainstay.runner.shell import scripts
from mainstay.runner.shell.adapters.connect import connect, hang_up, load_key, offered, unknown_key
from mainstay.runner.shell.adapters.exchange import Exchange, Late, watched
from mainstay.runner.shell.adapters.forward import Forward
from mainstay.runner.shell.contract import (
    STATE_DIR,
    Command,
    ContactLost,
    DeadlineExceeded,
    Fence,
    FileMissing,
    Job,
    JobState,
    Output,
    ShellError,
    SudoRefused,
    Unreachable,
)
from mainstay.runner.shell.jobs import check_name, parse_poll, runner
from mainstay.runner.shell.pins import HostKey, Pins
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.quote import quote, with_env
from mainstay.runner.shell.refusals import refusal
from mainstay.runner.shell.streams import Framed, Kept

GUARD_WAIT = 30
"""Seconds that a fenced command waits on the host for a change of the lock that is under way."""
POLL_DEADLINE = 30.0
"""Seconds for a look at a job, which is small work: one that takes longer is no contact, and a new connection is tried."""
STALL = 60.0
"""Seconds without a byte after which a file transfer counts as broken."""
_LONGEST = 120_000
"""Bytes; Linux takes 128 KiB for one argument, and sshd hands the whole command line over as one."""


class Revealable(Protocol):
    def reveal(self) -> str: ...


class FabricShells:
    """Opens shells with fabric. Keys and jump hosts are shared; safe for many threads.

    lookup: finds a jump host by its name (raises MainstayError for one that is not there). root: the site's folder, to
    which key files are relative. resolve_secret: a reference's plain text, or a secret that reveals it.
    """

    def __init__(
        self,
        lookup: Callable[[str], Host],
        known_hosts: Path,
        resolve_secret: Callable[[str], str | Revealable],
        *,
        root: Path = Path(),
        state_dir: str = STATE_DIR,
    ) -> None:
        self.pins = Pins(known_hosts)
        self.state_dir = state_dir
        self._lookup = lookup
        self._resolve = resolve_secret
        self._root = root
        self._lock = threading.Lock()
        self._keys: dict[tuple[str, str | None], paramiko.PKey] = {}
        self._jumps: dict[tuple[str, str], tuple[threading.Lock, list[fabric.Connection]]] = {}

    def open(self, host: Host, *, write: bool = True) -> FabricShell:
        return FabricShell(self, host, write=write)

    def scan(self, host: Host) -> tuple[HostKey, ...]:
        """The keys that the host offers now, without logging in (a jump host is logged in to, its key pinned)."""
        return offered(host, self._gateway(host, write=False, behind=()))

    def close(self) -> None:
        with self._lock:
            jumps, self._jumps = self._jumps, {}
        for _, connections in jumps.values():
            for connection in connections:
                hang_up(connection.transport)

    def connect(self, host: Host, *, write: bool, behind: tuple[str, ...] = ()) -> fabric.Connection:
        """A new connection, through its jump hosts. Raises Unreachable, HostKeyRefused, ShellError."""
        if host.name in behind:
            raise ShellError(host.name, f"is its own jump host: {' → '.join((*behind, host.name))}")
        pinned = self.pins.keys(host)
        if not pinned:
            raise unknown_key(host)
        key = self._key(host)
        gateway = self._gateway(host, write=write, behind=behind)
        return connect(host, self.user(host, write=write), pinned, key, gateway)

    def user(self, host: Host, *, write: bool) -> str:
        return host.ssh.user if write else host.ssh.read_user or host.ssh.user

    def plain(self, reference: str) -> str:
        """A secret's text."""
        secret = self._resolve(reference)
        return secret if isinstance(secret, str) else secret.reveal()

    def _gateway(self, host: Host, *, write: bool, behind: tuple[str, ...]) -> fabric.Connection | None:
        if host.ssh.jump is None:
            return None
        jump = self._lookup(host.ssh.jump)
        with self._lock:
            lock, connections = self._jumps.setdefault(
                (jump.name, self.user(jump, write=write)), (threading.Lock(), [])
            )
        with lock:
            if connections and connections[0].is_connected:
                return connections[0]
            connections.clear()
            try:
                connections.append(self.connect(jump, write=write, behind=(*behind, host.name)))
            except Unreachable as error:
                raise type(error)(host.name, f"its jump host {error}", hint=error.hint) from error
            return connections[0]

    def _key(self, host: Host) -> paramiko.PKey:
        reference, passphrase = host.ssh.key, host.ssh.passphrase
        if reference is None:
            raise ShellError(
                host.name,
                "no SSH key is set for it; agents and ~/.ssh are not looked at",
                hint="Set ssh: {key: file:~/.ssh/id_ed25519} in mainstay.yml.",
            )
        with self._lock:
            if (reference, passphrase) not in self._keys:
                plain = self.plain(passphrase) if passphrase is not None else None
                self._keys[reference, passphrase] = load_key(host, reference, self._root, plain)
            return self._keys[reference, passphrase]


class FabricShell:
    """One host over SSH. Connects when first used, and again when the connection broke."""

    def __init__(self, shells: FabricShells, host: Host, *, write: bool) -> None:
        self._shells = shells
        self._host = host
        self._write = write
        self._connection: fabric.Connection | None = None
        self._root_login = shells.user(host, write=write) == "root"

    @property
    def host(self) -> Host:
        return self._host

    def close(self) -> None:
        if self._connection is not None:
            hang_up(self._connection.transport)
            self._connection = None

    def run(self, command: Command) -> Output:
        out, err = Kept(command.limit), Kept(command.limit)
        started = time.monotonic()
        status = self._execute(command, io.BytesIO(command.stdin) if command.stdin else None, out, err)
        return Output(status, out.value(), err.value(), time.monotonic() - started, out.dropped + err.dropped)

    def put(self, source: bytes | Path, path: str, *, fence: Fence, mode: int = 0o600) -> None:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            size = len(source) if isinstance(source, bytes) else os.fstat(file.fileno()).st_size
            argv = ("sh", "-c", scripts.PUT, "mainstay", path, f"{mode:o}", str(size))
            # On the host it may take as long as 50 kB/s need, then the guard is given back.
            command = Command(argv, sudo=True, fence=fence, deadline=STALL + size / 50_000)
            status, _, err = self._captured(command, file, stall=STALL)
        if status != 0:
            raise ShellError(self._host.name, f"{path} could not be written: {printable(err) or status}")

    def get(self, path: str, into: BinaryIO, *, sudo: bool = False, limit: int = 1 << 31) -> str:
        digest, size, err = hashlib.sha256(), 0, Kept(4096)

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > limit:
                raise ShellError(self._host.name, f"{path} is larger than {limit} bytes")
            digest.update(data)
            into.write(data)

        command = Command(("sh", "-c", scripts.GET, "mainstay", path), sudo=sudo, deadline=math.inf)
        status = self._execute(command, None, take, err, stall=STALL)
        if status == 66:
            raise FileMissing(self._host.name, f"there is no file {path}")
        if status != 0:
            raise ShellError(self._host.name, f"{path} could not be read: {printable(err.value()) or status}")
        return digest.hexdigest()

    def launch(self, job: Job, fence: Fence) -> None:
        check_name(job.name)
        start = runner(job, f"{self._shells.state_dir}/jobs/{job.name}").encode()
        argv = ("sh", "-c", scripts.LAUNCH, "mainstay", self._shells.state_dir, job.name, str(len(start)))
        command = Command(argv, sudo=True, fence=fence, deadline=60)
        status, _, err = self._captured(command, io.BytesIO(start + job.script.encode()))
        if status != 0:
            raise ShellError(self._host.name, f"the job {job.name} could not be started: {printable(err) or status}")

    def poll(self, name: str, offset: int = 0, *, patience: float = 0.0) -> JobState:
        check_name(name)
        argv = (
            "sh",
            "-c",
            scripts.POLL,
            "mainstay",
            self._shells.state_dir,
            name,
            str(offset),
            str(scripts.POLL_CHUNK),
            str(scripts.JOB_CAP),
            f"{patience:.1f}",
        )
        try:
            output = self.run(Command(argv, sudo=True, deadline=POLL_DEADLINE + patience))
        except DeadlineExceeded:
            self.close()
            raise
        try:
            return parse_poll(output.stdout, offset)
        except ValueError:
            said = printable(output.stderr) or printable(output.stdout) or str(output.status)
            raise ShellError(self._host.name, f"the job {name} could not be asked: {said}") from None

    def forward(self, local: tuple[str, int], port: int = 0) -> AbstractContextManager[int]:
        return Forward(self._host, lambda: self._shells.connect(self._host, write=self._write), local, port)

    def _captured(self, command: Command, stdin: BinaryIO, stall: float | None = None) -> tuple[int, bytes, bytes]:
        out, err = Kept(65536), Kept(65536)
        status = self._execute(command, stdin, out, err, stall=stall)
        return status, out.value(), err.value()

    def _execute(
        self,
        command: Command,
        stdin: BinaryIO | None,
        out: Callable[[bytes], None],
        err: Callable[[bytes], None],
        *,
        stall: float | None = None,
    ) -> int:
        name = self._host.name
        token, prompt = secrets.token_hex(16), secrets.token_hex(16)
        line, sudo = self._line(command, token, prompt)
        password = self._password() if sudo else None
        framed_out, framed_err = Framed(token.encode(), out), Framed(token.encode(), err)
        deadline = time.monotonic() + (stall or command.deadline)
        channel = self._channel(command.deadline)
        asked = 0

        def answer() -> bytes:
            # sudo's prompt is a token of ours: the password is sent when it is asked for, once, and to nothing else.
            nonlocal asked
            if password is None or framed_out.line is not None:
                return b""
            prompts = framed_err.noise.count(prompt.encode())
            if prompts > 1:
                raise SudoRefused(name, "sudo did not take the password; it was tried once")
            if prompts <= asked:  # fewer, where so much came since then that the first one is not kept any more
                return b""
            asked = prompts
            return password.encode() + b"\n"

        exchange = Exchange(
            channel,
            out=framed_out,
            err=framed_err,
            stdin=stdin,
            ready=lambda: password is None or framed_out.line is not None,
            watch=answer,
            deadline=deadline,
            stall=stall,
        )
        late = DeadlineExceeded(
            name,
            f"{quote(command.argv[:1])} did not end within {stall or command.deadline:g} s; it may still be running",
        )
        transport = channel.transport
        try:
            with watched(exchange, lambda: hang_up(transport)) if stdin is not None else nullcontext():
                exchange.start(line)
                status = exchange.run()
        except Late:
            raise late from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            said = printable(str(error)) or type(error).__name__
            raise ContactLost(name, f"the connection broke: {said}") from error
        finally:
            with suppress(OSError, EOFError, paramiko.SSHException):
                channel.close()
        if status is None and exchange.overdue():
            raise late
        return self._judged(status, framed_out, framed_err, sudo)

    def _judged(self, status: int | None, out: Framed, err: Framed, sudo: bool) -> int:
        name = self._host.name
        line = out.line
        if line is not None and line.startswith(b"refused"):
            raise refusal(name, line.decode("utf-8", "replace").split("\t")[1:])
        if status is None:
            if self._connection is None or not self._connection.is_connected:
                raise ContactLost(name, "the connection broke before the command ended")
            raise ContactLost(name, "the command ended without a status; it was killed")
        if line is None:
            said = printable(bytes(err.noise)) or printable(bytes(out.noise)) or f"status {status}"
            if sudo:
                user = self._shells.user(self._host, write=self._write)
                raise SudoRefused(
                    name,
                    f"sudo refused {user}: {said}",
                    hint="mainstay init --sudoers prints the rule that is needed; ssh: become: password: names a password.",
                )
            raise ShellError(name, f"the login's shell did not run the command: {said}")
        return status

    def _line(self, command: Command, token: str, prompt: str) -> tuple[str, bool]:
        """The command line for the login's shell, and whether it goes through sudo."""
        changes = command.fence is not None
        sudo = command.sudo or command.user is not None or changes
        if sudo and not self._write:
            raise SudoRefused(self._host.name, "this connection was opened for reading; it never uses sudo")
        env = {"LC_ALL": "C", **command.env}
        if self._shells.state_dir != STATE_DIR:
            env["MAINSTAY_STATE_DIR"] = self._shells.state_dir
        words = with_env(env, command.argv)
        login = self._shells.user(self._host, write=self._write)
        # The guard is root's, so a fenced command that asks for no rights is brought back to its own login.
        user = command.user or ("root" if command.sudo or not sudo else login)
        user = "" if user == "root" else user
        if command.fence is not None:
            fence = command.fence
            head = [
                self._shells.state_dir,
                GUARD_WAIT,
                fence.number,
                fence.state,
                fence.run,
                math.ceil(command.deadline) + 5,
            ]
            script = ["sh", "-c", scripts.FENCED, "mainstay", token, *map(str, head), user]
        else:
            script = ["sh", "-c", scripts.PLAIN, "mainstay", token, user]
        through = sudo and not self._root_login
        if through:
            method = self._host.ssh.become.method
            if method != "sudo":
                raise SudoRefused(
                    self._host.name, f'root\'s rights by "{method}" are not known here', hint="Known: sudo."
                )
            asking = ["-n"] if self._host.ssh.become.password is None else ["-S", "-k", "-p", prompt]
            script = ["env", "LC_ALL=C", "sudo", *asking, "--", *script]
        line = quote([*script, *words])
        if len(line.encode()) > _LONGEST:
            raise ShellError(self._host.name, f"the command is too long for one line: {len(line)} characters")
        return line, through

    def _password(self) -> str | None:
        reference = self._host.ssh.become.password
        return None if reference is None else self._shells.plain(reference)

    def _channel(self, deadline: float) -> Any:
        """A session on the open connection; on a new one where it broke. Raises Unreachable: nothing was sent."""
        wait = min(deadline, self._host.ssh.connect_timeout)
        fresh = False
        while True:
            if self._connection is None or not self._connection.is_connected:
                self.close()
                self._connection = self._shells.connect(self._host, write=self._write)
                fresh = True
            try:
                return self._connection.transport.open_session(timeout=wait)
            except (OSError, EOFError, paramiko.SSHException) as error:
                self.close()
                if fresh:
                    said = printable(str(error)) or type(error).__name__
                    raise Unreachable(self._host.name, f"no session on the connection: {said}") from error

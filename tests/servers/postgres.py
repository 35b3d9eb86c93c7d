"""A PostgreSQL server of the tests' own: on loopback, in a temporary folder, with nobody else's data in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.ports import free_port

USER = "postgres"
"""Both the system's user (the server refuses to run as root) and the superuser in it."""


def programs() -> Path:
    """The folder of initdb and pg_ctl. Raises FileNotFoundError, which says what to install."""
    for folder in sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True
    ):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError("no PostgreSQL server here: install the package postgresql")
    return Path(found).resolve().parent


class Postgres:
    """One server. Passwords are asked for over TCP: `mainstay`, `owner` and `postgres` all have `PASSWORD`."""

    PASSWORD = "pg-canary-5a1f"  # searched for in what mainstay writes

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self._made = 0

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = [str(programs() / program), *arguments]
        if os.geteuid() == 0:
            argv = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *argv]
        # pg_ctl's server keeps its output open: a pipe would never end.
        with (self.folder / "control.log").open("a+") as log:
            mark = log.tell()
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False)
            log.seek(mark)
            said = log.read()
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} failed: {said}")
        return subprocess.CompletedProcess(argv, done.returncode, said)

    def make(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)
        secret = self.folder / "password"
        secret.write_text(self.PASSWORD)
        secret.chmod(0o644)
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", str(secret)]
        self._run("initdb", "-D", str(self.data), "-U", USER, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", *auth)
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.folder}'",
            "max_connections": 200,
            "fsync": "off",  # the machine does not go down in these tests, the server does
            "shared_buffers": "'32MB'",
        }
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.start()
        for role in ("owner", "mainstay"):
            self.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{self.PASSWORD}'")

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "server.log"), "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """mode: fast, or immediate (as after a crash)."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", mode, "stop")

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def close(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-m", "immediate", "stop", check=False)

    def execute(self, sql: str, *values: Any, database: str = USER) -> list[tuple[Any, ...]]:
        """As superuser, in a transaction of its own; the rows, if it gives any."""
        with psycopg.connect(host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True) as one:
            cursor = one.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """A new, empty database, owned by role `mainstay`. Returns its name."""
        name = f"test{os.getpid()}_{self.made()}"
        self.execute(f"CREATE DATABASE {name} OWNER mainstay")
        return name

    def made(self) -> int:
        """Another number each time."""
        self._made += 1
        return self._made

    def url(self, database: str, user: str = "mainstay") -> str:
        """`postgresql://mainstay@127.0.0.1:PORT/NAME`: as in a site's `state:`, without the password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="mainstay-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder))
        try:
            server.make()
            yield server
        finally:
            server.close()

"""PostgreSQL: a throw-away cluster on a unix socket, into which a dump is restored by a role without rights.

What a host has dumped is hostile: a superuser's COPY … FROM PROGRAM, or a meta-command of psql, would run here. So the role that
restores is no superuser, psql reads no dump, and extensions are made from this machine's own files.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mainstay.recovery.proving.asserting import QUERY_SECONDS
from mainstay.recovery.proving.attempt import Attempt, NotProved, Untried, against
from mainstay.recovery.proving.processes import KEPT, Ended, User, end, run, start
from mainstay.recovery.proving.waiting import until
from mainstay.runner.shell.printable import printable

OWNER = "mainstay_drill"
SUPERUSER = "mainstay_super"
"""A name that no dump of roles makes once more."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "logging_collector": "off",
    "log_destination": "stderr",
    "archive_mode": "off",
    "shared_preload_libraries": "",
    # In its own folder, which is found and removed also after it was killed; by default /dev/shm, where it would stay.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
}
FOLDERS = ("/usr/lib/postgresql", "/usr/local/lib/postgresql")


def installed() -> dict[int, Path]:
    """major version → folder with initdb and postgres."""
    folders = [bin for top in FOLDERS for bin in Path(top).glob("*/bin")]
    folders += [Path(f"/{top}") for top in ("usr/local/pgsql/bin",)] + list(Path("/usr").glob("pgsql-*/bin"))
    if initdb := shutil.which("initdb"):
        folders.append(Path(initdb).resolve().parent)
    found: dict[int, Path] = {}
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            named = re.search(r"(?:postgresql/|pgsql-)(\d+)", str(folder))
            if named:
                found.setdefault(int(named[1]), folder)
    return found


@dataclass(slots=True)
class Cluster:
    """One server. bin: its programs. place: its folder, the user's alone. socket: the folder of its socket."""

    attempt: Attempt
    bin: Path
    user: User
    place: Path
    socket: Path
    superuser: str = SUPERUSER

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def log(self) -> Path:
        return self.attempt.place.folder / "server.log"

    def logged(self) -> bytes:
        """The last that the server has said: a dump can make it say a lot."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - KEPT))
            return file.read(KEPT)

    @classmethod
    def at(cls, attempt: Attempt, bin: Path, user: User | None = None) -> Cluster:
        """user: who runs it; None: postgres, or mainstay itself where it is not root."""
        user = user or User.of("postgres", machine=attempt.machine)
        place = attempt.place.elsewhere(user.uid, user.gid)
        return cls(attempt, bin, user, place, attempt.place.elsewhere(user.uid, user.gid, short=True))

    def make(self) -> None:
        words = [
            "-D",
            str(self.data),
            "-U",
            self.superuser,
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-A",
            "trust",
        ]
        made = self.run("initdb", *words)
        if made.status:
            raise Untried(f"initdb failed: {said(made)}")

    @contextmanager
    def running(self, settings: Mapping[str, str] | None = None, config: Sequence[str] = ()) -> Iterator[None]:
        """Until it answers; raises NotProved where it ends before that. settings: beside SETTINGS."""
        given = {**SETTINGS, "unix_socket_directories": str(self.socket), **(settings or {})}
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as out:
            argv = [str(self.bin / "postgres"), "-D", str(self.data), *config, *words]
            server = start(argv, self.place, self.user, out=out, errors=out)

        def answers() -> bool:
            if not self._asked("template1", "SELECT 1", self.superuser).status:
                return True
            if server.poll() is not None:
                words = printable(self.logged())
                raise against(f"the server ended: {words}", words, self.attempt.machine)
            return False

        try:
            until(answers, self.attempt.watched)
            yield
        finally:
            end(server, signal.SIGQUIT)

    def run(self, program: str, *words: str, stdin: Path | None = None, seconds: float | None = None) -> Ended:
        left = self.attempt.left()
        limit = left if seconds is None else min(left, seconds)
        argv = [str(self.bin / program), *words]
        if stdin is None:
            return run(argv, self.place, self.user, limit, watch=self.attempt.watch)
        with stdin.open("rb") as file:
            return run(argv, self.place, self.user, limit, stdin=file, watch=self.attempt.watch)

    def execute(self, database: str, sql: str) -> None:
        """As superuser; only what is ours."""
        done = self._asked(database, sql, self.superuser)
        if done.status:
            raise Untried(f"the throw-away cluster could not be prepared: {said(done)}")

    def ask(self, database: str, query: str, role: str = OWNER) -> str | None:
        """The first column of the first row; None for NULL and no row. Reads only. Raises NotProved."""
        done = self._asked(database, query, role, reads=True)
        if done.status:
            raise NotProved(f"`{query}` could not be asked of {database}: {said(done)}")
        for row in csv.reader(io.StringIO(done.stdout.decode("utf-8", "replace"))):
            return None if row == ["\x01"] or not row else row[0]
        return None

    def _asked(self, database: str, sql: str, role: str, *, reads: bool = False) -> Ended:
        argv = [str(self.bin / "psql"), "-X", "-q", "-t", "--csv", "-P", "null=\x01", "-v", "ON_ERROR_STOP=1"]
        argv += ["-h", str(self.socket), "-U", role, "-d", _conninfo(database), "-c", sql]
        options = (
            f"-c default_transaction_read_only=on -c statement_timeout={QUERY_SECONDS * 1000:.0f}" if reads else ""
        )
        limit = min(self.attempt.left(), QUERY_SECONDS + 10)
        env = {"PGOPTIONS": options, "PGTZ": "UTC"}
        return run(argv, self.place, self.user, limit, env=env, watch=self.attempt.watch)


def _conninfo(database: str) -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def said(done: Ended) -> str:
    return printable(done.stderr) or f"exit status {done.status}"

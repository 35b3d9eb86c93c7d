"""MariaDB and MySQL: a throw-away MariaDB on a unix socket, into which a dump is read by an account of that database alone."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mainstay.recovery.proving import asserting
from mainstay.recovery.proving.asserting import QUERY_SECONDS
from mainstay.recovery.proving.attempt import Attempt, Brought, NotProved, Tried, Untried, against
from mainstay.recovery.proving.pgdump import room
from mainstay.recovery.proving.processes import Ended, User, end, run, start
from mainstay.recovery.proving.waiting import until
from mainstay.recovery.words import counted, sized
from mainstay.runner.shell.printable import printable
from mainstay.runner.verdict import Verdict

END = b"-- Dump completed"
OWNER = "mainstay_drill"
SYSTEM = "mysql"
"""The server's own tables, which can't be restored into another server as they are: they go into a database of another name."""
_SMALL = ("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0")
_TABLE = re.compile(rb"^CREATE TABLE ", re.MULTILINE)


def prove_mysql(attempt: Attempt) -> Tried:
    brought = attempt.dump()
    with brought.path.open("rb") as file:
        file.seek(max(0, brought.size - 4096))
        if END not in file.read():
            raise NotProved("the dump has no end: it was cut off")
    room(attempt, brought)
    attempt.phase("recover")
    server = Server.at(attempt)
    server.make()
    database = attempt.item or "restored"
    database = f"restored_{database}" if database == SYSTEM else database
    with server.running():
        server.prepare(database)
        server.read(database, brought)
        attempt.phase("verify")
        tables = _count(server, database, brought)
        for one in attempt.checks:
            if why := asserting.judge(one, server.ask(database, one.query), attempt.at, attempt.made_at):
                raise NotProved(why)
    asked = f", {counted(len(attempt.checks), 'assertion')} held" if attempt.checks else ""
    return Tried(
        Verdict.SUCCEEDED, scope=f"{counted(tables, 'table')}, {sized(brought.size)}{asked}", bytes=brought.size
    )


def _program(machine: str, *names: str) -> str:
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path="/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec"):
            return found
    raise Untried(f"{machine} has no {names[0]}: install the packages mariadb-server-core and mariadb-client")


@dataclass(slots=True)
class Server:
    attempt: Attempt
    user: User
    place: Path
    socket: Path
    client: str
    daemon: str

    @classmethod
    def at(cls, attempt: Attempt) -> Server:
        client, daemon = _program(attempt.machine, "mariadb"), _program(attempt.machine, "mariadbd", "mysqld")
        user = User.of("mysql", machine=attempt.machine)
        place = attempt.place.elsewhere(user.uid, user.gid)
        return cls(attempt, user, place, attempt.place.elsewhere(user.uid, user.gid, short=True) / "s", client, daemon)

    def make(self) -> None:
        own = [
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            f"--user={self.user.name}",
        ]
        program = _program(self.attempt.machine, "mariadb-install-db")
        argv = [program, "--no-defaults", f"--datadir={self.place}/data", *own, *_SMALL]
        done = run(argv, self.place, self.user, self.attempt.left(), watch=self.attempt.watch)
        if done.status:
            raise Untried(f"mariadb-install-db failed: {printable(done.stderr or done.stdout)}")
        if b"--sandbox" not in run([self.client, "--no-defaults", "--help"], self.place, self.user, 60.0).stdout:
            # Its client runs what a dump says after \!, unless it is told not to.
            whose = f"{self.attempt.machine}'s mariadb"
            raise Untried(f"{whose} has no --sandbox: a dump could run commands there (10.5.25 or newer has it)")

    @contextmanager
    def running(self) -> Iterator[None]:
        argv = [self.daemon, "--no-defaults", f"--user={self.user.name}", f"--datadir={self.place}/data"]
        argv += [f"--socket={self.socket}", f"--pid-file={self.place}/pid", f"--tmpdir={self.place}"]
        argv += ["--skip-networking", "--skip-log-bin", "--local-infile=0", f"--secure-file-priv={self.place}/data"]
        argv += ["--event-scheduler=OFF", "--default-time-zone=+00:00", "--max-allowed-packet=1G", *_SMALL]
        log = self.attempt.place.folder / "server.log"
        with log.open("ab") as out:
            server = start(argv, self.place, self.user, out=out, errors=out)

        def answers() -> bool:
            if not self._asked("", "SELECT 1", "root").status:
                return True
            if server.poll() is not None:
                raise Untried(f"MariaDB ended: {printable(log.read_bytes())}")
            return False

        try:
            until(answers, self.attempt.watched)
            yield
        finally:
            end(server, signal.SIGKILL)

    def prepare(self, database: str) -> None:
        quoted = "`" + database.replace("`", "``") + "`"
        account = f"{OWNER}@localhost"
        grants = [f"CREATE DATABASE {quoted}", f"CREATE USER {account}", f"GRANT ALL ON {quoted}.* TO {account}"]
        # Views, triggers and routines come with the names of those who made them there.
        grants.append(f"GRANT SET USER ON *.* TO {account}")
        done = self._asked("", "; ".join(grants), "root")
        if done.status:
            raise Untried(f"the throw-away server could not be prepared: {printable(done.stderr)}")

    def read(self, database: str, dump: Brought) -> None:
        argv = [*self._client(OWNER), "--sandbox", "--binary-mode", "--max-allowed-packet=1G", f"--database={database}"]
        with dump.path.open("rb") as file:
            done = run(argv, self.place, self.user, self.attempt.left(), stdin=file, watch=self.attempt.watch)
        if done.status:
            words = printable(done.stderr) or str(done.status)
            raise against(f"the dump could not be read: {words}", words, self.attempt.machine)

    def ask(self, database: str, query: str, account: str = OWNER) -> str | None:
        """The first column of the first row; None for NULL and no row. Raises NotProved."""
        done = self._asked(database, query, account, reads=True)
        if done.status:
            raise NotProved(f"`{query}` could not be asked of {database}: {printable(done.stderr)}")
        row = done.stdout.decode("utf-8", "replace").split("\n", 1)[0].split("\t")[0]
        return None if not done.stdout or row == "NULL" else row

    def _asked(self, database: str, sql: str, account: str, *, reads: bool = False) -> Ended:
        first = f"SET SESSION max_statement_time = {QUERY_SECONDS:.0f}; SET SESSION TRANSACTION READ ONLY"
        argv = [*self._client(account), "--batch", "--skip-column-names"]
        argv += [f"--init-command={first}"] if reads else []
        argv += [f"--database={database}"] if database else []
        limit = min(self.attempt.left(), QUERY_SECONDS + 10)
        return run([*argv, f"--execute={sql}"], self.place, self.user, limit, watch=self.attempt.watch)

    def _client(self, account: str) -> list[str]:
        return [
            self.client,
            "--no-defaults",
            f"--socket={self.socket}",
            f"--user={account}",
            "--default-character-set=utf8mb4",
        ]


def _count(server: Server, database: str, dump: Brought) -> int:
    """How many tables are there. Raises NotProved where the dump makes more."""
    literal = "'" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"
    where = f"table_schema = {literal} AND table_type = 'BASE TABLE'"
    asked = f"SELECT count(*) FROM information_schema.tables WHERE {where}"  # noqa: S608 - quoted
    there = int(server.ask(database, asked) or 0)
    with dump.path.open("rb") as file:
        wanted = sum(1 for line in file if _TABLE.match(line[:20]))
    if there < wanted:
        raise NotProved(f"{counted(there, 'table')} were restored, and the dump makes {wanted}")
    return there

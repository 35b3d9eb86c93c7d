"""A MariaDB server of the tests' own: on a unix socket, in a temporary folder, with nobody else's data in it.

Of Debian's packages mariadb-server-core and mariadb-client: they start nothing on the machine and add no user to it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fleet.system import run, wait_until

SMALL = ("--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0")


def program(name: str) -> str:
    """Where it is. Raises FileNotFoundError, which says what to install."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise FileNotFoundError(f"no {name} here: install the packages mariadb-server-core and mariadb-client")
    return found


class MariaDB:
    """One server. folder: everything of it. socket: `root` gets in there without a password, `mainstay` with PASSWORD."""

    PASSWORD = "mdb-canary-93ce"  # searched for in what mainstay writes

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.socket = folder / "s"
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        own = [
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            f"--user={self._user}",
        ]
        run([program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", *own, self._place(), *SMALL])
        self.start()
        self.execute(
            f"CREATE USER mainstay@localhost IDENTIFIED BY '{self.PASSWORD}'; GRANT ALL ON *.* TO mainstay@localhost"
        )

    def start(self) -> None:
        argv = [program("mariadbd"), "--no-defaults", f"--user={self._user}", f"--datadir={self.data}", self._place()]
        argv += [
            f"--socket={self.socket}",
            f"--pid-file={self.folder}/pid",
            "--skip-networking",
            "--skip-log-bin",
            *SMALL,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, "MariaDB answers", deadline=60)

    def _place(self) -> str:
        """A server that starts removes every `#sql*` where it keeps temporary tables: in /tmp also those of another at work."""
        return f"--tmpdir={self.folder}"

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"MariaDB ended: {(self.folder / 'log').read_text(errors='replace')[-3000:]}")
        argv = [program("mariadb-admin"), "--no-defaults", f"--socket={self.socket}", "--user=root", "ping"]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def execute(self, sql: str, database: str = "", user: str = "root") -> list[list[str]]:
        """Without a password; the rows of the last statement, as text."""
        argv = [
            program("mariadb"),
            "--no-defaults",
            f"--socket={self.socket}",
            f"--user={user}",
            "--batch",
            "--skip-column-names",
        ]
        said = run([*argv, "--execute", sql, *([database] if database else [])])
        return [line.split("\t") for line in said.splitlines()]


@contextmanager
def running() -> Iterator[MariaDB]:
    with tempfile.TemporaryDirectory(prefix="mainstay-mdb-", ignore_cleanup_errors=True) as folder:
        server = MariaDB(Path(folder))
        try:
            server.make()
            yield server
        finally:
            server.stop()

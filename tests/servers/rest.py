"""REST servers for restic of the tests' own, on loopback: rclone, with a user and a password."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.system import wait_until
from tests.servers.restic import rclone

SERVING = re.compile(r"Serving restic REST API on \[?http://127\.0\.0\.1:(\d+)/")


@dataclass(frozen=True)
class Rest:
    """url: `rest:http://127.0.0.1:PORT/`, of the folder's root; repositories may lie below it. secret: searched for in what
    mainstay writes."""

    folder: Path
    port: int
    user: str
    secret: str

    @property
    def url(self) -> str:
        return f"rest:http://127.0.0.1:{self.port}/"

    @property
    def env(self) -> dict[str, str]:
        """What restic itself reads."""
        return {"RESTIC_REST_USERNAME": self.user, "RESTIC_REST_PASSWORD": self.secret}


@contextmanager
def rest(folder: Path, log: Path, *, append_only: bool = True) -> Iterator[Rest]:
    """Serves `folder`. append_only: what is there can't be removed through it, locks excepted."""
    server = Rest(folder, 0, "writer", "rest-canary-20b8")
    own = {"RCLONE_USER": server.user, "RCLONE_PASS": server.secret, "RCLONE_CONFIG": "/dev/null"}
    argv = [
        str(rclone()),
        "serve",
        "restic",
        "--addr",
        "127.0.0.1:0",
        *(["--append-only"] if append_only else []),
        str(folder),
    ]
    before = log.stat().st_size if log.exists() else 0  # of a server that was there before, on another port
    with log.open("ab") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env={**os.environ, **own})

    def port() -> int:
        if process.poll() is not None:
            raise RuntimeError(f"rclone ended: {log.read_text(errors='replace')[-3000:]}")
        found = SERVING.search(log.read_bytes()[before:].decode("utf-8", "replace"))
        return int(found[1]) if found else 0

    try:
        wait_until(lambda: port() != 0, "rclone serves", deadline=60)
        yield Rest(folder, port(), server.user, server.secret)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

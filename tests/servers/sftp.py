"""SFTP servers of the tests' own: a real sshd on loopback, with keys made for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.sshd import Sshd, sshd


@dataclass(frozen=True)
class Sftp:
    """url: `sftp://root@127.0.0.1:PORT/` + an absolute path. key logs in; known_hosts pins the server's key."""

    server: Sshd
    key: Path
    known_hosts: Path

    def url(self, folder: Path) -> str:
        return f"sftp://root@127.0.0.1:{self.server.port}/{folder}"


@contextmanager
def sftp(folder: Path) -> Iterator[Sftp]:
    """folder: an empty one for its keys and its log."""
    with sshd(folder, more="Subsystem sftp internal-sftp\n") as server:
        pinned = folder / "known_hosts"
        kind, key = (folder / "host_key.pub").read_text().split()[:2]
        pinned.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
        yield Sftp(server, server.key, pinned)

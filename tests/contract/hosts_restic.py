"""restic as a host runs it, at what the controller serves."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.servers.restic import restic

from mainstay.inventory.secrets import Secret

PASSWORD = Secret("gate-canary-61ff")
"""Of the gateway, for the user run-1."""
KEY = "restic-canary-0b1d"
"""Of the repository."""


class HostsRestic:
    """restic as a host runs it."""

    def __init__(self, port: int, folder: Path) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RESTIC_CACHE_DIR": str(folder / "cache"),
            "RESTIC_REPOSITORY": f"rest:http://127.0.0.1:{port}/",
            "RESTIC_PASSWORD": KEY,
            "RESTIC_REST_USERNAME": "run-1",
            "RESTIC_REST_PASSWORD": PASSWORD.reveal(),
        }

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(restic()), *words]
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=240, check=False)

    def good(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ids(self) -> set[str]:
        return {one["id"] for one in json.loads(self.good("snapshots", "--json"))}

"""Which version of the site this is, as far as git knows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

DEADLINE = 10.0
INHERITED = ("PATH", "HOME", "XDG_CONFIG_HOME", "USER", "TMPDIR")
"""What git sees of mainstay's own environment: nothing that may hold a secret by reference."""


def stamp(root: Path) -> tuple[str | None, bool | None]:
    """(commit, whether the site's folder differs from it). (None, None) without git, outside a repository, or in a
    repository without a commit."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, None
    changed = _git(root, "status", "--porcelain", "--", ".")
    return commit.strip(), None if changed is None else bool(changed.strip())


def _git(root: Path, *argv: str) -> str | None:
    # fsmonitor is a command that a repository's own configuration may name: reading a site runs nothing of it
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), *argv]
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment = {**inherited, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None

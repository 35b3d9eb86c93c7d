"""What git gets to see of mainstay."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.inventory.stamp import stamp

Write = Callable[..., Path]


def test_git_does_not_get_the_secrets_of_mainstays_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that a repository names would get them too."""
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\nenv >>{tmp_path}/seen\necho 0123\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SUDO_PASSWORD", "hunter2-canary")
    assert stamp(tmp_path) == ("0123", True)
    seen = (tmp_path / "seen").read_text()
    assert "GIT_OPTIONAL_LOCKS=0" in seen and "hunter2" not in seen


def test_the_stamp_says_commit_and_whether_the_site_differs_from_it(write: Write) -> None:
    root = write("hosts: {}")
    assert stamp(root) == (None, None)
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for argv in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *argv], check=True)
    commit, dirty = stamp(root)
    assert commit
    assert len(commit) == 40
    assert dirty is False
    (root / "new.yml").write_text("x")
    assert stamp(root) == (commit, True)
    assert stamp(root / "inventory") == (commit, False)


def test_a_repository_runs_nothing_when_its_stamp_is_read(write: Write) -> None:
    root = write("hosts: {}")
    subprocess.run(["git", "-C", str(root), "init", "-q"], check=True)
    (root / "hook").write_text(f"#!/bin/sh\ntouch {root}/ran\n")
    (root / "hook").chmod(0o755)
    subprocess.run(["git", "-C", str(root), "config", "core.fsmonitor", str(root / "hook")], check=True)
    stamp(root)
    assert not (root / "ran").exists()

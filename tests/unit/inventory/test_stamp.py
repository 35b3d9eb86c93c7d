"""What git gets to see of mainstay."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.inventory.stamp import stamp


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

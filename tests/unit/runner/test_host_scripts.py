"""The scripts that run on hosts are POSIX sh that every sh there can read."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = sorted(path for room in ("inventory", "runner") for path in (ROOT / room).rglob("*.sh"))


@pytest.mark.parametrize("shell", [["dash"], ["bash", "--posix"]], ids=lambda argv: argv[0])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_host_script_can_be_read(script: Path, shell: list[str]) -> None:
    done = subprocess.run([*shell, "-n", str(script)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_they_are_all_looked_at() -> None:
    assert {"probe.sh", "stale.sh", "restart.sh", "updaters.sh"} <= {path.name for path in SCRIPTS}

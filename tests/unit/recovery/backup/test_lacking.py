"""What a host's own tools can do is asked of them before anything is begun."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mainstay.recovery.backup.sending import _LOOK, BACKUP, RESTORE, Seen, lacking

ALL = {*(word.split()[0] for word in (*BACKUP, *RESTORE)), "sh", "uname", "head", "true", "env", "dirname"}


def lacks(folder: Path) -> set[str]:
    """What a machine lacks that has nothing but the tools of this folder."""
    script = _LOOK.replace(":/usr/local/sbin:/usr/sbin:/sbin", "")
    argv = [str(folder / "sh"), "-c", script]
    done = subprocess.run(argv, env={"PATH": str(folder)}, capture_output=True, text=True, check=True)
    return {line.removeprefix("lacks ") for line in done.stdout.splitlines() if line.startswith("lacks ")}


def test_tools_that_are_not_there_or_can_too_little_are_told_with_what_to_install(tmp_path: Path) -> None:
    for tool in ALL:
        found = shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin")
        assert found, tool
        (tmp_path / tool).symlink_to(found)
    assert lacks(tmp_path) == set()
    (tmp_path / "awk").unlink()
    (tmp_path / "runuser").unlink()
    for tool, option in {"stat": "--printf", "grep": "-aqF", "timeout": "-k", "xargs": "-0"}.items():
        (tmp_path / tool).unlink()  # as the small ones of other systems
        (tmp_path / tool).write_text(f'#!/bin/sh\ncase " $* " in *" {option} "*) exit 1;; esac\n')
        (tmp_path / tool).chmod(0o755)
    assert lacks(tmp_path) == {"awk", "runuser", "stat --printf", "grep -a", "timeout", "xargs -0"}


def test_only_what_is_needed_has_to_be_installed() -> None:
    seen = Seen(lacks=("awk", "stat --printf"))
    assert lacking(seen, "a restore", RESTORE) == "a restore needs awk, stat --printf there: install mawk, coreutils"
    assert lacking(seen, "a backup", BACKUP) == ""
    assert lacking(Seen(lacks=("stat -f",)), "a backup", BACKUP) == "a backup needs stat -f there: install coreutils"

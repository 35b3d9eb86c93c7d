"""A backup's job run by this machine's own sh, with a restic that only tells what it was given."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup import handover, output, sources
from mainstay.recovery.backup.change import BackupChange, Program
from mainstay.recovery.backup.script import Pace, job_script
from mainstay.recovery.plan import Source
from mainstay.recovery.repository import Access

CANARY = "canary-3d1c-job"
TOLD = """#!/bin/sh
# What comes in is read; every argument stands in a line of its own, in brackets.
for one in "$@"; do printf '[%s]\\n' "$one"; done
printf 'password %s, address %s\\n' "$(cat "$RESTIC_PASSWORD_FILE")" "$(cat "$RESTIC_REPOSITORY_FILE")" >>"$TOLD"
while [ "$#" -gt 0 ] && [ "$1" != --stdin-from-command ]; do shift; done
[ "$#" = 0 ] || { shift 2; "$@" || exit 1; }
"""


class Jobs:
    """path: what stands on PATH before everything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir()
        self.program("restic", TOLD)
        self.memory = folder / "memory"
        self.told = folder / "told"

    def program(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def change(self, declared: Mapping[str, Any]) -> tuple[BackupChange, dict[str, Source]]:
        found = {name: Source.model_validate(one) for name, one in declared.items()}
        items = [item for name, one in found.items() for item in sources.find(name, one, lambda argv, user: 1 / 0)]  # type: ignore[return-value,arg-type]  # nothing of theirs asks the host
        change = BackupChange(
            run="RUN1",
            host="web1",
            items=tuple(items),
            program=Program(path=str(self.path / "restic"), version="0.18.0"),
            state_dir=str(self.state),
            memory=str(self.memory),
            token="t" * 32,
        )
        return change, found

    def run(self, declared: Mapping[str, Any], *, secrets: bool = True) -> tuple[output.JobSaid, str]:
        change, found = self.change(declared)
        name = "RUN1-web1-apply"
        job = self.state / "jobs" / name
        job.mkdir(parents=True, exist_ok=True)
        pace = Pace(nice=5, ionice="none", compression="auto", upload=100, lock_wait=7.4)
        steps = [sources.step(item, found[item.source]) for item in change.items]
        (job / "script").write_text(job_script(change, steps, pace, ("mine",), "nightly"))
        access = Access("main", "web1", "rest:https://h/r/", Secret(CANARY), "write", "rest", "me", Secret("a/b@c"))
        folder = Path(handover.place(str(self.memory), name))
        if secrets:
            folder.mkdir(parents=True)
            for file, content in handover.files(access).items():
                (folder / file).write_bytes(content)
        env = {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}", "TOLD": str(self.told)}
        done = subprocess.run(
            ["sh", str(job / "script")], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert not folder.exists()
        return output.read(done.stdout + done.stderr, change), (done.stdout + done.stderr).decode("utf-8", "replace")

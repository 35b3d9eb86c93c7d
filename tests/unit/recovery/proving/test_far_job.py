"""The job of a drill elsewhere, run by this machine's own sh with a restic that is played."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.unit.recovery.proving.test_far import FILES, change
from tests.waiting import until

from mainstay.recovery.backup.change import Program
from mainstay.recovery.proving.far.script import job_script
from mainstay.recovery.proving.tool.archive import build


def test_what_a_job_restores_is_gone_with_it_however_it_ends(tmp_path: Path) -> None:
    """restic too, which would else work on as long as it may, with the place held for it."""
    restic, tool, job = tmp_path / "restic", tmp_path / "drill-0123", tmp_path / "jobs/RUN1-drill1-apply"
    restic.write_text('#!/bin/sh\necho $$ >"${0%/*}/pid"\nexec sleep 600\n')
    restic.chmod(0o755)
    tool.write_bytes(build())
    asked = change(FILES).model_copy(
        update={
            "program": Program(path=str(restic), version="0.18.0"),
            "tool": Program(path=str(tool), version=""),
            "state_dir": str(tmp_path / "state"),
            "memory": str(tmp_path / "memory"),
        }
    )
    job.mkdir(parents=True)
    (job / "script").write_text(job_script(asked))
    folder = tmp_path / "memory/mainstay" / job.name
    folder.mkdir(parents=True)
    for name in ("password", "repository"):
        (folder / name).write_text("x")
    running = subprocess.Popen(["sh", job / "script"], stdout=subprocess.DEVNULL)
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip() != "", 60)
        pid = int((tmp_path / "pid").read_text())
        assert len(list((tmp_path / "state/scratch").iterdir())) == 1
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    try:
        until(lambda: not list((tmp_path / "state/scratch").iterdir()), 60)
        assert not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)

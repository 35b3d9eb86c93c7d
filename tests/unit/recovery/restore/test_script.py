"""The text of a restore's job, run by this machine's own sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.recovery.points import before, point

from mainstay.recovery.backup import handover
from mainstay.recovery.backup.change import Program
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.order import Piece
from mainstay.recovery.restore.script import job_script


def test_a_target_that_leads_elsewhere_by_now_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "restic").write_text('#!/bin/sh\necho "$@" >>"${0%/*}/called"\n')
    (tmp_path / "restic").chmod(0o755)
    to = tmp_path / "to"
    change = RestoreChange(
        run="RUN1",
        host="web1",
        to=str(to),
        program=Program(path=str(tmp_path / "restic"), version="0.18.0"),
        state_dir=str(tmp_path / "state"),
        memory=str(tmp_path / "memory"),
        token="t" * 32,
    )
    job = tmp_path / "jobs/RUN1-web1-apply"
    job.mkdir(parents=True)
    (job / "script").write_text(job_script(change, [Piece(point=point(before(hours=1)))]))

    def run() -> subprocess.CompletedProcess[bytes]:
        folder = Path(handover.place(str(tmp_path / "memory"), job.name))
        folder.mkdir(parents=True)
        for name in ("password", "repository"):
            (folder / name).write_text("x")
        return subprocess.run(["sh", str(job / "script")], capture_output=True, check=False)

    to.symlink_to("elsewhere")
    assert b"leads elsewhere now" in run().stderr and not (tmp_path / "called").exists()
    to.unlink()
    run()
    assert f"--target {to}" in (tmp_path / "called").read_text()

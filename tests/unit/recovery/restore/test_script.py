"""The text of a restore's job, run by this machine's own sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.unit.recovery.points import before, point

from mainstay.recovery.backup import handover
from mainstay.recovery.backup.change import Program
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.order import Piece
from mainstay.recovery.restore.script import PIECE, job_script


def test_a_target_that_leads_elsewhere_by_now_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "restic").write_text('#!/bin/sh\necho "$@" >>"${0%/*}/called"; exit "$(cat "${0%/*}/ends")"\n')
    (tmp_path / "ends").write_text("0")
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
        download=40,
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
    assert b"verified 0" in run().stdout
    called = (tmp_path / "called").read_text().splitlines()
    assert len(called) == 1 and "--limit-download 40 restore --verify" in called[0] and f"--target {to}" in called[0]
    # One that did not end well is looked at by another, which says what is wrong.
    (tmp_path / "ends").write_text("1")
    said = run().stdout
    called = (tmp_path / "called").read_text().splitlines()[1:]
    assert b"verified" not in said and b"compared 0 1 0 " in said and "--dry-run" in called[1]
    assert len(called) == 2 and all("--limit-download 40 restore" in one and f"--target {to}" in one for one in called)


def test_a_comparison_that_died_has_none_of_the_one_before_it(tmp_path: Path) -> None:
    """Its two files would say of the second point what the first one came to."""
    (tmp_path / "awk").write_text("#!/bin/sh\nkill -9 $$\n")
    (tmp_path / "awk").chmod(0o755)
    pieces = [PIECE.format(number=number, words="") for number in (0, 1)]
    head = f'm={tmp_path}; say() {{ echo "$@"; }}\nback() {{ echo \'{{"action":"unchanged"}}\'; }}\n'
    text = f"{head}{pieces[0]}\nPATH={tmp_path}:$PATH\n{pieces[1]}"
    said = subprocess.run(["sh", "-c", text], capture_output=True, check=False, text=True).stdout
    compared = [line.split()[1:4] for line in said.splitlines() if line.startswith("compared")]
    assert compared[0] == ["0", "0", "1"] and compared[1][0] == "1" and compared[1][2] == "0", said

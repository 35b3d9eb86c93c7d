"""The job of a drill elsewhere, run by this machine's own sh with a restic that is played."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.recovery.proving.test_far import ACCESS, FILES, change
from tests.waiting import until

from mainstay.recovery.backup.change import Program
from mainstay.recovery.proving.far import output
from mainstay.recovery.proving.far.change import DrillChange, Take
from mainstay.recovery.proving.far.judging import tried
from mainstay.recovery.proving.far.script import job_script
from mainstay.recovery.proving.tool.archive import build
from mainstay.recovery.restic.replies import Node

pytestmark = [pytest.mark.thorough]


def begun(tmp_path: Path, played: str, take: Take) -> tuple[Path, DrillChange]:
    """(the job's script, its change), with all that it needs. played: what restic does."""
    restic, tool, job = tmp_path / "restic", tmp_path / "drill-0123", tmp_path / "jobs/RUN1-drill1-apply"
    restic.write_text(f"#!/bin/sh\n{played}")
    restic.chmod(0o755)
    tool.write_bytes(build())
    asked = change(take).model_copy(
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
    return job / "script", asked


def test_what_a_job_restores_is_gone_with_it_however_it_ends(tmp_path: Path) -> None:
    """restic too, which would else work on as long as it may, with the place held for it."""
    job, _ = begun(tmp_path, 'echo $$ >"${0%/*}/pid"\nexec sleep 600\n', FILES)
    running = subprocess.Popen(["sh", job], stdout=subprocess.DEVNULL, start_new_session=True)
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
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # its helpers, which a host's systemd ends with it


def test_a_cluster_of_many_roles_is_proved(tmp_path: Path) -> None:
    """What the tool says of it is long: it was cut off, and was no answer then."""
    roles = "".join(f"CREATE ROLE customer_number_{number:05};\n" for number in range(4000))
    (tmp_path / "dump").write_text(f"{roles}--\n-- PostgreSQL database cluster dump complete\n--\n")
    size = (tmp_path / "dump").stat().st_size
    more = {"kind": "postgresql", "unit": "db/(globals)", "item": "(globals)", "at": "2026-01-01T00:00:00Z"}
    node = Node(path="/globals.sql", type="file", size=size)
    take = Take(point="b" * 64, unit="db/(globals)", files=(node,), bytes=size, order=more)
    played = """case "$*" in *--dry-run*) echo '{"action":"unchanged"}'; exit 0;; esac
while [ "$1" != --target ]; do shift; done
mkdir -p "$2" && cp "${0%/*}/dump" "$2/globals.sql"
"""
    job, asked = begun(tmp_path, played, take)
    said = subprocess.run(["sh", job], capture_output=True, check=True).stdout
    found, _ = tried(asked, 0, output.read(said, asked), ACCESS)
    assert (found.verdict, found.scope) == ("succeeded", "4,000 roles, whole"), found


def test_a_sample_that_is_longer_than_an_argument_list_is_asked_for(tmp_path: Path) -> None:
    """Of 3 MB of names, on a host whose shell is any; 2 MB are what a program can be given."""
    files = tuple(Node(path=f"/{'d' * 3000}/{number}", type="file", size=1) for number in range(1000))
    take = Take(point="a" * 64, unit="etc", files=files, bytes=1000, scope="1,000 of 1,000 files")
    played = """for one; do last=$one; [ "$before" != --include-file ] || names=$one; before=$one; done
[ "$(wc -l <"$names")" = 1000 ] && [ "$(tail -n 1 "$names" | tail -c 4)" = 999 ] || exit 1
case "$*" in *--dry-run*) n=0; while [ "$n" -lt 1000 ]; do echo '{"action":"unchanged"}'; n=$((n + 1)); done;; esac
"""
    job, asked = begun(tmp_path, played, take)
    said = subprocess.run(["sh", job], capture_output=True, check=True).stdout
    found, _ = tried(asked, 0, output.read(said, asked), ACCESS)
    assert (found.verdict, found.scope) == ("succeeded", "1,000 of 1,000 files"), found

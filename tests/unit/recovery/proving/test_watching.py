"""No drill fills a disk, whatever the repository of a hostile host gives out."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.recovery.proving.drills import Drill
from tests.unit.recovery.proving.hostile import make_up
from tests.unit.recovery.proving.test_far import ACCESS, FILES
from tests.unit.recovery.proving.test_far_job import begun

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving import watching
from mainstay.recovery.proving.attempt import RESERVE, Untried, few
from mainstay.recovery.proving.far import output
from mainstay.recovery.proving.far.judging import tried
from mainstay.recovery.proving.processes import User, run
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.proving.watching import Watch, used
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict


def snapshot(id: str) -> RecoveryPoint:
    at = datetime.now(UTC).isoformat()
    told = {"id": id, "host": "web1", "plan": "nightly", "source": "etc", "repository": "main", "run": "R0", "at": at}
    return RecoveryPoint.model_validate({**told, "made_at": at, "verdict": "succeeded", "files": 1, "paths": ["/a"]})


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    return Drill(tmp_path)


@pytest.mark.server
def test_a_repository_that_gives_more_than_it_lists_is_stopped(drill: Drill) -> None:
    """100 GB for a byte; restic itself ends well once it has written all of it."""
    drill.world.repository()
    point = snapshot(make_up(drill.folder / "main", 25_000))
    drill.world.points.add_point(point)
    drill.scratch.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g,mode=700", "none", drill.scratch], check=True)
    try:
        with pytest.raises(Stopped, match=r"more comes out of the point than it lists: 1 B are listed, and \d"):
            drill.do({"etc": {"paths": ["/a"]}})
        assert list(drill.scratch.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", drill.scratch], check=True)
    assert [proof.verdict for proof in drill.proofs()] == [Verdict.UNKNOWN]
    assert drill.world.run("main", "list", "locks") == b"", "restic was asked to end, and has"


@pytest.mark.server
def test_a_database_that_leaves_no_room_is_ended(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drill.folder / "app.db"
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t AS SELECT 1 AS n")
    made.close()
    drill.world.backup(source="db", stdin=("app.db", path.read_bytes()), item="app.db")
    monkeypatch.setattr(Place, "free", lambda place, **_: 1 << 20 if place.others else 1 << 40)
    with pytest.raises(Stopped, match=r"the controller had only 1\.0 MB free in the middle of it"):
        drill.do({"db": {"sqlite": ["/app.db"]}})
    assert [proof.verdict for proof in drill.proofs()] == [Verdict.REFUSED]


def test_a_restore_on_a_host_that_writes_more_than_is_listed_is_told_to_end(tmp_path: Path) -> None:
    """By the job alone: there is nobody else there who looks."""
    played = """case "$*" in *--dry-run*) exit 0;; esac
trap 'echo so >"${0%/*}/told"; exit 130' INT
while [ "$1" != --target ]; do shift; done
mkdir -p "$2"
n=0
while [ "$n" -lt 1000 ]; do head -c 1000000 /dev/zero >>"$2/more"; sleep 0.01; n=$((n + 1)); done
"""
    job, asked = begun(tmp_path, played, FILES)
    said = subprocess.run(["sh", job], capture_output=True, check=True).stdout
    found, _ = tried(asked, 0, output.read(said, asked), ACCESS)
    assert found.verdict is Verdict.UNKNOWN
    assert "more comes out of the point than it lists: 3 B are listed" in found.reason, found
    assert (tmp_path / "told").exists() and list((tmp_path / "state/scratch").iterdir()) == []


def test_what_is_written_is_looked_at_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1 << 40]
    monkeypatch.setattr(Place, "free", lambda place, **_: free[0])
    now = [0.0]
    watch = Watch(Place(tmp_path), 1000, clock=lambda: now[0])
    (tmp_path / "a").write_bytes(os.urandom(200_000))
    (tmp_path / "again").hardlink_to(tmp_path / "a")
    (tmp_path / "away").symlink_to("/etc/passwd")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    assert 190_000 <= used(tmp_path) <= 210_000 and watch.found() == {}
    free[0] = RESERVE // 2 - 1
    assert watch.found() == {}, "it was looked at just now"
    now[0] = 1.0
    assert watch.found() == {"free": free[0]}
    free[0] = 1 << 40
    assert watch.found() == {"free": RESERVE // 2 - 1}, "once is enough"
    monkeypatch.setattr(watching, "SPARE", 1000)
    found = replace(watch, _found={}, _next=0.0).found()
    assert found["written"] == used(tmp_path)


def test_a_program_that_may_write_no_more_is_ended(tmp_path: Path) -> None:
    calls = 0

    def watch() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise few(1, "the controller")

    (tmp_path / "program").write_text('#!/bin/sh\necho $$ >"$0.pid"\nexec sleep 600\n')
    (tmp_path / "program").chmod(0o755)
    tmp_path.chmod(0o711)
    with pytest.raises(Untried, match="only 1 B free"):
        run([str(tmp_path / "program")], tmp_path, User(os.geteuid(), os.getegid(), "us"), 600.0, watch=watch)
    pid = (tmp_path / "program.pid").read_text().strip() if (tmp_path / "program.pid").exists() else "none"
    assert calls == 3 and not Path(f"/proc/{pid}").exists()

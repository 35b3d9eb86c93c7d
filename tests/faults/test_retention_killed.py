"""Retention whose process is killed as restic removes: the same run goes on, nothing is taken for lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.command_line import mainstay
from tests.servers.repository import make_repository
from tests.servers.restic import restic

from mainstay.console import bootstrap
from mainstay.recovery.point import RecoveryPoint
from mainstay.runner.verdict import Verdict

pytestmark = [pytest.mark.server, pytest.mark.long]

PASSWORD = "killed-canary-41aa"
KILLED = """#!/bin/sh
# Kills mainstay, once: before restic removes, or after.
for one in "$@"; do
  if [ "$one" = forget ] && mkdir {folder}/killed 2>/dev/null; then
    [ {when} = before ] || {restic} "$@"
    read -r pid <{folder}/pid; kill -9 "$pid"; exit 1
  fi
done
exec {restic} "$@"
"""
BEGIN = "import sys; from mainstay.console import cli; sys.exit(cli.run(sys.argv[1:]))"


def site(folder: Path) -> Path:
    repository = f'repositories:\n  main: {{url: "{folder}/kept/{{host}}", password: "file:keys/{{host}}"}}\n'
    plan = "plans:\n  nightly:\n    kind: backup\n    targets: all\n    repository: main\n    sources: {etc: {paths: [/etc]}}\n"
    root = folder / "site"
    files = {
        "mainstay.yml": "site: acme\nssh: {key: file:keys/web1}\n",
        "inventory/hosts.yml": "hosts: {web1: {address: 127.0.0.1}}\n",
        "recovery/repositories.yml": repository,
        "schedules/backup.yml": plan + "    retention: {last: 1}\n    keep_proved: 0\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "keys").mkdir()
    (root / "keys" / "web1").touch(0o600)
    (root / "keys" / "web1").write_text(PASSWORD)
    return root


def backed_up(folder: Path, root: Path) -> list[str]:
    """Three snapshots and the points of them. Returns the ids, the oldest first."""
    kept = folder / "kept" / "web1"
    make_repository(kept, PASSWORD)
    ids = []
    with bootstrap.load(root) as app:
        for day in ("2026-11-01", "2026-11-05", "2026-11-09"):
            argv = [
                str(restic()),
                "-r",
                str(kept),
                "backup",
                "--json",
                "--no-cache",
                "--host",
                "web1",
                "--tag",
                "mainstay",
            ]
            argv += ["--time", f"{day} 02:00:00", "--stdin"]
            env = {**os.environ, "TZ": "UTC", "RESTIC_PASSWORD": PASSWORD}
            done = subprocess.run(argv, env=env, input=b"x", capture_output=True, check=True, timeout=120)
            ids.append(json.loads(done.stdout.splitlines()[-1])["snapshot_id"])
            at = f"{day}T02:00:00.000Z"
            app.points.add_point(
                RecoveryPoint(
                    id=ids[-1],
                    host="web1",
                    plan="nightly",
                    source="etc",
                    repository="main",
                    run="R",
                    at=at,
                    made_at=at,
                    verdict=Verdict.SUCCEEDED,
                )
            )
    return ids


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_retention_goes_on_and_raises_no_alarm(tmp_path: Path, when: str) -> None:
    root = site(tmp_path)
    ids = backed_up(tmp_path, root)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "restic"
    program.write_text(KILLED.format(folder=tmp_path, when=when, restic=restic()))
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    words = ["--site", str(root), "repo", "retention", "nightly", "--yes", "--no-input"]
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN, *words],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        assert process.wait(250) == -9
    snapshots = tmp_path / "kept" / "web1" / "snapshots"
    assert sorted(one.name for one in snapshots.iterdir()) == sorted(ids if when == "before" else ids[2:])
    with bootstrap.load(root) as app:
        (run,) = (row.id for row in app.state.runs(in_flight=True))
        assert [one.removed_by for one in app.points.points()] == [run, run, None], "it was said before it was done"

    (ended, seen) = mainstay(root, ("runs", "resume", run, "--json"), ("repo", "retention", "nightly", "-n"), env=env)
    record = json.loads(ended.out)
    assert (record["verdict"], record["hosts"][0]["reason"]) == ("succeeded", "2 points removed, 1 kept")
    assert "without mainstay" not in ended.out + ended.err + seen.out + seen.err
    assert [one.name for one in snapshots.iterdir()] == ids[2:]
    with bootstrap.load(root) as app:
        known = {one.id: one.removed_by for one in app.points.points(removed=True) if one.removed_at}
        assert known == dict.fromkeys(ids[:2], run)

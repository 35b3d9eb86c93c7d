"""Secrets for a job: where they are put, and when they are taken back, by this machine's own sh."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from mainstay.recovery.backup import handover


def do(text: str, folder: Path) -> int:
    return subprocess.run(["sh", "-c", text, "mainstay", str(folder)], check=False).returncode


def test_what_was_handed_over_and_nobody_took_in_an_hour_goes_with_the_next_run(tmp_path: Path) -> None:
    left, fresh, at_work, ours = (tmp_path / "mainstay" / name for name in ("RUN0-a", "RUN3-a", "RUN1-a", "RUN2-a"))
    assert do(handover._MAKE, left) == do(handover._MAKE, fresh) == do(handover._MAKE, at_work) == 0
    for name in ("password", "credentials"):
        (left / name).write_text("canary")
        os.utime(left / name, (time.time() - 3700,) * 2)
        (fresh / name).write_text("another controller's")
    (at_work / "tail").write_text("of a dump")
    assert do(handover._MAKE, ours) == 0
    assert list(left.iterdir()) == [] and len(list(fresh.iterdir())) == 2 and (at_work / "tail").exists()
    assert (tmp_path / "mainstay").stat().st_mode & 0o777 == ours.stat().st_mode & 0o777 == 0o700


def test_two_that_make_the_place_at_the_same_time_both_have_it(tmp_path: Path) -> None:
    """The other one makes it after the look whether it is there."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/mkdir"
    program.write_text(f"""#!/bin/sh
for last; do :; done
[ "${{last##*/}}" != mainstay ] || {shutil.which("mkdir")} -m 700 -- "$last"
exec {shutil.which("mkdir")} "$@"
""")
    program.chmod(0o755)
    argv = ["sh", "-c", handover._MAKE, "mainstay", str(tmp_path / "mainstay/RUN1-a")]
    env = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    assert subprocess.run(argv, env=env, check=False).returncode == 0
    assert (tmp_path / "mainstay/RUN1-a").is_dir()


def test_all_or_nothing_is_handed_over_and_root_alone_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "mainstay/RUN1-a"
    argv = ["sh", "-c", handover._MAKE, "mainstay", str(folder), "password", "7", "repository", "4"]
    assert subprocess.run(argv, input=b"canary\nr:x\n", check=False).returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "password": b"canary\n",
        "repository": b"r:x\n",
    }
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert subprocess.run(argv, input=b"canary\nr:", check=False).returncode == 70
    assert not folder.exists()


def test_no_secret_is_put_where_somebody_else_could_exchange_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mainstay").symlink_to("elsewhere")
    assert do(handover._MAKE, tmp_path / "mainstay/RUN1-a") == 71
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (tmp_path / "mainstay").unlink()
    (tmp_path / "mainstay").mkdir()
    os.chown(tmp_path / "mainstay", 33, 33)
    assert do(handover._MAKE, tmp_path / "mainstay/RUN1-a") == 71


def test_a_job_that_has_taken_its_secrets_keeps_the_folder_that_it_works_in(tmp_path: Path) -> None:
    folder = tmp_path / "mainstay/RUN1-a"
    do(handover._MAKE, folder)
    assert do(handover._TAKE_BACK, folder) == 0 and folder.exists()
    (folder / "password").write_text("canary")
    assert do(handover._TAKE_BACK, folder) == 0 and not folder.exists()
    assert do(handover._TAKE_BACK, folder) == 0

"""A backup's repository is being asked while what a run takes is still to be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.recovery.backup_site import write

pytestmark = [pytest.mark.thorough]

ID = "ab" * 32
RESTIC = f"""#!/bin/sh
case "$*" in
  version) echo 'restic 0.18.0 compiled with go1.24 on linux/amd64';;
  *'cat config'*) echo '{{"id": "{ID}"}}';;
  *) exit 1;;
esac
"""
PROGRAM = """
import sys
from pathlib import Path
from mainstay.console import bootstrap
with bootstrap.load(Path(sys.argv[1])) as app:
    plan = app.plan("nightly")
    app.look_ahead(plan, app.select(sys.argv[2]))
    begun = len(app.depot.identities)
    if begun:
        print("begun", app.depot.identity(plan.repositories["main"], "web1"))
    print("imported", *sorted({"sqlalchemy", "dbos", "paramiko", "urllib3"} & set(sys.modules)))
    print("opened", "stores" in app.__dict__)
"""


FREEZES = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from mainstay.console import bootstrap
now = datetime(2026, 3, 1, tzinfo=UTC)
with bootstrap.load(Path(sys.argv[1])) as app:
    print("frozen", *app.freezes.over("nightly", None, now, now + timedelta(days=1)))
    heavy = {"urllib3", "dateutil", "sqlalchemy", "mainstay.schedules.calendars.scan"}
    print("imported", *sorted(heavy & set(sys.modules)))
"""


def look_ahead(tmp_path: Path, selector: str) -> list[str]:
    program = tmp_path / "bin" / "restic"
    program.parent.mkdir()
    program.write_text(RESTIC)
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    argv = [sys.executable, "-c", PROGRAM, str(tmp_path / "site"), selector]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nothing_of_a_run_is_imported_and_no_state_opened_when_it_is_asked(tmp_path: Path) -> None:
    root = write(tmp_path / "site")
    (root / "state").mkdir(mode=0o700)
    assert look_ahead(tmp_path, "web1") == [f"begun {ID}", "imported", "opened False"]
    assert [one.name for one in (root / "state").iterdir()] == []


def test_several_are_not_all_asked_at_once(tmp_path: Path) -> None:
    (write(tmp_path / "site") / "state").mkdir(mode=0o700)
    assert look_ahead(tmp_path, "role=web") == ["imported", "opened False"]


def test_nothing_is_asked_or_made_where_there_is_no_state_yet(tmp_path: Path) -> None:
    root = write(tmp_path / "site")
    assert look_ahead(tmp_path, "web1") == ["imported", "opened False"]
    assert not (root / "state").exists()


def test_nothing_reads_or_fetches_calendars_where_a_site_has_none(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", FREEZES, str(write(tmp_path / "site"))]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["frozen", "imported"]

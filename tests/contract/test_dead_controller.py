"""The controller is dead: what docs/how-to/dead-controller.md says, by real programs. The host's backup was made by another one,
of which nothing is left but the repositories and the exported passwords."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.contract.backing import Rig, Wall
from tests.servers.repository import make_repository
from tests.servers.restic import restic
from tests.unit.recovery.restore.repositories import Book

from mainstay.console import escrow
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.repository import Repository
from mainstay.recovery.restore.choosing import Wanted, choose
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.order import CONTROLLER, RestoreOrder
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.making import InitErrand
from mainstay.runner.verdict import Verdict

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]

PAGE = Path(__file__).parents[2] / "docs/how-to/dead-controller.md"


@pytest.fixture
def plan(here: Rig, tmp_path: Path) -> BackupPlan:
    """What is left of it: its points are in two repositories, and its passwords in a file."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_bytes(os.urandom(20_000))
    make_repository(tmp_path / "offsite", "other")
    offsite = Repository(name="offsite", url=str(tmp_path / "offsite"), password="env:OTHER", shared="accepted")
    sources = {"files": {"paths": [str(data)]}, "db": {"command": "printf 'two lines\\nend\\n'", "filename": "db.sql"}}
    made = here.plan(sources, copies=["offsite"])
    made = made.model_copy(update={"repositories": {**made.repositories, "offsite": offsite}})
    assert here.back_up(made).verdict == "succeeded"
    CopyErrand(made, "offsite", here.depot()).tend(Book().desk(here.host.name))
    app = SimpleNamespace(depot=here.depot(), site=SimpleNamespace(name="site"), clock=Wall())
    escrow.write(cast(Any, app), made, [here.host], tmp_path / "keys.json")
    here.points = MemoryPoints()
    return made


def test_restic_alone_reads_it_and_a_new_controller_takes_it_over(here: Rig, plan: BackupPlan, tmp_path: Path) -> None:
    restic_alone_reads_everything_with_what_was_exported(here, tmp_path)
    a_new_controller_takes_the_points_over_and_restores_them(here, plan, tmp_path)


def restic_alone_reads_everything_with_what_was_exported(here: Rig, tmp_path: Path) -> None:
    found = re.search(r"^password\(\) \{.*?^.*\"\$@\"; \}$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    script = f"""set -e
{found[0]}
export RESTIC_PASSWORD=$(password keys.json offsite "") RESTIC_REPOSITORY={tmp_path}/offsite
restic restore latest --host {here.host.name} --tag source=files --include {tmp_path}/data/a --target {tmp_path}/back >&2
restic dump latest --tag plan=nightly,source=db /db.sql
"""
    path = f"{restic().parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "RESTIC_CACHE_DIR": str(tmp_path / "cache")}
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, check=True, stdout=subprocess.PIPE).stdout
    assert said == b"two lines\nend\n"
    assert Path(f"{tmp_path}/back{tmp_path}/data/a").read_bytes() == (tmp_path / "data/a").read_bytes()


def a_new_controller_takes_the_points_over_and_restores_them(here: Rig, plan: BackupPlan, tmp_path: Path) -> None:
    for name in ("main", "offsite"):
        errand = InitErrand(plan, name, here.depot(), adopt=True, state="another")
        assert errand.tend(Book().desk(here.host.name)).startswith("took over 2 points")
    points = here.points.points()
    ids = {(point.unit, point.repository): point.id for point in points}
    assert {point.unit: point.copy_of for point in points if point.copy_of} == {
        unit: ids[unit, "main"] for unit in ("files", "db")
    }
    assert {point.verdict for point in points} == {Verdict.DEGRADED}
    assert CopyErrand(plan, "offsite", here.depot()).waiting(here.host.name) == []
    lost = Wanted(host=here.host.name, source="files", repository="offsite")
    choice = choose(lost, here.depot(), plan.repositories)
    assert any("how its backup ended is not known here" in note for note in choice.notes)
    order = RestoreOrder(
        host=here.host.name,
        on=CONTROLLER,
        to=str(tmp_path / "rescue"),
        pieces=choice.pieces,
        repositories=plan.repositories,
    )
    restore = RestoreErrand(order, here.depot())
    restore.work(Book().desk(here.host.name), restore.preview(here.host, 0.0))
    assert Path(f"{tmp_path}/rescue{tmp_path}/data/a").read_bytes() == (tmp_path / "data/a").read_bytes()

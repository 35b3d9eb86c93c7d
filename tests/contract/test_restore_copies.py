"""Restores from a copy in a second repository, by real programs: copied by restic, reached through the gateway."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.contract.backing import CANARY, Rig
from tests.contract.restoring import Restores
from tests.servers.repository import make_repository
from tests.servers.restic import rclone
from tests.unit.recovery.restore.repositories import Book

from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.repository import Repository
from mainstay.recovery.restore.choosing import Elsewhere
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.order import CONTROLLER
from mainstay.recovery.tending.copying import CopyErrand

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]


def test_what_was_copied_comes_back_when_the_first_repository_is_gone(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    (data / "a").write_bytes(os.urandom(300_000))
    (data / "sub/b").write_text("two")
    (data / "sub/b").chmod(0o640)
    os.chown(data / "sub/b", 33, 33)
    make_repository(tmp_path / "offsite", "other")
    offsite = Repository(name="offsite", url=str(tmp_path / "offsite"), password="env:OTHER", shared="accepted")
    plan = here.plan({"files": {"paths": [str(data)]}}, copies=["offsite"])
    plan = plan.model_copy(update={"repositories": {**plan.repositories, "offsite": offsite}})
    here.gateway = Rclone(str(rclone()))
    assert here.back_up(plan).verdict == "succeeded"
    copying = CopyErrand(plan, "offsite", here.depot())
    copying.tend(Book().desk(here.host.name))
    (copy,) = [point for point in here.points.points() if point.copy_of]
    restores, to = Restores(here, plan), tmp_path / "to"
    # By itself the first is taken; once it is gone the copy is named, and taken where it is asked for.
    assert restores.order(to=to, source="files").pieces[0].point.repository == "main"
    here.repository_folder.rename(tmp_path / "lost")
    with pytest.raises(Elsewhere, match="repository main can't be asked") as told:
        restores.order(to=to, source="files")
    assert told.value.instead == (copy,)
    order = restores.order(to=to, source="files", repository="offsite")
    assert order.pieces[0].point == copy
    assert restores.preview(order).refused == ""
    assert restores.do(order, "R1") == ""
    back = Path(f"{to}{data}")
    assert (back / "a").read_bytes() == (data / "a").read_bytes() and (back / "sub/b").stat().st_uid == 33
    measured = restores.measures["restored files"]
    assert (measured["point"], measured["verified"], restores.concerns) == (copy.id, 2, [])
    assert not [path for path in here.state_dir.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    # And without the host.
    away = order.model_copy(update={"on": CONTROLLER, "to": str(tmp_path / "here")})
    errand, book = RestoreErrand(away, here.depot()), Book()
    errand.work(book.desk(here.host.name), errand.preview(here.host, 0.0))
    assert Path(f"{tmp_path}/here{data}/sub/b").read_text() == "two"
    assert book.measures["restored files"]["verified"] == 2

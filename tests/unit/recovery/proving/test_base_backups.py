"""Base backups whose hosts have put something else into them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from tests.unit.recovery.proving.drills import Drill

from mainstay.recovery.proving.postgres import installed
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.server


@pytest.mark.parametrize("kind", ["device", "pipe", "link", "folder", "configured"])
def test_a_base_backup_that_holds_something_else_where_a_file_belongs_is_no_cluster(tmp_path: Path, kind: str) -> None:
    """Its archive is made by its host: what is read of it as root has an end."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        info = tarfile.TarInfo("PG_VERSION")
        if kind == "pipe":
            info.type = tarfile.FIFOTYPE
        elif kind == "folder":
            info.type = tarfile.DIRTYPE
        elif kind != "configured":
            (tmp_path / "elsewhere").write_text(f"{max(installed())}\n")
            info.type, info.linkname = (
                tarfile.SYMTYPE,
                "/dev/zero" if kind == "device" else str(tmp_path / "elsewhere"),
            )
        content = f"{max(installed())}\n".encode() if kind == "configured" else b""
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        if kind == "configured":
            folder = tarfile.TarInfo("postgresql.auto.conf")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
    drill = Drill(tmp_path)
    drill.world.backup(source="db", stdin=("base.tar", into.getvalue()), item="(cluster)")
    with pytest.raises(Stopped, match="it is no cluster of PostgreSQL: "):
        drill.do({"db": {"postgresql": {"method": "basebackup"}}})
    assert drill.proofs()[0].verdict is Verdict.FAILED

"""The backup of a host by real programs: a real sshd, restic and a REST server that only takes, on this machine."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.backing import Rig, rig
from tests.contract.sshd import Sshd, sshd
from tests.servers.rest import Rest, rest

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("backup")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    folder = tmp_path_factory.mktemp("storage")
    with rest(folder, folder.parent / "rest.log") as one:
        yield one


@pytest.fixture
def here(tmp_path: Path, server: Sshd, storage: Rest) -> Iterator[Rig]:
    with rig(tmp_path / "host", server, storage, tmp_path.name) as one:
        yield one


def tree(folder: Path, files: int = 12) -> Path:
    for number in range(files):
        (folder / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"d{number % 3}" / f"f {number}").write_bytes(bytes([number % 251]) * (1000 + number))
    return folder


def same(one: Path, other: Path) -> bool:
    found = filecmp.dircmp(one, other)
    if found.left_only or found.right_only or found.funny_files:
        return False
    _, unequal, errors = filecmp.cmpfiles(one, other, found.common_files, shallow=False)
    return not unequal and not errors and all(same(one / name, other / name) for name in found.common_dirs)


def test_what_was_taken_comes_back_as_it_was(here: Rig, tmp_path: Path) -> None:
    source = tree(tmp_path / "data")
    plan = here.plan({"files": {"paths": [str(source)]}, "ids": {"command": "cat /etc/passwd", "filename": "passwd"}})
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    assert sorted(point.unit for point in ended.points) == ["files", "ids"]
    assert (ended.measures["files"], len(ended.measures["points"])) == (13, 2)
    files, ids = sorted(ended.points, key=lambda point: point.unit)
    back = here.restored(files, tmp_path / "back")
    assert same(source, Path(f"{back}{source}"))
    assert (here.restored(ids, tmp_path / "ids") / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    again = here.back_up(plan)
    assert again.verdict == "succeeded" and again.measures["sources"]["files"]["new"] == 0

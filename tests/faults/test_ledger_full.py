"""A disk that fills up while runs are sealed: a small file system of the test's own, real processes, the real command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.command_line import mainstay
from tests.faults.sealing import Sealer, assert_whole
from tests.unit.console.fakes import write_site

RUN = ("run", "patch-web", "--yes")
READING = (("records", "show", "1"), ("runs",), ("status",), ("records", "verify", "--local"), ("state",))
MEGABYTES = 6
ROOM = 64 * 1024
"""Bytes that are left when the processes begin: less than the log of a dozen seals."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    assert os.geteuid() == 0, "mounting takes root, as all tests of real hosts do"
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "mainstay-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with one real record: three hosts that are refused, because their keys are not known."""
    site = write_site(tmp_path_factory.mktemp("template") / "site")
    [done] = mainstay(site, RUN)
    assert done.code == 4, done.err
    return site


@pytest.fixture
def root(disk: Path, template: Path) -> Path:
    return Path(shutil.copytree(template, disk / "site"))


def fill(disk: Path, *, leaving: int = 0) -> Path:
    """Others may take the last of the room meanwhile. Unbuffered: what did not fit would be written once more at the close."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > leaving:
            file.write(b"\0" * 4096)
    return ballast


def test_what_is_acknowledged_stays_and_work_goes_on_when_there_is_room(disk: Path, root: Path) -> None:
    sealers = [Sealer(root, name, 0, pause=0.2) for name in "ab"]
    for sealer in sealers:
        sealer.until_sealed(1)
    ballast = fill(disk, leaving=ROOM)
    for sealer in sealers:
        sealer.until_refused(3)
    assert {text.split()[0] for sealer in sealers for text in sealer.told.refused} <= {
        "StateUnusable",
        "LedgerUnusable",
    }
    before = [len(sealer.told.sealed) for sealer in sealers]
    ballast.unlink()
    for sealer, count in zip(sealers, before, strict=True):
        sealer.until_sealed(count + 2)  # the same process, without a restart
    for sealer in sealers:
        sealer.kill()
    acknowledged = sealers[0].told.sealed | sealers[1].told.sealed
    assert len(acknowledged) == sum(len(sealer.told.sealed) for sealer in sealers)
    assert assert_whole(root, acknowledged) >= len(acknowledged) + 2


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_full_disk_can_be_read_and_new_work_is_refused(disk: Path, root: Path, how: str, tmp_path: Path) -> None:
    """ended: every process went in order; killed: one left its log and its shared memory behind."""
    sealer = Sealer(root, "r", 0, pause=0.2)
    sealer.until_sealed(2)
    if how == "killed":
        sealer.kill()
    ballast = fill(disk)
    if how == "ended":
        sealer.until_refused(1)
        sealer.process.terminate()
        sealer.process.wait(60)
    *answers, refused = mainstay(root, *READING, RUN)
    for words, answer in zip(READING, answers, strict=True):
        # The processes of this test seal without a run: that much verify finds, and nothing else.
        assert answer.code == (1 if "verify" in words else 0), (words, answer)
        assert all(row.startswith("run-missing") for row in answer.out.splitlines() if "verify" in words)
    assert refused.code in (1, 2)
    assert "full" in refused.err
    ballast.unlink()
    [again] = mainstay(root, RUN)
    assert again.code == 4, again.err
    assert_whole(root, sealer.told.sealed)


@pytest.mark.parametrize(
    "rooms",
    [(0, 12288), pytest.param(tuple(range(0, 400_000, 8192)), marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_a_site_that_is_first_used_on_a_full_disk_begins_when_there_is_room(disk: Path, rooms: tuple[int, ...]) -> None:
    site = write_site(disk / "site")
    for leaving in rooms:
        ballast = fill(disk, leaving=leaving)
        [refused] = mainstay(site, RUN)
        assert refused.code in (1, 2, 4)  # with a little more room a run that is refused can be sealed
        ballast.unlink()
    done, verified = mainstay(site, RUN, ("records", "verify"))
    assert done.code == 4, done.err
    assert verified.code == 0, verified.out

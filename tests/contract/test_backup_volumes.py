"""Backups of logical volumes, read from real snapshots: a kernel with device-mapper is emulated for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.backing import Ended, Rig, rig
from tests.fleet.system import wait_until
from tests.servers.machine import Machine, machine
from tests.servers.rest import Rest

from mainstay.recovery.gateway.adapters.rclone import Rclone

pytestmark = [pytest.mark.server, pytest.mark.long]

FILES = 200
VOLUMES = """set -e
pvcreate -q /dev/vdb; vgcreate -q acme-data /dev/vdb
lvcreate -q -L 128M -n plain acme-data; mkfs.ext4 -q /dev/acme-data/plain
lvcreate -q -L 400M -T acme-data/pool; lvcreate -q -V 320M -T acme-data/pool -n thin; mkfs.xfs -q /dev/acme-data/thin
for one in plain thin; do mkdir -p /srv/$one; mount /dev/acme-data/$one /srv/$one; done"""
FILL = f"""set -e
for one in plain thin; do
  rm -rf /srv/$one/data; mkdir "/srv/$one/data"
  i=0; while [ $i -lt {FILES} ]; do head -c 20000 /dev/urandom >"/srv/$one/data/$i"; i=$((i+1)); done
done; sync"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine"), disks=[1 << 30]) as one:
        one.run(VOLUMES)
        yield one


@pytest.fixture
def here(there: Machine, tmp_path: Path) -> Iterator[Rig]:
    """Its host reaches nothing by itself: the repository comes to it through the controller."""
    there.run(FILL)
    with rig(tmp_path / "rig", there.sshd, Rest(tmp_path, 0, "", ""), "volumes") as one:
        one.gateway = Rclone()
        yield one


def snapshots(there: Machine) -> list[str]:
    return [name for name in there.run("lvs --noheadings -o lv_name").split() if name.startswith("mainstay-")]


def back_up(here: Rig, **more: object) -> Ended:
    source = {"paths": ["/srv/plain/data", "/srv/thin/data"], "snapshot": "lvm", **more}
    repository = here.repository(url=str(here.repository_folder), write=None)
    return here.back_up(here.plan({"files": source}, repository=repository))


def once_it_reads(there: Machine, do: Callable[[str], object]) -> Callable[[Rig, str], None]:
    """When restic has its lock: it begins to read."""

    def during(here: Rig, name: str) -> None:
        def reads() -> bool:
            return any((here.repository_folder / "locks").iterdir()) and len(snapshots(there)) > 0

        wait_until(reads, "it reads", deadline=180)
        do(name)

    return during


def test_what_is_read_is_as_it_was_and_the_snapshots_are_gone(here: Rig, there: Machine) -> None:
    seen: list[str] = []

    def change(name: str) -> None:
        seen.extend(snapshots(there))
        there.run("rm -rf /srv/plain/data/* /srv/thin/data/*")

    here.during = once_it_reads(there, change)
    ended = back_up(here)
    assert ended.verdict == "succeeded", ended.said
    assert ended.points[0].files == 2 * FILES and ended.points[0].bytes == 2 * FILES * 20_000
    assert len(seen) == 2 and snapshots(there) == []


def test_a_snapshot_that_fills_up_is_a_failure(here: Rig, there: Machine) -> None:
    fill = "head -c 64M /dev/urandom >/srv/plain/more; sync; rm /srv/plain/more"
    here.during = once_it_reads(there, lambda name: there.run(fill))
    ended = back_up(here, snapshot_size="4MiB")
    assert ended.verdict == "failed" and ended.points == [] and snapshots(there) == []
    assert "ran out of room" in ended.said, ended.said


def test_what_a_killed_job_has_left_the_next_one_removes(here: Rig, there: Machine) -> None:
    kill = "systemctl kill --signal=KILL 'mainstay-*apply*'"
    here.during = once_it_reads(there, lambda name: there.run(kill))
    assert back_up(here).verdict == "failed" and len(snapshots(there)) == 2
    here.during = lambda rig, name: None
    ended = back_up(here)
    assert ended.verdict == "succeeded" and snapshots(there) == [], ended.said

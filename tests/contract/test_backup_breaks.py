"""What goes wrong in the middle of a backup: kills, cut connections, locks, full disks, wrong passwords. By real programs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.backing import Rig, rig
from tests.contract.sshd import Sshd, sshd
from tests.contract.test_backup import tree
from tests.fleet.system import wait_until
from tests.servers.rest import Rest, rest

from mainstay.runner.shell.contract import JobStatus

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("backup-breaks")]

SLOW = 'i=0; while [ "$i" -lt "$1" ]; do head -c 65536 /dev/urandom; i=$((i+1)); sleep 0.01; done'


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


def below(pid: int) -> list[int]:
    """All processes that this one has begun, and those of theirs."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [one for child in map(int, text.split()) for one in (child, *below(child))]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def job_pid(here: Rig, name: str) -> int:
    return int((here.state_dir / "jobs" / name / "pid").read_text().split()[0])


def kill_job(here: Rig, name: str) -> None:
    """As the kernel does when memory is short, or a host whose power goes: all of it at once, with nothing cleaned up."""
    first = job_pid(here, name)
    for pid in [first, *below(first)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def printed(here: Rig, name: str) -> bytes:
    try:
        return (here.state_dir / "jobs" / name / "out").read_bytes()
    except OSError:
        return b""


def when(seen: Callable[[Rig, str], bool], do: Callable[[Rig, str], None]) -> Callable[[Rig, str], None]:
    def during(here: Rig, name: str) -> None:
        wait_until(lambda: seen(here, name), "the job is where it is to be", deadline=60, every=0.01)
        do(here, name)

    return during


def begun(count: int) -> Callable[[Rig, str], bool]:
    return lambda here, name: printed(here, name).count(b" begin ") >= count


def locks(here: Rig) -> list[str]:
    return [one.name for one in (here.repository_folder / "locks").iterdir()]


def holds(here: Rig, kind: str) -> int:
    return sum(len(files) for _, _, files in os.walk(here.repository_folder / kind))


def test_what_was_taken_before_a_kill_counts_and_the_lock_of_the_killed_goes(here: Rig, tmp_path: Path) -> None:
    plan = here.plan(
        {
            "first": {"paths": [str(tree(tmp_path / "data"))]},
            "second": {"command": ["sh", "-c", SLOW, "slow", "3000"], "filename": "x"},
            "third": {"paths": ["/etc/hostname"]},
        }
    )
    here.during = when(lambda rig, name: begun(2)(rig, name) and len(locks(rig)) == 1, kill_job)
    ended = here.back_up(plan)
    assert ended.state is not None and ended.state.status is JobStatus.LOST
    assert ended.verdict == "failed"
    assert {name: ended.of(name) for name in ("first", "second", "third")} == {
        "first": "succeeded",
        "second": "failed",
        "third": "failed",
    }
    assert "second: it was interrupted, and the repository has no snapshot of it" in ended.failed
    assert [point.unit for point in ended.points] == ["first"]
    assert locks(here) == []
    here.during = lambda rig, name: None
    again = here.back_up(here.plan({"first": {"paths": [str(tmp_path / "data")]}}))
    assert again.verdict == "succeeded" and list((here.state_dir / "work").iterdir()) == []

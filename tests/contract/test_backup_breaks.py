"""What goes wrong in the middle of a backup: kills, cut connections, locks, full disks, wrong passwords. By real programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.contract.backing import CANARY, Ended, Rig, below, kill_all
from tests.contract.sshd import Sshd
from tests.contract.test_backup import tree
from tests.fleet.system import wait_until
from tests.servers.restic import restic

from mainstay.inventory.errors import Refused
from mainstay.recovery.gateway.adapters.rclone import Rclone
from mainstay.recovery.points.contract import Vault
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.runner.shell.contract import JobStatus

pytestmark = [pytest.mark.server]

SLOW = 'i=0; while [ "$i" -lt "$1" ]; do head -c 65536 /dev/urandom; i=$((i+1)); sleep 0.01; done'


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def job_pid(here: Rig, name: str) -> int:
    return int((here.state_dir / "jobs" / name / "pid").read_text().split()[0])


def kill_job(here: Rig, name: str) -> None:
    """As the kernel does when memory is short, or a host whose power goes: all of it at once, with nothing cleaned up."""
    kill_all(job_pid(here, name))


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
    assert again.verdict == "succeeded" and list((here.state_dir / "taking").iterdir()) == []


COUNTED = (
    'i=0; while [ "$i" -lt 40 ]; do echo "$i" >"$1"; head -c 262144 /dev/urandom; i=$((i+1)); sleep 0.02; done; '
    'echo end >"$1"'
)


def at(counter: Path, number: int) -> Callable[[Rig, str], bool]:
    """When the producer has come so far."""

    def seen(here: Rig, name: str) -> bool:
        try:
            text = counter.read_text().strip()
        except OSError:
            return False
        return text == "end" or (text.isdecimal() and int(text) >= number)

    return seen


def survive(here: Rig, tmp_path: Path, numbers: range) -> None:
    """Killed there, each time: what is said is true, nothing is left, and the next one goes well."""
    source, counter = tree(tmp_path / "data"), tmp_path / "counter"
    plan = here.plan(
        {
            "files": {"paths": [str(source)]},
            "dump": {"command": ["sh", "-c", COUNTED, "counted", str(counter)], "filename": "x", "user": "root"},
            "last": {"paths": ["/etc/hostname"]},
        }
    )
    for number in numbers:
        counter.unlink(missing_ok=True)
        here.during = when(at(counter, number), kill_job)
        ended = here.back_up(plan)
        held = {point.unit for point in ended.points}
        assert ended.verdict == "failed" and "files" in held and "last" not in held, (number, ended.said)
        assert held == {one.rsplit("=")[-1] for one in tagged(here, ended)}, number
    here.during = lambda rig, name: None
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    assert locks(here) == [] and list((here.state_dir / "taking").iterdir()) == []
    ask(here, "check", "--read-data")


def ask(here: Rig, *argv: str) -> str:
    env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(here.repository_folder)}
    done = subprocess.run([str(restic()), *argv], env=env, check=True, capture_output=True, text=True, input="theirs")
    return done.stdout


def tagged(here: Rig, ended: Ended) -> list[str]:
    """The sources that the repository itself has of that run."""
    listed = json.loads(ask(here, "snapshots", "--no-lock", "--json", "--tag", f"run={ended.change.run}"))
    return [tag for one in listed for tag in one["tags"] if tag.startswith("source=")]


def test_killed_anywhere_it_tells_the_truth_and_the_next_one_goes_well(here: Rig, tmp_path: Path) -> None:
    survive(here, tmp_path, range(0, 40, 20))


@pytest.mark.long
def test_killed_at_twenty_offsets(here: Rig, tmp_path: Path) -> None:
    survive(here, tmp_path, range(0, 40, 2))


def test_what_another_controllers_run_of_the_same_id_has_put_there_is_not_taken_for_ours(
    here: Rig, tmp_path: Path
) -> None:
    """Hosts of one name at two sites, one repository, one schedule: ids of runs are made of its moments."""
    source = {"command": ["sh", "-c", SLOW, "slow", "3000"], "filename": "x"}

    def theirs(rig: Rig, name: str) -> None:
        tags = f"mainstay,run={name.split('-')[0]},plan=nightly,source=dump,state=another"
        ask(rig, "backup", "--host", rig.host.name, "--tag", tags, "--stdin-filename", "x", "--stdin")
        kill_job(rig, name)

    here.during = when(begun(1), theirs)
    ended = here.back_up(here.plan({"dump": source}))
    assert tagged(here, ended) == ["source=dump"]
    assert "dump: it was interrupted, and the repository has no snapshot of it" in ended.failed
    assert ended.points == []
    here.during = lambda rig, name: None
    ended = here.back_up(here.plan({"dump": {"command": ["echo", "whole"], "filename": "x"}}))
    (own,) = json.loads(ask(here, "snapshots", "--no-lock", "--json", ended.points[0].id))
    assert f"state={ended.change.maker}" in own["tags"] and ended.change.maker == "tests"


def test_cut_from_the_host_a_backup_through_the_controller_goes_on(here: Rig, tmp_path: Path, server: Sshd) -> None:
    """What is under way on the forward is reset, and restic asks again when it is there again."""
    here.gateway, counter = Rclone(), tmp_path / "counter"
    source = {"command": ["sh", "-c", COUNTED, "counted", str(counter)], "filename": "x", "user": "root"}
    plan = here.plan({"dump": source}, repository=here.repository(url=str(here.repository_folder), write=None))
    here.during = when(at(counter, 10), lambda rig, name: server.cut())
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    assert ended.change.port and ended.points[0].bytes == 40 * 262144


def test_a_restic_that_nobody_watches_any_more_is_waited_for(here: Rig, tmp_path: Path) -> None:
    """The job's shell alone is killed: restic goes on without it, and how it ends is not guessed."""
    counter = tmp_path / "counter"
    source = {"command": ["sh", "-c", COUNTED, "counted", str(counter)], "filename": "x", "user": "root"}

    def behead(rig: Rig, name: str) -> None:
        first = job_pid(rig, name)
        shells = [pid for pid in below(first) if "/script" in command(pid)]
        for pid in (first, *shells):
            os.kill(pid, signal.SIGKILL)

    here.during = when(at(counter, 3), behead)
    ended = here.back_up(here.plan({"dump": source}))
    assert "how it ended is not known" in here.unknown
    assert ended.verdict == "degraded" and "its snapshot is whole" in ended.said
    assert [point.bytes for point in ended.points] == [40 * 262144]


def test_what_can_t_be_read_is_named_and_the_rest_is_kept(here: Rig, tmp_path: Path) -> None:
    paths = [str(tree(tmp_path / "data")), "/proc/1/mem"]
    ended = here.back_up(here.plan({"files": {"paths": paths}}))
    assert ended.verdict == "degraded" and "could not be read: /proc/1/mem" in ended.said
    assert ended.points[0].unreadable == 1 and ended.points[0].files == 12


def test_a_wrong_password_is_refused_and_nothing_is_made(here: Rig) -> None:
    with pytest.raises(Refused, match="password"):
        here.back_up(
            here.plan({"files": {"paths": ["/etc/hostname"]}}, repository=here.repository(password="env:OTHER"))
        )
    other = here.repository(url=f"{here.rest.url}{here.name}-none/")
    with pytest.raises(Refused, match="there is no repository main yet"):
        here.back_up(here.plan({"files": {"paths": ["/etc/hostname"]}}, repository=other))
    assert holds(here, "keys") == 1 and not (here.rest.folder / f"{here.name}-none").exists()
    # Another one in its place is not taken for it.
    here.points.note_vault(Vault("main", "", "0" * 64))
    with pytest.raises(Refused, match="is another one than before"):
        here.back_up(here.plan({"files": {"paths": ["/etc/hostname"]}}))


@contextmanager
def locked(here: Rig) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's restic holds the repository alone, for as long as it is stopped."""
    env = {**os.environ, "RESTIC_PASSWORD": CANARY, "RESTIC_REPOSITORY": str(here.repository_folder)}
    argv = [str(restic()), "check", "--read-data", "--limit-download", "1"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: locks(here) != [], "it has its lock", deadline=60, every=0.005)
            yield process
        finally:
            process.kill()


def test_a_locked_repository_is_said_the_same_night_and_the_lock_of_others_stays(here: Rig, tmp_path: Path) -> None:
    plan = here.plan(
        {"files": {"paths": [str(tree(tmp_path / "data", 40))]}}, repository=here.repository(lock_wait="1s")
    )
    assert here.back_up(plan).verdict == "succeeded"
    with locked(here):
        alive = here.back_up(plan)
        assert alive.verdict == "failed" and "the repository is locked by somebody else" in alive.said
    dead = here.back_up(plan)
    assert dead.verdict == "failed" and "locked" in dead.said and len(locks(here)) == 1


@contextmanager
def small(folder: Path, size: str) -> Iterator[None]:
    """That folder is a disk of this size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disks(here: Rig, tmp_path: Path) -> None:
    """A host without room for a cache does without; a repository without room fails, in the time that it was given."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "big").write_bytes(os.urandom(3_000_000))
    with small(here.state_dir / "cache", "16k"):
        ended = here.back_up(here.plan({"files": {"paths": [str(data)]}}))
        assert ended.verdict == "succeeded", ended.said
    shutil.rmtree(here.repository_folder)
    with small(here.repository_folder, "2m"):
        here.points = MemoryPoints()
        here.make()
        full = here.back_up(here.plan({"files": {"paths": [str(data)], "max_time": "5s"}}))
        assert full.verdict == "failed" and not full.points, full.said


def begun_by(here: Rig, name: str) -> list[int]:
    try:
        first = job_pid(here, name)
    except (OSError, IndexError):
        return []
    return [first, *below(first)]


def test_no_secret_is_found_anywhere(here: Rig, tmp_path: Path, server: Sshd) -> None:
    """Neither in a command line nor in an environment while it works, nor in a file afterwards; of ours and of the producer's."""
    counter, seen, looked = tmp_path / "counter", set[str](), 0

    def watch(rig: Rig, name: str) -> None:
        nonlocal looked
        while not (rig.state_dir / "jobs" / name / "rc").exists():
            for pid in {*below(server.process.pid), *begun_by(rig, name)}:
                for file in ("cmdline", "environ"):
                    with suppress(OSError):
                        seen.update(found(Path(f"/proc/{pid}/{file}").read_bytes(), rig))
                        looked += 1

    source = {"command": ["sh", "-c", COUNTED, "counted", str(counter)], "filename": "x"}
    here.during = watch
    ended = here.back_up(here.plan({"dump": source, "files": {"paths": [str(tree(tmp_path / "data"))]}}))
    assert ended.points and looked > 100 and seen == set()
    said = json.dumps([ended.measures, ended.change.to_json(), ended.output.decode("utf-8", "replace"), ended.said])
    assert found(said.encode(), here) == set()
    # Other tests' hosts are this machine too, and have just been handed theirs.
    own = (Path(ended.change.memory) / "mainstay").glob(f"*-{here.host.name}-*")
    kept = [here.state_dir, here.folder / "cache", *own]
    for folder in kept:
        for file in folder.rglob("*"):
            assert not file.is_file() or found(file.read_bytes(), here) == set(), file


def found(data: bytes, here: Rig) -> set[str]:
    return {secret for secret in (CANARY, here.rest.secret) if secret.encode() in data}


@contextmanager
def btrfs(folder: Path) -> Iterator[Path]:
    """A filesystem of its own, mounted there."""
    image = folder.with_name(f"{folder.name}.image")
    with image.open("wb") as file:
        file.truncate(128 << 20)
    folder.mkdir()
    for argv in (["mkfs.btrfs", "-q", str(image)], ["mount", "-o", "loop", str(image), str(folder)]):
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def snapshots_of(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if one.name.startswith(".mainstay-")]


def test_a_snapshot_of_the_filesystem_is_what_is_read_and_it_is_gone_afterwards(here: Rig, tmp_path: Path) -> None:
    with btrfs(tmp_path / "disk") as disk:
        source = tree(disk / "my data", 300)
        for number in range(300):
            (source / f"big{number}").write_bytes(os.urandom(20_000))
        plan = here.plan({"files": {"paths": [str(source)], "snapshot": "btrfs"}})

        def change(rig: Rig, name: str) -> None:
            for one in source.iterdir():
                shutil.rmtree(one) if one.is_dir() else one.unlink()

        here.during = when(lambda rig, name: bool(snapshots_of(disk)) and locks(rig) != [], change)
        ended = here.back_up(plan)
        assert ended.verdict == "succeeded" and not any(source.iterdir()), ended.said
        assert ended.points[0].paths == (str(source),) and ended.points[0].files == 600
        assert snapshots_of(disk) == []

        tree(source, 20)
        here.during = when(lambda rig, name: bool(snapshots_of(disk)) and locks(rig) != [], kill_job)
        assert here.back_up(plan).verdict == "failed" and len(snapshots_of(disk)) == 1
        here.during = lambda rig, name: None
        subprocess.run(["btrfs", "-q", "subvolume", "create", str(disk / "nested")], check=True)
        again = here.back_up(plan)
        assert "has subvolumes below it" in again.failed and snapshots_of(disk) == []
        auto = here.back_up(here.plan({"files": {"paths": [str(source)], "snapshot": "auto"}}))
        assert auto.verdict == "degraded" and auto.points[0].files == 20, auto.said

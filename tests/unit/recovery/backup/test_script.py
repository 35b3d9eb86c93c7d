"""The text of a backup's job, run by this machine's own sh: what restic is given, and what is left of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fleet.system import wait_until
from tests.unit.recovery.backup.jobs import CANARY, Jobs

from mainstay.recovery.backup.script import STOP


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


HOSTILE = 'it\'s $(touch PWNED) `touch PWNED` "x"; touch PWNED & * \\ #'


def test_paths_and_patterns_reach_restic_as_they_are(jobs: Jobs) -> None:
    folder = jobs.folder / HOSTILE.replace("/", "_")
    folder.mkdir()
    source = {
        "paths": [str(folder), "/etc/hostname"],
        "exclude": [HOSTILE],
        "exclude_if_present": ".no",
        "one_file_system": True,
    }
    job, said = jobs.run({"files": source})
    given = [line[1:-1] for line in said.splitlines() if line.startswith("[") and line.endswith("]")]
    tags = "mainstay,run=RUN1,plan=nightly,source=files,mine"
    assert given == [
        *("--json", "--retry-lock", "7s", "--limit-upload", "100", "backup", "--host", "web1"),
        *("--tag", tags, f"--exclude={HOSTILE}", "--exclude-if-present=.no", "--one-file-system"),
        *("--exclude", f"{jobs.state}/cache", "--exclude", f"{jobs.state}/taking", "--"),
        *(str(folder), "/etc/hostname"),
    ]
    assert job.items[0].code == 0 and job.whole
    assert not list(Path.cwd().glob("PWNED")) and not Path("/PWNED").exists()


def test_a_command_reaches_the_host_as_it_is_and_without_what_is_ours(jobs: Jobs) -> None:
    show = 'printf "<%s>" "$@"; env; ls -l /proc/self/fd'
    job, said = jobs.run(
        {"out": {"command": ["sh", "-c", show, "sh", HOSTILE, "--x"], "filename": "a-b", "user": "root"}}
    )
    assert f"<{HOSTILE}><--x>" in said and job.items[0].dump is not None
    environment = {line.partition("=")[0] for line in said.splitlines() if "=" in line}
    assert not {name for name in environment if name.startswith(("RESTIC", "AWS"))}
    assert "RESTIC" not in said.partition("<")[2] and "memory" not in said.partition("<")[2]
    assert not [line for line in said.splitlines() if "-> " in line and ("password" in line or "repository" in line)]


def test_secrets_come_by_descriptors_alone(jobs: Jobs) -> None:
    _, said = jobs.run({"files": {"paths": "/etc/hostname"}})
    assert jobs.told.read_text() == f"password {CANARY}, address rest:https://me:a%2Fb%40c@h/r/\n"
    assert CANARY not in said
    for file in jobs.state.rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_without_secrets_nothing_is_begun(jobs: Jobs) -> None:
    job, said = jobs.run({"files": {"paths": "/etc/hostname"}}, secrets=False)
    assert job.unready and not job.items and "[" not in said


def test_the_user_is_nobody_where_none_is_named(jobs: Jobs) -> None:
    if os.geteuid() != 0:
        pytest.fail("runs as root, as a backup does")
    _, said = jobs.run({"out": {"command": ["id", "-un"], "filename": "x"}, "names": {"files_from": ["id", "-un"]}})
    assert "\nnobody\n" in said and "it printed what is no absolute path: nobody" in said


def test_a_trailer_is_looked_for_in_the_last_bytes_alone(jobs: Jobs) -> None:
    def made(text: str) -> dict[str, object]:
        return {"command": ["sh", "-c", text], "filename": "x", "trailer": "-- END [of] it"}

    long = 'i=0; while [ $i -lt 900 ]; do echo "0123456789"; i=$((i+1)); done'
    job, _ = jobs.run({"good": made(f"{long}; echo '-- END [of] it'"), "early": made(f"echo '-- END [of] it'; {long}")})
    assert [(one.code, one.dump.trailer if one.dump else None) for one in job.items] == [(0, True), (1, False)]


def test_a_link_is_said_to_be_one(jobs: Jobs) -> None:
    (jobs.folder / "link").symlink_to("/etc")
    job, _ = jobs.run({"files": {"paths": [str(jobs.folder / "link")]}})
    assert job.items[0].links == (str(jobs.folder / "link"),)


def test_what_an_earlier_job_left_is_taken_away_and_one_at_work_is_left_alone(jobs: Jobs) -> None:
    work = jobs.state / "taking"
    for name in ("RUN0-web1-apply", "RUN9-web1-apply"):
        (work / name).mkdir(parents=True)
        (work / name / "copy").write_text("x")
        (jobs.memory / "mainstay" / name).mkdir(parents=True)
        (jobs.memory / "mainstay" / name / "tail").write_text("of a dump")
    with subprocess.Popen(["sleep", "60"]) as other:
        stat = Path(f"/proc/{other.pid}/stat").read_text()
        (work / "RUN9-web1-apply" / "pid").write_text(f"{other.pid}\n{stat}")
        (work / "RUN0-web1-apply" / "pid").write_text(f"{other.pid}\n{stat.replace(stat.split()[21], '1')}")
        job, _ = jobs.run({"files": {"paths": "/etc/hostname"}})
        other.kill()
    assert [(one.job, one.pid) for one in job.dead] == [("RUN0-web1-apply", other.pid)]
    assert job.busy == ("RUN9-web1-apply",)
    assert [one.name for one in work.iterdir()] == ["RUN9-web1-apply"]
    assert [one.name for one in (jobs.memory / "mainstay").iterdir()] == ["RUN9-web1-apply"]


VOLUME = """#!/bin/sh
# A volume manager of one volume, whose snapshots are files: what it is asked for, and in which order, is what is tested here.
echo "${0##*/} $*" >>@/calls
for last; do :; done
case ${0##*/} in
lvs)
  case $last in */mainstay-*) [ -e "@/${last#*/}" ] || exit 5;; esac
  case "$*" in *vg_name*) echo "  @vg";; *lv_name*) echo "  data";; *lv_attr*) cat @/attr;; esac;;
lvcreate)
  while [ "$1" != -n ]; do shift; done
  cp @/image "@/$2"; mkdir -p /dev/@vg; ln -sfn "@/$2" "/dev/@vg/$2";;
lvremove) rm -f "@/${last#*/}";;
esac
"""


@pytest.fixture
def volume(jobs: Jobs) -> Iterator[Path]:
    """A mounted filesystem that the volume manager of these tests calls its own."""
    name = f"mainstay-test-{os.getpid()}"
    for tool in ("lvs", "lvcreate", "lvremove"):
        jobs.program(tool, VOLUME.replace("@vg", name).replace("@/", f"{jobs.folder}/"))
    (jobs.folder / "attr").write_text("  swi-a-s---\n")
    image, disk = jobs.folder / "image", jobs.folder / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        shutil.rmtree(f"/dev/{name}", ignore_errors=True)


def test_a_logical_volume_is_read_from_its_snapshot(jobs: Jobs, volume: Path) -> None:
    """By a stand-in for LVM; a real one, which is slow to have, is asked in tests/contract/test_backup_volumes.py."""
    (volume / "data").mkdir()
    (volume / "data" / "in").write_text("as it was")
    subprocess.run(["sync", "-f", str(volume)], check=True)
    jobs.program(
        "restic", f'#!/bin/sh\necho late >{volume}/late\nfor last; do :; done\nls -l "$last"; cat "$last/in"\n'
    )
    source = {"paths": [str(volume / "data")], "snapshot": "lvm", "snapshot_size": "4MiB"}
    job, said = jobs.run({"files": source})
    assert "as it was" in said and job.items[0].code == 0 and not job.left and not job.items[0].filled
    calls = (jobs.folder / "calls").read_text().splitlines()
    made, gone = (next(call for call in calls if call.startswith(word)) for word in ("lvcreate", "lvremove"))
    assert " -s -L 4194304b -n mainstay-" in made and made.endswith("/data") and "/mainstay-" in gone
    assert not list(jobs.folder.glob("mainstay-*"))
    (jobs.folder / "attr").write_text("  swi-I-s---\n")
    assert jobs.run({"files": source})[0].items[0].filled
    auto, said = jobs.run({"files": {"paths": [str(jobs.folder / "bin")], "snapshot": "btrfs"}})
    assert "no snapshot can be taken of" in auto.items[0].cannot and "[backup]" not in said


STOPPED = """#!/usr/bin/env python3
# Ends in order when it is told to, once somebody has let it.
import os, pathlib, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
told = os.environ["TOLD"]
pathlib.Path(told + ".begun").touch()
signal.sigwait([signal.SIGINT])
while not os.path.exists(told + ".go"):
    time.sleep(0.01)
print("told", sys.argv[-1])
sys.exit(130)
"""


def tell(jobs: Jobs, name: str = "RUN1-web1-apply") -> None:
    subprocess.run(["sh", "-c", STOP, "mainstay", str(jobs.state / "taking" / name)], check=True)


def test_what_is_told_to_stop_ends_in_order_and_nothing_more_is_begun(jobs: Jobs) -> None:
    jobs.program("restic", STOPPED)
    begun, go = Path(f"{jobs.told}.begun"), Path(f"{jobs.told}.go")
    folder = jobs.state / "taking" / "RUN1-web1-apply"

    def stop() -> int:
        wait_until(begun.exists, "restic is at work", deadline=60)
        for _ in range(3):
            tell(jobs)
        told = len((folder / "stop").read_text().split())
        go.touch()
        return told

    with ThreadPoolExecutor(1) as pool:
        stopped = pool.submit(stop)
        job, said = jobs.run({"first": {"paths": "/etc/hostname"}, "second": {"paths": "/etc/hosts"}})
        assert stopped.result() == 1, "it is told once, however often it is asked for"
    assert [(one.unit, one.code, one.stopped) for one in job.items] == [("first", 130, True)]
    assert job.stopped and not job.whole and not folder.exists() and "told /etc/hostname" in said


DEAF = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("deaf", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGINT, signal.default_int_handler)
print("hears", flush=True)
signal.sigwait([signal.SIGINT])
"""


def test_what_does_not_hear_yet_is_told_later(jobs: Jobs) -> None:
    """Whatever an sh begins by `&` ignores SIGINT at first: restic was told in that moment, and went on to its end."""
    folder = jobs.state / "taking" / "RUN1-web1-apply"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", DEAF]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None and one.stdout is not None
        assert one.stdout.readline() == "deaf\n"
        (folder / "INT").write_text(f"{one.pid}\n{Path(f'/proc/{one.pid}/stat').read_text()}")
        tell(jobs)
        assert (folder / "stop").read_text() == ""
        print(file=one.stdin, flush=True)
        assert one.stdout.readline() == "hears\n"
        tell(jobs)
        assert (folder / "stop").read_text() == f"{one.pid}\n"
        assert one.wait(60) == 0


def test_a_stop_that_finds_nothing_at_work_keeps_the_next_from_beginning(jobs: Jobs) -> None:
    """restic itself asks for it here: as it ends by itself, well."""
    stop = jobs.folder / "stop.sh"
    stop.write_text(STOP)
    folder = jobs.state / "taking" / "RUN1-web1-apply"
    jobs.program("restic", f"#!/bin/sh\nrm -f {folder}/INT\nsh {stop} {folder}\n")
    job, _ = jobs.run({"first": {"paths": "/etc/hostname"}, "second": {"paths": "/etc/hosts"}})
    assert [(one.unit, one.code, one.stopped) for one in job.items] == [("first", 0, False)] and job.stopped


def test_another_process_of_the_noted_number_is_left_alone_and_so_is_a_job_that_is_not_there(jobs: Jobs) -> None:
    folder = jobs.state / "taking" / "RUN1-web1-apply"
    tell(jobs)
    assert not folder.exists()
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as other:
        stat = Path(f"/proc/{other.pid}/stat").read_text()
        (folder / "INT").write_text(f"{other.pid}\n{stat.replace(stat.split()[21], '1')}")
        tell(jobs)
        assert other.poll() is None and (folder / "stop").read_text() == ""
        (folder / "INT").write_text(f"{other.pid}\n{stat}")
        tell(jobs)
        assert other.wait(60) == -2

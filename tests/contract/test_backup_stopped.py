"""A run that is cancelled in the middle of a backup: the job ends in order and soon. Real restic, this machine is the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.contract.backing import Rig
from tests.contract.test_backup import tree
from tests.contract.test_backup_breaks import ask, at, locks, when
from tests.fleet.system import wait_until

from mainstay.recovery.backup.operation import BackupOperation
from mainstay.runner.shell.contract import JobStatus
from mainstay.runner.verdict import Verdict

pytestmark = [pytest.mark.server]

ENDLESS = 'n=0; while :; do head -c 262144 /dev/urandom; n=$((n+1)); echo "$n" >"$1"; sleep 0.01; done'
LISTS = 'echo "$$" >"$1"; exec sleep 3600'


def works(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def asked_again(here: Rig, name: str) -> None:
    """As whoever follows the job does: until it has ended."""

    def over() -> bool:
        here.stop()
        return (here.state_dir / "jobs" / name / "rc").exists()

    wait_until(over, "the job ends", deadline=60)


def endless(counter: Path) -> dict[str, object]:
    return {"command": ["sh", "-c", ENDLESS, "endless", str(counter)], "filename": "x", "user": "root"}


def test_what_was_taken_counts_what_is_under_way_is_given_up_and_the_next_one_goes_well(
    here: Rig, tmp_path: Path
) -> None:
    files = {"paths": [str(tree(tmp_path / "data"))]}
    plan = here.plan({"first": files, "second": endless(tmp_path / "counter"), "third": {"paths": ["/etc/hostname"]}})
    here.during = when(lambda rig, name: at(tmp_path / "counter", 5)(rig, name) and len(locks(rig)) == 1, asked_again)
    ended = here.back_up(plan)
    assert ended.state is not None and (ended.state.status, ended.state.exit) == (JobStatus.EXITED, 143)
    assert ended.outcome is not None and ended.outcome.stopped
    assert ended.failed == "" and ended.concerns == []
    assert {name: (row["verdict"], row.get("reason")) for name, row in ended.measures["sources"].items()} == {
        "first": ("succeeded", None),
        "second": (Verdict.CANCELLED, "was stopped in the middle: the run was cancelled"),
        "third": (Verdict.CANCELLED, "was not begun: the run was cancelled"),
    }
    said = BackupOperation(plan, here.depot()).done(ended.change, ended.measures)
    assert said.startswith("1 of 3 taken, ") and said.endswith(" checked; not second, third")
    assert [point.unit for point in ended.points] == ["first"]
    assert locks(here) == [] and list((here.state_dir / "taking").iterdir()) == []
    here.during = lambda rig, name: None
    again = here.back_up(here.plan({"first": files}))
    assert again.verdict == "succeeded", again.said
    ask(here, "check")


def test_a_list_of_paths_and_a_copy_that_take_for_ever_are_ended_too(here: Rig, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    listing = {"files_from": ["sh", "-c", LISTS, "lists", str(pid)], "user": "root"}
    here.during = when(lambda rig, name: pid.exists() and pid.read_text() != "", asked_again)
    ended = here.back_up(here.plan({"names": listing}))
    assert ended.of("names") == Verdict.CANCELLED and ended.failed == "" and ended.points == []
    wait_until(lambda: not works(pid.read_text().strip()), "the program that lists is gone", deadline=60)


def test_a_stop_that_comes_when_all_is_done_changes_nothing(here: Rig, tmp_path: Path) -> None:
    plan = here.plan({"first": {"paths": [str(tree(tmp_path / "data"))]}})
    here.during = when(lambda rig, name: (rig.state_dir / "jobs" / name / "rc").exists(), lambda rig, name: rig.stop())
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded" and ended.outcome is not None and not ended.outcome.stopped

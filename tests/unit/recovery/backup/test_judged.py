"""From what a job told and what the repository has to points, verdicts and words; and what a preview says before."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.recovery.points import NOW
from tests.unit.recovery.tending.desk import World, plan

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup import handover, output, sending
from mainstay.recovery.backup.change import BackupChange, Item, Program
from mainstay.recovery.backup.operation import BackupOperation
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.messages import BackupSummary, Said
from mainstay.runner.operation import HostWork, Look
from mainstay.runner.shell.contract import Command, ContactLost, Fence, JobState, JobStatus, Output
from mainstay.runner.shell.fake import FakeHost, FakeShells
from mainstay.runner.steps import HostFailed, rfc3339

AT = rfc3339(NOW)
ELF = b"\x7fELF\x02\x01" + b"\0" * 12 + b"\x3e\0"


class Case:
    """One host, one plan of two sources, one repository in memory."""

    def __init__(self, **more: Any) -> None:
        self.world = World()
        self.there = FakeHost("web1")
        self.plan = plan(sources={"etc": {"paths": "/etc"}, "db": {"command": "dump", "filename": "x"}}, **more)
        self.operation = BackupOperation(self.plan, self.world.depot, lambda: None)
        self.shell = FakeShells([self.there]).open(self.there.host())
        self.items = (Item(source="etc", kind="paths"), Item(source="db", kind="command", filename="x"))
        self.work = self.renewed()

    def renewed(self) -> HostWork:
        fence = Fence(1, "state", "RUN1")
        return HostWork("RUN1", self.there.host(), self.shell, fence, Facts(), cast(Any, None))

    def change(self, **more: Any) -> BackupChange:
        program = Program(path="/usr/bin/restic", version="0.18.0")
        told = {
            "run": "RUN1",
            "host": "web1",
            "items": self.items,
            "program": program,
            "state_dir": "/s",
            "memory": "/run",
        }
        return BackupChange.model_validate({**told, "token": "t" * 32, "began_at": AT, **more})

    def held(self, *units: str, at: str = AT, run: str = "RUN1", maker: str = "", **trees: int) -> None:
        """The repository has snapshots of these items; trees: source → bytes of its one file."""
        for item in self.items:
            if item.unit in units:
                content = b"x" * trees.get(item.source, 1000)
                tags = item.tags(run, "nightly", maker)
                self.world.repository().back_up({"/f": content}, host="web1", tags=tags, at=at)

    def told(self, *items: output.Taken, whole: bool = True, **more: Any) -> None:
        said = output.JobSaid(hostname="web1", items=items, whole=whole, **more)
        self.work.found = {"job": said.to_json()}

    def verify(self, **more: Any) -> list[str]:
        self.operation.verify(self.work, self.change(**more))
        return [point.unit for point in self.world.points.points(run="RUN1")]


def taken(unit: str, code: int | None = 0, **more: Any) -> output.Taken:
    return output.Taken(unit=unit, code=code, **more)


def test_what_the_repository_has_becomes_points_once() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    assert case.verify() == ["db", "etc"] or case.verify() == ["etc", "db"]
    case.work = replace(case.renewed(), found=case.work.found)
    case.verify()
    assert len(case.world.points.points(run="RUN1")) == 2 and not case.work.concerns
    assert case.operation.done(case.change(), case.work.measures) == "2 sources, 2.0 kB (2.0 kB new), 2 files, checked"


def test_an_exit_status_of_0_without_a_snapshot_is_a_failure() -> None:
    case = Case()
    case.held("etc")
    case.told(taken("etc"), taken("db"))
    with pytest.raises(HostFailed, match="db: restic said that it was done, and the repository has no snapshot of it"):
        case.verify()
    assert [point.unit for point in case.world.points.points()] == ["etc"]


def test_a_source_that_could_not_be_asked_fails_and_the_others_count() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    with pytest.raises(HostFailed, match="shop: no answer"):
        case.verify(lost={"shop": "shop: no answer"})
    assert len(case.world.points.points()) == 2 and case.work.measures["sources"]["shop"]["verdict"] == "failed"


def test_where_the_repository_is_away_it_is_asked_again() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    case.world.memory.away.add("/srv/web1")
    with pytest.raises(ContactLost, match="can't be asked what it has"):
        case.verify()
    case.world.memory.away.clear()
    assert len(case.verify()) == 2


def test_a_repository_that_was_written_to_and_is_not_at_its_place_is_asked_again() -> None:
    case = Case()
    case.told(taken("etc"), taken("db"))
    with pytest.raises(ContactLost, match="not at its place any more"):
        case.verify()
    case.told(taken("etc", 10), taken("db", 10))
    with pytest.raises(HostFailed, match="there is no repository"):
        case.verify()


def test_a_snapshot_that_somebody_else_tagged_alike_is_not_taken_for_the_one_that_was_made() -> None:
    case = Case()
    case.held("etc", "db")
    (ours,) = [one for one in case.world.repository().snapshots.values() if one.tagged("source") == "etc"]
    case.held("etc", at=rfc3339(NOW + timedelta(seconds=5)), etc=10)
    case.told(taken("etc", said=Said(summary=BackupSummary(snapshot=ours.id))), taken("db"))
    case.verify()
    assert ours.id in {point.id for point in case.world.points.points()}


def test_what_another_controllers_run_of_the_same_id_made_is_not_counted_as_ours() -> None:
    case = Case()
    case.held("etc", "db", maker="OTHER")
    case.held("etc", maker="OURS")
    case.told(taken("etc"), taken("db"))
    with pytest.raises(HostFailed, match="db: restic said that it was done, and the repository has no snapshot of it"):
        case.verify(maker="OURS")
    (point,) = case.world.points.points()
    assert "state=OURS" in case.world.repository().snapshots[point.id].tags


def test_a_run_that_was_settled_before_there_was_such_a_tag_finds_its_own() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    assert len(case.verify()) == 2


def test_a_restic_that_ends_while_it_is_asked_how_it_was_is_not_called_interrupted() -> None:
    """Its job's shell was killed, and nobody has heard how it ended: its snapshot is there as soon as it works no more."""
    case = Case()
    case.told(taken("etc"), taken("db", None), whole=False)

    def ends(host: FakeHost, command: Command) -> Output:
        case.held("etc", "db")
        return Output(0, b"dead 7\n", b"", 0.0)

    case.there.on(lambda command: "taking" in " ".join(command.argv), ends)
    assert sorted(case.verify()) == ["db", "etc"]
    assert any("its snapshot is whole" in one for one in case.work.concerns)


def test_a_snapshot_without_a_time_that_can_be_read_counts_by_ours() -> None:
    case = Case()
    case.held("db")
    case.held("etc", at="")
    case.told(taken("etc"), taken("db"))
    assert sorted(case.verify()) == ["db", "etc"]
    assert {point.at for point in case.world.points.points()} == {AT}
    assert "dated wrongly" in " ".join(case.work.concerns)


def test_a_backup_that_shrank_is_degraded_and_says_so() -> None:
    case = Case()
    for day in ("2026-01-01", "2026-01-02"):
        case.held("etc", at=f"{day}T00:00:00.000Z", run=day, etc=1_000_000)
        run = replace(
            case.renewed(), run=day, found={"job": output.JobSaid(items=(taken("etc"),), whole=True).to_json()}
        )
        case.operation.verify(run, case.change(run=day, items=case.items[:1], began_at=f"{day}T00:00:00.000Z"))
    case.held("etc", "db", etc=10)
    case.told(taken("etc"), taken("db"))
    assert len(case.verify()) == 2
    assert len(case.work.concerns) == 1 and "less than the 1.0 MB that are usual" in case.work.concerns[0]


def test_a_stale_lock_is_said_the_same_night_with_whose_it_is_and_what_removes_it() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    repository = case.world.repository()
    repository.lock(host="web9", pid=77, at=rfc3339(NOW - timedelta(minutes=190)))
    repository.lock(host="web1", pid=78, at=rfc3339(NOW - timedelta(minutes=20)))
    assert len(case.verify()) == 2
    (said,) = case.work.concerns
    assert "by root on web9, process 77, not refreshed for 3 h 10 min" in said
    assert said.endswith(": mainstay repo unlock nightly --hosts web1")
    assert len(repository.locks) == 2


def test_a_lock_goes_only_with_the_process_that_is_known_to_be_dead() -> None:
    case = Case()
    case.held("etc", "db")
    repository = case.world.repository()
    ours = repository.lock(host="web1", pid=77, at=AT)
    others = {repository.lock(host="web1", pid=78, at=AT), repository.lock(host="db1", pid=77, at=AT)}
    case.told(taken("etc"), taken("db"), dead=(output.Dead(job="RUN0-web1-apply", pid=77),))
    case.verify()
    assert set(repository.locks) == others and ours not in others
    assert case.work.notes.count("removed 1 lock that a killed restic of ours had left") == 1


def test_links_and_leftovers_are_concerns() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc", links=("/etc",)), taken("db"), left=("vg/mainstay-1",))
    case.verify()
    assert len(case.work.concerns) == 2


def test_the_record_names_what_could_not_be_read_and_not_all_that_was_printed() -> None:
    case = Case()
    case.held("etc", "db")
    said = Said.model_validate({"unreadable": [{"item": f"/etc/{n}"} for n in range(100)], "unreadable_count": 4000})
    case.told(taken("etc", 3, said=said), taken("db"))
    case.verify()
    row = case.work.measures["sources"]["etc"]
    assert (row["verdict"], row["unreadable"], len(row["unreadable_items"])) == ("degraded", 4000, 20)
    assert "job" in case.work.measures and len(str(case.work.measures)) < 5000


@pytest.mark.parametrize(("least", "failed"), [("2kB", False), ("3kB", True)])
def test_what_a_source_is_to_hold_at_least_its_databases_hold_together(least: str, failed: bool) -> None:
    """The globals of a cluster are small by themselves."""
    case = Case()
    one = {"postgresql": {}, "expect": {"min_size": least}}
    case.plan = plan(sources={"db": one})
    case.operation = BackupOperation(case.plan, case.world.depot, lambda: None)
    case.items = (
        Item(source="db", name="(globals)", kind="globals"),
        Item(source="db", name="shop", kind="postgresql"),
    )
    case.held("db/(globals)", "db/shop", db=1000)
    case.told(taken("db/(globals)"), taken("db/shop"))
    if failed:
        with pytest.raises(HostFailed, match="all of db is 2"):
            case.verify()
    assert len(case.verify() if not failed else case.world.points.points()) == (0 if failed else 2)


# -- before


SEEN = "state /var/lib/mainstay\nmachine x86_64\nname web1\nmemory /run\n"


def look(case: Case, seen: str) -> Look:
    case.there.on(lambda command: "uname -m" in command.argv[-1], lambda host, command: seen)
    case.there.on(lambda command: "mainstay" in command.argv, lambda host, command: "no\n")
    return Look(case.there.host(), case.shell, Facts(), NOW.timestamp(), {})


def test_a_preview_refuses_what_can_t_be_and_makes_nothing() -> None:
    case = Case()
    found = case.operation.preview(look(case, SEEN + "path /usr/bin/restic\nrestic restic 0.18.0 compiled\n"))
    assert "mainstay repo init nightly" in found.refused and not case.world.memory.repositories
    case.world.repository()
    found = case.operation.preview(look(case, SEEN + "path /usr/bin/restic\nrestic restic 0.18.0 compiled\n"))
    assert found.refused == "" and found.count == 2 and not case.there.files
    assert found.items == (("etc", "", "restic to main"), ("db", "", "restic to main"))
    assert "etc: /etc is not there" in found.notes


@pytest.mark.parametrize(
    ("seen", "send", "binary", "why"),
    [
        (SEEN + "path /usr/bin/restic\nrestic restic 0.14.0 compiled", False, ELF, "0.14.0 is too old"),
        (SEEN, False, ELF, "it has no restic; send_restic: true"),
        (SEEN, True, None, "it has no restic, and the controller has none"),
        (SEEN, True, b"#!/bin/sh\n" + b" " * 20, "is for another system"),
        (SEEN.replace("x86_64", "aarch64"), True, ELF, "the controller's is for x86_64, not for aarch64"),
        (SEEN.replace("memory /run\n", ""), True, ELF, "secrets are written to no disk"),
        (SEEN + "lacks timeout\n", True, ELF, "a backup needs timeout there: install coreutils"),
        (SEEN + "lacks awk\n", True, ELF, ""),
        (SEEN, True, ELF, ""),
        (SEEN + "path /usr/bin/restic\nrestic restic 0.17.1 compiled", False, None, ""),
    ],
)
def test_which_restic_a_host_runs(tmp_path: Path, seen: str, send: bool, binary: bytes | None, why: str) -> None:
    case, file = Case(), tmp_path / "restic"
    file.write_bytes(binary or b"")
    program, said = sending.choose(
        sending.look(look(case, seen).shell), send, lambda: file if binary is not None else None
    )
    assert (why in said and program is None) if why else (said == "" and program is not None)


def test_no_other_restic_is_sent_than_the_one_that_was_chosen(tmp_path: Path) -> None:
    case, file = Case(), tmp_path / "restic"
    file.write_bytes(ELF)
    program, _ = sending.choose(sending.look(look(case, SEEN).shell), True, lambda: file)
    assert program is not None and program.sha256 == sha256(ELF).hexdigest()
    file.write_bytes(ELF + b"of another version")
    with pytest.raises(Refused, match="another one than when this run began"):
        sending.send(case.work, program, lambda: file)
    assert program.path not in case.there.files


def test_what_was_read_of_a_snapshot_that_filled_up_is_no_point() -> None:
    case = Case()
    case.held("etc", "db")
    case.told(taken("etc", filled=("vg/mainstay-1",)), taken("db"))
    with pytest.raises(HostFailed, match="the snapshot vg/mainstay-1 ran out of room"):
        case.verify()
    assert [one.source for one in case.world.points.points()] == ["db"]


def test_a_repository_in_the_place_of_another_is_refused() -> None:
    case = Case()
    case.world.repository()
    assert case.operation.prepare(case.work, wait=1) == []
    assert case.operation.prepare(case.renewed(), wait=1) == []
    case.world.memory.repositories.clear()
    with pytest.raises(Refused, match="repository main is gone"):
        case.operation.prepare(case.renewed(), wait=1)
    case.world.repository()
    with pytest.raises(Refused, match="is another one than before"):
        case.operation.prepare(case.renewed(), wait=1)


def test_no_job_goes_on_into_another_repository_than_it_began_with() -> None:
    case = Case()
    case.world.repository()
    assert case.operation.prepare(case.work, wait=1) == []
    work = case.renewed()
    work.shell = cast(Any, SimpleNamespace(poll=lambda name: JobState(JobStatus.RUNNING)))
    case.world.memory.repositories.clear()
    for _ in range(2):
        with (
            pytest.raises(ContactLost, match=r"repository main is (gone|another one)"),
            case.operation.attend(work, case.change(port=4711), "job"),
        ):
            pytest.fail("nothing may stand beside it")
        case.world.repository()


def test_the_way_through_the_controller_is_of_one_run_and_host() -> None:
    def access(host: str, secret: str = "p") -> Access:
        return Access("main", host, "/srv", Secret(secret), "write", "path")

    one = handover.way_secret(access("a"), "RUN1").reveal()
    assert one == handover.way_secret(access("a"), "RUN1").reveal() and "p" not in one
    others = {handover.way_secret(access("b"), "RUN1").reveal(), handover.way_secret(access("a"), "RUN2").reveal()}
    assert len({one, *others, handover.way_secret(access("a", "q"), "RUN1").reveal()}) == 4
    with pytest.raises(Refused, match="more than one line"):
        handover.files(access("a", "p\nq"))


@pytest.mark.parametrize("port", [0, 4711])
def test_the_limit_of_a_repository_holds_by_whichever_way_the_host_reaches_it(port: int) -> None:
    slow = {"name": "main", "url": "/srv/{host}", "password": "env:MAIN", "upload": 100}
    case = Case(repositories={"main": slow})
    text = case.operation.apply(case.work, case.change(port=port), "RUN1-web1-apply").script
    assert "--limit-upload 100" in text


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({}, "nice -n 10 $io"),
        ({"nice": 19}, "nice -n 19 $io"),
        ({}, "io='ionice -c 2 -n 7'"),
        ({"ionice": "idle"}, "io='ionice -c 3'"),
        ({"ionice": "none"}, "io=''"),
        ({"compression": "max"}, "--compression max"),
        ({"tags": ["of-acme"]}, "source=etc,of-acme"),
    ],
)
def test_what_a_plan_says_of_its_pace_and_tags_is_what_the_job_is_given(asked: dict[str, Any], given: str) -> None:
    case = Case(**asked)
    text = case.operation.apply(case.work, case.change(), "RUN1-web1-apply").script
    assert given in text
    assert ("--compression" in text) is ("compression" in asked)

"""What a drill may take: room on the disk, max_bytes and max_time of a host's points together. Each is left as it is, and named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.proving.test_far import ACCESS, FILES
from tests.unit.recovery.proving.test_far_job import begun
from tests.unit.recovery.tending.desk import World, plan

from mainstay.recovery.point import Proof
from mainstay.recovery.proving import pgbase, scratch, sqlite
from mainstay.recovery.proving.attempt import RESERVE, Attempt, Brought, Late, Untried
from mainstay.recovery.proving.drill import DrillErrand
from mainstay.recovery.proving.far import output
from mainstay.recovery.proving.far.judging import tried
from mainstay.recovery.proving.far.operation import DrillOperation
from mainstay.recovery.proving.mariadb import END
from mainstay.recovery.proving.order import DrillOrder
from mainstay.recovery.proving.pgdump import GROWS, MAGIC
from mainstay.recovery.proving.processes import User, run
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.proving.trying import CLUSTER, try_dump
from mainstay.recovery.proving.watching import SPARE
from mainstay.recovery.restic.fake import MemoryRestic
from mainstay.recovery.restic.messages import Progress
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

SIZE = 90


class Site:
    """web1 with sources of one file of SIZE bytes each; restores can be made to take their time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.folder = World(), folder
        self.now, self.restored = 0.0, list[str]()
        self.during: Callable[[Callable[[Progress], None]], None] = lambda tell: None
        self.listed, self.listing = list[str](), 0.0
        real, ls = MemoryRestic.restore, MemoryRestic.ls

        def restore(restic: MemoryRestic, snapshot: str, target: str, **more: Any) -> Any:
            if not more.get("dry"):
                self.restored.append(snapshot)
                self.during(more["tell"])
            return real(restic, snapshot, target, **more)

        def list_(restic: MemoryRestic, snapshot: str, *given: Any, **more: Any) -> None:
            self.listed.append(snapshot)
            self.now += self.listing
            ls(restic, snapshot, *given, **more)

        monkeypatch.setattr(MemoryRestic, "restore", restore)
        monkeypatch.setattr(MemoryRestic, "ls", list_)

    def order(self, *sources: str, **prove: Any) -> DrillOrder:
        points = []
        for number, source in enumerate(sources):
            at = before(hours=number + 1)
            made = self.world.repository().back_up({f"/{source}": b"x" * SIZE}, host="web1", tags=["mainstay"], at=at)
            points.append(point(at, id=made, source=source))
        asked = plan(sources={one: {"paths": f"/{one}"} for one in sources}, prove=prove)
        return DrillOrder(plan=asked, points={"web1": tuple(points)})

    def drill(self, *sources: str, **prove: Any) -> dict[str, Proof]:
        """By source."""
        errand = DrillErrand(self.order(*sources, **prove), self.world.depot, self.folder, clock=lambda: self.now)
        with suppress(Stopped):
            self.world.do(errand)
        assert not self.folder.exists() or list(self.folder.iterdir()) == []
        return {proof.source: proof for proof in self.world.points.proofs()}

    def takes(self, seconds: float) -> None:
        def during(tell: Callable[[Progress], None]) -> None:
            self.now += seconds

        self.during = during


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path / "scratch", monkeypatch)


# Room


@pytest.mark.parametrize("lacks", [0, 1])
def test_nothing_is_restored_where_it_would_take_what_is_kept_free(
    site: Site, monkeypatch: pytest.MonkeyPatch, lacks: int
) -> None:
    monkeypatch.setattr(Place, "free", lambda place, **_: SIZE + RESERVE - lacks)
    proof = site.drill("etc")["etc"]
    if lacks:
        assert (proof.verdict, site.restored) == (Verdict.REFUSED, [])
        assert proof.left_out == ("etc: 90 B are to be restored, and the controller has 268 MB free",)
    else:
        assert (proof.verdict, len(site.restored)) == (Verdict.SUCCEEDED, 1)


def test_the_fullest_file_system_is_what_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What servers need lies elsewhere; what restic writes does not."""
    real = os.statvfs("/")
    blocks = {tmp_path: 3, scratch.ELSEWHERE[0]: 2}

    def statvfs(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 512, real.f_blocks, 900, blocks[path], *tuple(real)[5:]))

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert (Place(tmp_path).free(), Place(tmp_path).free(elsewhere=False)) == (1024, 1536)
    blocks[tmp_path] = 1
    assert Place(tmp_path).free() == 512


@dataclass(slots=True, kw_only=True)
class Here(Attempt):
    file: Path

    def dump(self) -> Brought:
        return Brought(self.file, self.file.stat().st_size)


@pytest.mark.parametrize(
    ("kind", "item", "head", "times", "why"),
    [
        ("postgresql", "app", MAGIC, GROWS, "a server for it may need"),
        ("postgresql", CLUSTER, b"", 2, "a server of it may need"),
        ("mysql", "app", END, GROWS, "a server for it may need"),
        ("sqlite", "app.db", b"SQLite format 3\0", 1, "a copy that can be opened without rights needs"),
    ],
)
def test_a_dump_that_needs_more_than_there_is_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, item: str, head: bytes, times: int, why: str
) -> None:
    file = tmp_path / "dump"
    file.write_bytes(head + b"x" * 1000 if kind != "mysql" else b"x" * 1000 + head)
    monkeypatch.setattr(User, "other", True)  # as where mainstay is root
    begun: list[str] = []

    class Begun(Exception):
        pass

    def begin(*_: Any, **__: Any) -> Any:
        begun.append(kind)
        raise Begun

    monkeypatch.setattr(pgbase, "installed", begin)
    monkeypatch.setattr("mainstay.recovery.proving.pgdump.installed", begin)
    monkeypatch.setattr("mainstay.recovery.proving.mariadb.Server.at", begin)
    monkeypatch.setattr(sqlite, "_copy", begin)
    needed = file.stat().st_size * times + RESERVE
    free = [needed - 1]
    monkeypatch.setattr(Place, "free", lambda place, **_: free[0])
    place = Place(tmp_path)
    one = Here(kind=kind, unit="db", item=item, at=before(), place=place, until=1e9, clock=lambda: 0.0, file=file)
    with pytest.raises(Untried, match=why) as refused:
        try_dump(one)
    assert refused.value.limit and begun == []
    free[0] = needed
    try:
        with pytest.raises(Begun):
            try_dump(one)
    finally:
        place.leave()


def test_who_watches_ends_what_takes_more_than_half_of_what_is_kept_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = [RESERVE // 2]
    monkeypatch.setattr(Place, "free", lambda place, **_: free[0])
    at = {"kind": "sqlite", "unit": "db", "item": "", "at": before(), "file": tmp_path}
    one = Here(place=Place(tmp_path), until=5.0, clock=lambda: 4.0, **at)  # type: ignore[arg-type]  # as they are
    assert one.watched() == 1.0
    free[0] -= 1
    with pytest.raises(Untried, match="had only 134 MB free") as refused:
        one.watched()
    assert refused.value.limit


# max_bytes


def test_max_bytes_counts_over_all_points_of_a_host(site: Site) -> None:
    proofs = site.drill("data", "etc", max_bytes=SIZE + SIZE - 1)
    assert [proofs[name].verdict for name in ("data", "etc")] == [Verdict.SUCCEEDED, Verdict.REFUSED]
    (left,) = proofs["etc"].left_out
    assert left.startswith("etc: nothing could be tried: for max_bytes of 89 B: /etc (90 B)")
    assert len(site.restored) == 1


def test_max_bytes_is_reached_by_what_just_fits(site: Site) -> None:
    proofs = site.drill("data", "etc", max_bytes=SIZE + SIZE)
    assert {proof.verdict for proof in proofs.values()} == {Verdict.SUCCEEDED}


def test_max_bytes_counts_elsewhere_too(site: Site) -> None:
    order = site.order("data", "etc", max_bytes=SIZE + SIZE - 1).model_copy(update={"on": "host"})
    operation = DrillOperation(order, site.world.depot)
    data, etc = operation._takes(operation.noting("RUN1", "web1"))
    assert (data.bytes, data.verdict) == (SIZE, None)
    assert (etc.bytes, etc.verdict, etc.files) == (0, Verdict.REFUSED, ())
    assert "for max_bytes of 89 B: /etc (90 B)" in etc.reason


# max_time


def test_max_time_counts_over_all_points_of_a_host(site: Site) -> None:
    site.takes(40)
    proofs = site.drill("data", "etc", max_time="60s")
    assert [proofs[name].verdict for name in ("data", "etc")] == [Verdict.SUCCEEDED, Verdict.REFUSED]
    assert proofs["etc"].left_out == ("etc: max_time was over",)


def test_nothing_is_begun_once_max_time_is_over(site: Site) -> None:
    site.takes(60)
    proofs = site.drill("data", "etc", max_time="60s")
    assert [proofs[name].verdict for name in ("data", "etc")] == [Verdict.REFUSED, Verdict.REFUSED]
    assert len(site.restored) == len(site.listed) == 1


def test_nothing_is_restored_of_a_point_whose_list_took_all_of_max_time(site: Site) -> None:
    site.listing = 60
    assert site.drill("etc", max_time="60s")["etc"].left_out == ("etc: max_time was over",)
    assert (len(site.listed), site.restored) == (1, [])


def test_a_restore_is_ended_in_the_middle_of_it(site: Site) -> None:
    went_on = False

    def during(tell: Callable[[Progress], None]) -> None:
        nonlocal went_on
        tell(Progress(percent=10))
        site.now = 60
        tell(Progress(percent=20))
        went_on = True

    site.during = during
    assert site.drill("etc", max_time="60s")["etc"].left_out == ("etc: max_time was over",)
    assert not went_on


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_program_that_looks_at_a_dump_is_ended_with_its_time(tmp_path: Path, seconds: float) -> None:
    us = User(os.geteuid(), os.getegid(), "us")
    with pytest.raises(Late, match="max_time was over while sleep worked") as late:
        run(["sleep", "600"], tmp_path, us, seconds)
    assert late.value.limit and scratch.working_in([tmp_path]) == []


# The job of another machine


def played_df(folder: Path, free: int) -> dict[str, str]:
    """An environment whose df says so. free: KiB."""
    df = folder / "programs/df"
    df.parent.mkdir()
    df.write_text(
        f"#!/bin/sh\necho Filesystem 1024-blocks Used Available Capacity Mounted on\necho x 9 9 {free} 1% /\n"
    )
    df.chmod(0o755)
    return {**os.environ, "PATH": f"{df.parent}:{os.environ['PATH']}"}


GOES = """case "$*" in *--dry-run*) for one in a b; do echo '{"action":"unchanged"}'; done; exit 0;; esac
echo so >>"${0%/*}/restored"
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("lacks", "size", "said"),
    [(0, 3 * 1024, ""), (1, 3 * 1024, "drill1 has 268 MB free"), (4, 0, "drill1 has 268 MB free")],
)
def test_a_job_restores_nothing_where_it_would_take_what_is_kept_free(
    tmp_path: Path, lacks: int, size: int, said: str
) -> None:
    job, asked = begun(tmp_path, GOES, FILES.model_copy(update={"bytes": size}))
    env = played_df(tmp_path, RESERVE // 1024 + 3 - lacks)
    done = subprocess.run(["sh", job], capture_output=True, check=True, env=env).stdout
    found, _ = tried(asked, 0, output.read(done, asked), ACCESS)
    assert (found.verdict is Verdict.REFUSED) == (said != "") and said in found.reason, found
    assert (tmp_path / "restored").exists() == (said == "")


@pytest.mark.thorough
def test_a_job_comes_to_its_end_though_what_watches_did_not_hear_that_it_is_to_end(tmp_path: Path) -> None:
    """A shell that is just about to start it loses what it is told: the job waited for ever."""
    job, asked = begun(tmp_path, GOES, FILES)
    python = tmp_path / "programs/python3"
    python.parent.mkdir()
    deaf = 'trap told=1 TERM; until [ -n "$told" ]; do sleep 0.05; done; trap - TERM'
    python.write_text(f'#!/bin/sh\ncase "$*" in *" watch "*) {deaf};; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", job], capture_output=True, check=True, env=env, timeout=120).stdout
    found, _ = tried(asked, 0, output.read(done, asked), ACCESS)
    assert found.verdict is Verdict.SUCCEEDED and (tmp_path / "restored").exists(), found


@pytest.mark.thorough
def test_a_job_whose_time_is_over_restores_nothing(tmp_path: Path) -> None:
    job, asked = begun(tmp_path, GOES, FILES)
    text = job.read_text()
    assert f"+ {int(asked.seconds)}))" in text
    job.write_text(text.replace(f"+ {int(asked.seconds)}))", "+ 0))"))
    done = subprocess.run(["sh", job], capture_output=True, check=True).stdout
    found, _ = tried(asked, 0, output.read(done, asked), ACCESS)
    assert (found.verdict, found.left_out) == (Verdict.REFUSED, ("etc: max_time was over",))
    assert not (tmp_path / "restored").exists()


def test_what_is_kept_free_is_more_than_what_may_be_written_unseen() -> None:
    assert RESERVE // 2 > SPARE

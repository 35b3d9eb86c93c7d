"""How often a restore asks restic: what reads all of it is done once, unless something is not as it should be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.fleet.system import wait_until
from tests.unit.recovery.points import before, point
from tests.unit.recovery.restore.repositories import Book, World, tree

from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.listings import RECENT, Listings
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.restic.contract import Restic, Unreachable
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore import far, output
from mainstay.recovery.restore.choosing import Wanted, choose
from mainstay.recovery.restore.comparing import TICK, Compared, Verified, compare
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.order import CONTROLLER, Piece, RestoreOrder

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOKEN = "t" * 32


@dataclass
class Told:
    """A restic that notes what it is asked for."""

    restic: Restic
    asked: list[str]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.restic, name)
        if not callable(found):
            return found

        def call(*words: Any, **more: Any) -> Any:
            how = [one for one in ("verify", "dry") if more.get(one)]
            self.asked.append(" ".join([name, *how]))
            answer = found(*words, **more)
            ended = time.time_ns()
            # Not within what a file's own time is exact to: then it would be looked at once more.
            wait_until(lambda: time.time_ns() > ended + 2 * TICK, "the clock goes on", deadline=60)
            return answer

        return call


def told(depot: Depot) -> tuple[Depot, list[str]]:
    asked: list[str] = []
    return replace(depot, restic=lambda access: cast(Restic, Told(depot.restic(access), asked))), asked


def order(world: World, depot: Depot, to: Path) -> RestoreOrder:
    pieces = choose(Wanted("web1", source="files"), depot, world.repositories).pieces
    return RestoreOrder(host="web1", on=CONTROLLER, to=str(to), pieces=pieces, repositories=world.repositories)


@pytest.mark.server
def test_what_is_well_is_listed_and_read_again_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    data = tree(tmp_path / "data", {"a": os.urandom(3000), "sub/b": "b", "empty": ""})
    (data / "hard").hardlink_to(data / "a")
    (data / "soft").symlink_to("a")
    world.backup(data)
    depot, asked = told(world.depot)
    errand = RestoreErrand(order(world, depot, tmp_path / "into"), depot)
    book = Book()

    host = Host(name="web1", address="192.0.2.1")
    errand.work(book.desk(), errand.preview(host, 0.0))
    measured = book.measures["restored files"]
    assert (measured["files"], measured["verified"], measured["differing"]) == (4, 4, {})
    assert asked == ["ls", "restore verify"]


@pytest.mark.server
def test_what_restic_may_not_have_read_again_is_read_by_another(tmp_path: Path) -> None:
    world = World(tmp_path)
    data = tree(tmp_path / "data", {"a": "one", "b": "two"})
    made = world.backup(data)
    restic, asked = (lambda depot: (depot[0].open(world.repositories["main"], "web1"), depot[1]))(told(world.depot))
    into = tmp_path / "into"
    restic.restore(made.id, str(into))
    there = into / str(data).lstrip("/") / "a"
    was = there.stat()
    there.write_text("eno")
    os.utime(there, ns=(was.st_atime_ns, was.st_mtime_ns))
    good = Verified(files=2, bytes=6, at=time.time_ns() + 10**12)
    assert compare(restic, made.id, str(into), (), good).ok, "a time to come tells of it"
    assert asked == ["restore", "ls"]
    for bad in (replace(good, files=1), replace(good, bytes=5), replace(good, at=there.stat().st_ctime_ns)):
        del asked[:]
        assert compare(restic, made.id, str(into), (), bad).differing == {str(data / "a"): "its content is another"}
        assert asked == ["ls", "restore dry"], bad


def read(*lines: str) -> output.PieceSaid:
    text = "\n".join(line.replace("@", f"@mainstay {TOKEN} ") if line.startswith("@") else line for line in lines)
    return output.read(text.encode(), TOKEN).pieces[0]


SUMMARY = '{"message_type":"summary","total_files":3,"files_skipped":1,"total_bytes":70,"bytes_skipped":30}'


def test_a_job_tells_what_restic_has_read_again() -> None:
    said = read("@begin 0 100", SUMMARY, "@restored 0 0", "@verified 0 107", "@done")
    assert (said.verified, said.files, said.bytes, said.seconds, said.compared) == (True, 4, 100, 7, None)
    said = read("@begin 0 100", SUMMARY, "@restored 0 1", SUMMARY.replace("70", "9"), "@compared 0 0 2 107", "@done")
    assert (said.verified, said.bytes, said.compared, said.same) == (False, 100, 0, 2)


@pytest.mark.parametrize(
    ("files", "size", "shared", "well"), [(4, 100, 0, True), (5, 100, 0, False), (4, 101, 0, False), (4, 120, 20, True)]
)
def test_files_that_restic_can_t_have_read_again_are_no_success(files: int, size: int, shared: int, well: bool) -> None:
    piece = Piece(point=point(before(hours=1)), files=2)
    found = Compared(files=files, bytes=size, entries=files, shared=shared)
    wrong = far.judge(piece, found, {"verified": {"files": 4, "bytes": 100}, "compared": None})
    assert (wrong == []) is well and all("read 100 B again" in one for one in wrong)
    assert far.judge(piece, found, {"verified": {}, "compared": None}), "neither the one nor the other"


@dataclass
class Listed:
    """A repository's address, and what each of its snapshots holds: so many files."""

    url: str = "/srv/one"
    files: int = 3
    asked: int = 0
    nodes: list[Node] = field(default_factory=list)

    @property
    def access(self) -> Listed:
        return self

    def ls(self, snapshot: str, each: Callable[[Node], None], paths: Any, *, patient: bool = True) -> int:
        self.asked += 1
        for number in range(self.files):
            each(Node(path=f"/{snapshot}/{number}", type="file"))
        return self.files


def test_a_listing_is_kept_for_what_it_was_asked_for_alone() -> None:
    restic, other = Listed(), Listed("/srv/other")
    listings = Listings(most=7)

    def names(snapshot: str, *paths: str, of: Listed = restic) -> list[str]:
        found: list[str] = []
        listings.ls(cast(Restic, of), snapshot, lambda node: found.append(node.path), paths)
        return found

    def keep(snapshot: str, *paths: str) -> None:
        listings.keep(cast(Restic, restic), snapshot, lambda node: None, paths, NOW)

    keep("s1", "/etc")
    assert names("s1", "/etc") == ["/s1/0", "/s1/1", "/s1/2"] and restic.asked == 1
    names("s1")
    names("s1", "/var")
    names("s2", "/etc")
    names("s1", "/etc", of=other)
    assert (restic.asked, other.asked) == (4, 1)
    # The oldest goes where there are too many; what is too large alone is never kept.
    keep("s2")
    keep("s3")
    restic.asked = 0
    assert names("s3") == ["/s3/0", "/s3/1", "/s3/2"] and names("s2") and restic.asked == 0
    assert names("s1", "/etc") and restic.asked == 1
    restic.files = 8
    keep("s4")
    assert len(names("s4")) == 8 and restic.asked == 3


def test_a_point_counts_as_seen_for_moments_alone() -> None:
    restic, listings = cast(Restic, Listed()), Listings()
    listings.keep(restic, "s1", lambda node: None, ("/etc",), NOW)
    assert listings.seen(restic, "s1", ("/etc",), NOW) and listings.seen(restic, "s1", ("/etc",), NOW + RECENT)
    assert not listings.seen(restic, "s1", ("/etc",), NOW + RECENT + timedelta(seconds=1))
    assert not listings.seen(restic, "s1", ("/etc",), NOW - timedelta(seconds=1))
    assert not listings.seen(restic, "s1", (), NOW) and not listings.seen(restic, "s2", ("/etc",), NOW)


RETRIES = """#!/bin/sh
[ "$1" != version ] || { echo "restic 0.18.0 compiled with go1.24"; exit 0; }
for turn in 1 2 3; do echo "Load(<index/ab>) returned error, retrying after 20s: dial tcp: connection refused" >&2; done
echo '{"struct_type":"node","path":"/a","type":"file","size":3}'
"""


def test_what_can_t_be_reached_when_it_is_chosen_from_is_not_waited_for(tmp_path: Path) -> None:
    program = tmp_path / "restic"
    program.write_text(RETRIES)
    program.chmod(0o755)
    access = Access("main", "web1", str(tmp_path / "main"), Secret("secret"), "write", "path")
    restic, id = opener(Program(path=str(program), nice=0, retries=30.0))(access), "a" * 64
    assert restic.ls(id, lambda node: None) == 1, "after a restore of hours it is"
    with pytest.raises(Unreachable, match=r"no answer: .*connection refused"):
        Listings().keep(restic, id, lambda node: None, (), NOW)

"""One suite for every `Restic`: the program (each version that mainstay takes), and the fake."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import pytest
from tests.servers.repository import make_repository
from tests.servers.restic import restic

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.restic.contract import (
    READ_ALL,
    NoRepository,
    NothingRestored,
    Open,
    Partial,
    ResticError,
    WrongPassword,
)
from mainstay.recovery.restic.fake import Memory
from mainstay.recovery.restic.replies import Node

PASSWORD = "vault-canary-61e0"
NOBODY = "0" * 64
ODD = "/srv/$(id) [x]*? 'ü'/file"
TREE = {"/srv/data/a": b"a" * 5000, "/srv/data/deep/b": b"b\n", "/srv/other": b"o", ODD: b"odd"}


class World(Protocol):
    """Storage, and hosts that back up to it."""

    open: Open

    def made(self, name: str) -> Access:
        """A new repository."""

    def place(self, name: str) -> Access:
        """Where there is none yet."""

    def back_up(
        self, to: Access, tree: Mapping[str, bytes], *, host: str = "web1", tags: Sequence[str] = (), at: str = ""
    ) -> str: ...


def _access(url: str) -> Access:
    return Access("vault", "web1", url, Secret(PASSWORD), "maintain", "path")


@dataclass
class InMemory:
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.open: Open = self.memory.open

    def place(self, name: str) -> Access:
        return _access(f"/{name}")

    def made(self, name: str) -> Access:
        self.memory.make(self.place(name))
        return self.place(name)

    def back_up(
        self, to: Access, tree: Mapping[str, bytes], *, host: str = "web1", tags: Sequence[str] = (), at: str = ""
    ) -> str:
        return self.memory.make(to).back_up(tree, host=host, tags=tags, at=at or "2026-01-01T00:00:00.000Z")


@dataclass
class Real:
    """root: what the hosts see as `/`; restic is run with it as its root, so that paths are the same for both worlds."""

    folder: Path
    program: Path

    def __post_init__(self) -> None:
        self.open: Open = opener(Program(str(self.program), cache=self.folder / "cache", nice=0))

    def place(self, name: str) -> Access:
        return _access(str(self.folder / name))

    def made(self, name: str) -> Access:
        make_repository(self.folder / name, PASSWORD)
        return self.place(name)

    def back_up(
        self, to: Access, tree: Mapping[str, bytes], *, host: str = "web1", tags: Sequence[str] = (), at: str = ""
    ) -> str:
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        for path, content in tree.items():
            (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / path.lstrip("/")).write_bytes(content)
        env = {**os.environ, "RESTIC_REPOSITORY": to.url, "RESTIC_PASSWORD": PASSWORD}
        env["RESTIC_CACHE_DIR"] = str(self.folder / "cache")
        words = [word for tag in tags for word in ("--tag", tag)] + (
            ["--time", at.replace("T", " ")[:19]] if at else []
        )
        argv = [str(self.program), "backup", "--json", "--host", host, *words, "."]
        done = subprocess.run(argv, cwd=root, env=env, capture_output=True, check=True, timeout=120)
        before = {one.id for one in self.open(to).snapshots()}
        assert done.stdout
        return next(id for id in before if id in done.stdout.decode())


def _world(which: Literal["memory", "oldest", "newest"], folder: Path) -> World:
    return InMemory() if which == "memory" else Real(folder, restic(which))


@pytest.fixture(params=["memory", "oldest", pytest.param("newest", marks=pytest.mark.long)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return _world(request.param, tmp_path)


@pytest.fixture(params=["memory", "newest", pytest.param("oldest", marks=pytest.mark.long)])
def slow_world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """For what makes restic measure how fast this machine derives a key: seconds, on purpose."""
    return _world(request.param, tmp_path)


SLOW = pytest.mark.parametrize(
    "slow_world",
    ["memory", *(pytest.param(name, marks=pytest.mark.long) for name in ("oldest", "newest"))],
    indirect=True,
)


def test_a_place_without_a_repository_is_told_apart_and_one_is_made_once(slow_world: World) -> None:
    here = slow_world.open(slow_world.place("new"))
    assert here.identity() is None
    with pytest.raises(NoRepository):
        here.snapshots()

    made = here.init()

    assert here.identity() == made and len(made) == 64
    with pytest.raises(ResticError, match="already"):
        here.init()
    assert here.identity() == made
    assert here.snapshots() == []


@SLOW
def test_one_that_is_to_be_copied_to_cuts_data_as_the_other_does(slow_world: World) -> None:
    vault = slow_world.made("vault")
    id = slow_world.back_up(vault, TREE)
    there = slow_world.open(slow_world.place("away"))

    made = there.init(like=vault)

    assert made == there.identity() != slow_world.open(vault).identity()
    assert list(there.copy(vault, [id])) == [id]


def test_a_wrong_password_is_said_and_changes_nothing(world: World) -> None:
    right = world.made("vault")
    wrong = world.open(replace(right, password=Secret("not-it-9912")))

    for ask in (wrong.identity, wrong.snapshots, wrong.locks, wrong.prune):
        with pytest.raises(WrongPassword) as caught:
            ask()
        assert "not-it-9912" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    with pytest.raises(ResticError):
        wrong.init()
    assert world.open(right).snapshots() == []


@SLOW
def test_a_further_password_opens_the_same_repository(slow_world: World) -> None:
    first = slow_world.made("vault")
    slow_world.open(first).add_key(Secret("second-8831"), user="escrow", host="safe")

    second = slow_world.open(replace(first, password=Secret("second-8831")))

    assert second.identity() == slow_world.open(first).identity()
    keys = second.keys()
    assert sorted((key.user, key.current) for key in keys) == [("escrow", True), ("root", False)]


def test_snapshots_are_found_by_all_of_their_tags_and_by_host(world: World) -> None:
    vault = world.made("vault")
    one = world.back_up(vault, TREE, tags=["run=1", "plan=n"], at="2026-01-02T00:00:00.000Z")
    two = world.back_up(vault, TREE, tags=["run=2", "plan=n"], host="web2", at="2026-01-01T00:00:00.000Z")
    here = world.open(vault)

    assert [found.id for found in here.snapshots()] == [two, one]
    assert [found.id for found in here.snapshots(tags=["run=1", "plan=n"])] == [one]
    assert [found.id for found in here.snapshots(tags=["plan=n"], host="web2")] == [two]
    assert here.snapshots(tags=["run=1"], host="web2") == []
    newest = here.snapshots()[-1]
    assert newest.host == "web1" and newest.tagged("run") == "1" and newest.tagged("none") == ""
    assert newest.summary is not None
    assert (newest.summary.files, newest.summary.bytes) == (4, 5006)
    assert here.stats().snapshots == 2 and here.stats([one]).bytes > 0


def test_what_is_removed_is_named_in_full_and_only_that_goes(world: World) -> None:
    vault = world.made("vault")
    ids = [world.back_up(vault, {"/a": bytes([n])}) for n in range(3)]
    here = world.open(vault)

    for bad in ("latest", ids[0][:8], ids[0].upper(), ""):
        with pytest.raises(ValueError, match="no full id"):
            here.forget([ids[1], bad])
    assert here.forget([]) == []
    assert here.forget([NOBODY]) == []
    assert here.forget([ids[0], NOBODY, ids[0]]) == [ids[0]]
    freed = here.prune()

    assert freed is not None and freed > 0 == here.prune()

    assert {one.id for one in here.snapshots()} == set(ids[1:])
    assert here.check(READ_ALL).sound


def test_a_repository_that_is_sound_is_said_to_be(world: World) -> None:
    vault = world.made("vault")
    world.back_up(vault, TREE)
    here = world.open(vault)

    for part in (None, (1, 2), READ_ALL):
        found = here.check(part)
        assert found.sound and found.errors == 0 and found.broken_packs == ()


def test_a_copy_is_found_again_and_made_once(world: World) -> None:
    vault, away = world.made("vault"), world.made("away")
    ids = [world.back_up(vault, {"/a": bytes([n])}, tags=[f"run={n}"]) for n in range(2)]
    there = world.open(away)

    first = there.copy(vault, ids[:1])
    both = there.copy(vault, ids)

    assert first == {ids[0]: both[ids[0]]}
    assert sorted(both) == sorted(ids)
    assert {one.id: one.original for one in there.snapshots()} == {copy: id for id, copy in both.items()}
    assert {one.tagged("run") for one in there.snapshots()} == {"0", "1"}
    with pytest.raises(Partial, match="1 of 2"):
        there.copy(vault, [ids[0], NOBODY])


def test_a_restore_gives_back_what_was_asked_for_and_nothing_else(world: World, tmp_path: Path) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)

    done = here.restore(id, str(tmp_path / "some"), include=[ODD, "/srv/data/deep"], verify=True)
    whole = here.restore(id, str(tmp_path / "all"))

    assert _files(tmp_path / "some") == {path: TREE[path] for path in (ODD, "/srv/data/deep/b")}
    assert (done.bytes, done.bytes_restored) == (5, 5)
    assert _files(tmp_path / "all") == TREE
    assert whole.bytes_restored == 5006
    here.restore(id, str(tmp_path / "part"), subfolder="/srv/data")
    assert _files(tmp_path / "part") == {"/a": TREE["/srv/data/a"], "/deep/b": b"b\n"}


def test_a_restore_of_what_is_not_there_is_no_success(world: World, tmp_path: Path) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)

    with pytest.raises(NothingRestored):
        here.restore(id, str(tmp_path / "none"), include=["/nomatch", "/srv/dat"])
    with pytest.raises(ResticError):
        here.restore(NOBODY, str(tmp_path / "none"))
    assert _files(tmp_path / "none") == {}


def test_a_dry_restore_says_what_it_would_do_and_writes_nothing(world: World, tmp_path: Path) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)
    for path, content in {"srv/other": b"o", "srv/data/a": b"changed since"}.items():
        (tmp_path / "to" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "to" / path).write_bytes(content)
    os.utime(tmp_path / "to/srv/other", (1, 1))
    before = _files(tmp_path / "to")
    seen: dict[str, str] = {}

    here.restore(id, str(tmp_path / "to"), dry=True, touched=lambda what, path: seen.update({path: what}))

    assert _files(tmp_path / "to") == before
    told = {path: seen.get(path) for path in TREE}
    assert told == {
        "/srv/other": "unchanged",
        "/srv/data/a": "updated",
        "/srv/data/deep/b": "restored",
        ODD: "restored",
    }


def test_what_is_there_already_as_it_should_be_counts_as_restored(world: World, tmp_path: Path) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)
    here.restore(id, str(tmp_path / "to"))

    again = here.restore(id, str(tmp_path / "to"), include=["/srv/other"])

    assert again.skipped == 1


def test_a_file_comes_as_a_stream_and_a_folder_as_an_archive(world: World) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)
    one, folder = io.BytesIO(), io.BytesIO()

    assert here.dump(id, "/srv/data/a", one) == 5000
    assert here.dump(id, ODD, io.BytesIO()) == 3
    here.dump(id, "/srv/data", folder)

    assert one.getvalue() == TREE["/srv/data/a"]
    with tarfile.open(fileobj=io.BytesIO(folder.getvalue())) as archive:
        assert {entry.name.lstrip("/") for entry in archive if entry.isfile()} == {"srv/data/a", "srv/data/deep/b"}
    with pytest.raises(ResticError, match="not found"):
        here.dump(id, "/nosuch", io.BytesIO())


def test_a_stream_that_can_not_be_taken_is_no_success(world: World) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    vault = world.made("vault")
    id = world.back_up(vault, TREE)

    with pytest.raises(OSError, match="No space left"):
        world.open(vault).dump(id, "/srv/data/a", Full())


def test_what_is_in_a_snapshot_is_told_entry_by_entry(world: World) -> None:
    vault = world.made("vault")
    id = world.back_up(vault, TREE)
    here = world.open(vault)
    all_of_it: list[Node] = []
    some: list[Node] = []

    assert here.ls(id, all_of_it.append) == len(all_of_it)
    here.ls(id, some.append, ["/srv/data"])

    assert {node.path: node.size for node in all_of_it if node.type == "file"} == {k: len(v) for k, v in TREE.items()}
    assert {node.path for node in some} >= {"/srv/data/a", "/srv/data/deep", "/srv/data/deep/b"}
    assert ODD not in {node.path for node in some}
    assert here.ls(id, some.append, ["/nosuch"]) == 0
    assert [(where, node.path) for where, node in here.find("/srv/*/a", [id])] == [(id, "/srv/data/a")]
    assert {node.path for _, node in here.find("deep")} == {"/srv/data/deep", "/srv/data/deep/b"}
    assert here.find("nothing-of-that-name") == []


def test_a_repository_without_locks_says_so(world: World) -> None:
    here = world.open(world.made("vault"))

    assert here.locks() == []
    assert here.unlock([NOBODY]) == []
    with pytest.raises(ValueError, match="no full id"):
        here.unlock(["../config"])


def _files(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}

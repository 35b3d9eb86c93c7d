"""Restores onto the controller, of real repositories by real restic."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.recovery.restore.repositories import Book, World, packs, tree

from mainstay.inventory.errors import MainstayError, Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.contract import WrongPassword
from mainstay.recovery.restore.choosing import Elsewhere, Wanted, choose
from mainstay.recovery.restore.comparing import compare
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.order import CONTROLLER, Piece, RestoreOrder
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.server

WEB1 = Host(name="web1", address="192.0.2.1")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def order(world: World, to: Path, *pieces: Piece, confirmed: bool = False) -> RestoreOrder:
    return RestoreOrder(
        host="web1", on=CONTROLLER, to=str(to), pieces=pieces, repositories=world.repositories, confirmed=confirmed
    )


def whole(world: World, point: RecoveryPoint, *paths: Path) -> Piece:
    files = [path for top in (paths or map(Path, point.paths)) for path in (top.rglob("*") if top.is_dir() else [top])]
    there = [path for path in files if path.is_file() and not path.is_symlink()]
    return Piece(
        point=point,
        paths=tuple(map(str, paths)),
        files=len(there),
        bytes=sum(path.stat().st_size for path in there),
    )


def do(world: World, wanted: RestoreOrder, book: Book | None = None) -> tuple[str, Book, Forecast]:
    book = book or Book()
    errand = RestoreErrand(wanted, world.depot)
    forecast = errand.preview(WEB1, 0.0)
    return errand.work(book.desk(), forecast), book, forecast


def test_a_folder_comes_back_with_modes_owners_and_times_and_is_compared(world: World) -> None:
    etc = tree(world.folder / "etc", {"nginx/a.conf": "a" * 3000, "nginx/b.conf": "b", "hosts": "h"})
    (etc / "nginx/a.conf").chmod(0o640)
    os.chown(etc / "nginx/b.conf", 33, 33)
    (etc / "nginx/on").symlink_to("a.conf")
    os.utime(etc / "nginx/a.conf", (1e9, 1e9 + 0.123456))
    point = world.backup(etc)
    into = world.folder / "into"
    said, book, forecast = do(world, order(world, into, whole(world, point, etc / "nginx")))
    back = into / str(etc).lstrip("/") / "nginx"
    assert (back / "a.conf").read_text() == "a" * 3000
    assert (back / "a.conf").stat().st_mode & 0o7777 == 0o640
    assert (back / "a.conf").stat().st_mtime == pytest.approx(1e9 + 0.123456, abs=1e-6)
    assert (back / "b.conf").stat().st_uid == 33
    assert (back / "on").readlink() == Path("a.conf")
    assert not (back.parent / "hosts").exists()
    assert (into.stat().st_mode & 0o7777) == 0o700
    assert forecast.refused == "" and not forecast.limits
    measured = book.measures["restored files"]
    assert (measured["files"], measured["verified"], measured["bytes"]) == (2, 2, 3001)
    assert (measured["point"], measured["of"], measured["repository"]) == (point.id, "web1", "main")
    assert (measured["paths"], measured["to"]) == ([str(etc / "nginx")], str(into))
    assert said.startswith("2 files, 3.0 kB in ")
    assert book.concerns == []


def test_what_is_there_is_named_before_and_needs_the_name_of_the_host(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one", "b": "two", "same": "same"})
    point = world.backup(etc)
    into = world.folder / "into"
    piece = whole(world, point)
    do(world, order(world, into, piece))
    there = into / str(etc).lstrip("/")
    (there / "a").write_text("changed")
    (there / "b").write_text("tow")  # as long as it was
    errand = RestoreErrand(order(world, into, piece), world.depot)
    forecast = errand.preview(WEB1, 0.0)
    assert "--confirm=web1" in forecast.refused
    assert [name for name, _, _ in forecast.items] == [str(there / "a"), str(there / "b")]
    assert "2 existing files differ and are overwritten" in forecast.limits[0]
    assert any("1 file there already" in note for note in forecast.notes)
    with pytest.raises(Stopped, match="is not empty") as stopped:
        errand.work(Book().desk(), forecast)
    assert stopped.value.verdict is Verdict.REFUSED
    assert (there / "a").read_text() == "changed"
    do(world, order(world, into, piece, confirmed=True))
    assert (there / "a").read_text() == "one" and (there / "b").read_text() == "two"


def test_a_name_that_is_no_utf_8_is_compared_by_its_content_and_nothing_is_red(world: World) -> None:
    """restic prints U+FFFD in such names, so that its listing names no file that there is."""
    etc = tree(world.folder / "etc", {"ok": "fine"})
    Path(os.fsdecode(os.fsencode(etc) + b"/caf\xe9")).write_text("x" * 1000)
    point = world.backup(etc)
    into = world.folder / "into"
    piece = whole(world, point)
    said, _, _ = do(world, order(world, into, piece))
    back = Path(os.fsdecode(os.fsencode(into / str(etc).lstrip("/")) + b"/caf\xe9"))
    assert back.read_text() == "x" * 1000 and said.startswith("2 files")
    back.write_text("y" * 1000)
    found = compare(world.depot.open(world.repositories["main"], "web1"), point.id, str(into))
    assert (found.files, found.differing_count) == (2, 1)


@pytest.mark.long
def test_over_the_running_system_is_said(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    (etc / "a").write_text("lost")
    wanted = order(world, Path("/"), whole(world, point))
    forecast = RestoreErrand(wanted, world.depot).preview(WEB1, 0.0)
    assert "--confirm=web1" in forecast.refused and forecast.limits[0] == "it goes over the running system: /"
    _, _, forecast = do(world, wanted.model_copy(update={"confirmed": True}))
    assert forecast.refused == ""
    assert (etc / "a").read_text() == "one"


def test_nothing_that_matches_is_a_failure(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    with pytest.raises(Stopped, match="nothing of what was asked for"):
        do(world, order(world, world.folder / "into", Piece(point=point, paths=("/nothing",))))
    with pytest.raises(Refused, match=r"None of .* that could be meant holds"):
        choose(Wanted("web1", (f"{etc}/gone",)), world.depot, world.repositories)


def test_a_damaged_file_fails_and_the_rest_is_there(world: World) -> None:
    etc = tree(world.folder / "etc", {f"f{n}": os.urandom(20_000) for n in range(3)})
    point = world.backup(etc)
    big = max(packs(world.folder / "main"), key=lambda path: path.stat().st_size)
    content = bytearray(big.read_bytes())
    content[100] ^= 0xFF
    big.chmod(0o600)
    big.write_bytes(content)
    book = Book()
    with pytest.raises(Stopped, match=r"not as in the repository: .*/etc/f") as stopped:
        do(world, order(world, world.folder / "into", whole(world, point)), book)
    assert stopped.value.verdict is Verdict.FAILED
    measured = book.measures["restored files"]
    assert len(measured["differing"]) == 1 and measured["verified"] == 2


def test_what_changes_a_file_after_restic_is_found(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one", "b": "two"})
    point = world.backup(etc)
    into = world.folder / "into"
    back = into / str(etc).lstrip("/")

    def before(step: str) -> None:
        if step == "compare":
            was = (back / "a").stat()
            (back / "a").write_text("eno")
            os.utime(back / "a", ns=(was.st_atime_ns, was.st_mtime_ns))
            (back / "b").chmod(0o777)

    with pytest.raises(Stopped, match="a \\(its content is another\\)"):
        do(world, order(world, into, whole(world, point)), Book(before=before))


@pytest.mark.long
def test_a_mode_that_is_another_is_something_to_look_at(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    into = world.folder / "into"

    def before(step: str) -> None:
        if step == "compare":
            (into / str(etc).lstrip("/") / "a").chmod(0o777)

    _, book, _ = do(world, order(world, into, whole(world, point)), Book(before=before))
    assert "1 file with another mode or time" in book.concerns[0] and "mode 777" in book.concerns[0]


def test_a_target_through_a_symlink_of_somebody_else_is_refused(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    link = world.folder / "link"
    link.symlink_to(elsewhere)
    os.chown(link, 33, 33, follow_symlinks=False)
    with pytest.raises(Refused, match="symlink that somebody else may change"):
        do(world, order(world, link / "into", whole(world, point)))
    os.chown(link, 0, 0, follow_symlinks=False)
    do(world, order(world, link / "into", whole(world, point)))
    assert (elsewhere / "into" / str(etc).lstrip("/") / "a").exists()
    open_to_all = world.folder / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    (open_to_all / "link").symlink_to(elsewhere)
    with pytest.raises(Refused, match="symlink that somebody else may change"):
        do(world, order(world, open_to_all / "link", whole(world, point), confirmed=True))


def test_a_symlink_in_the_target_does_not_lead_out_of_it(world: World) -> None:
    etc = tree(world.folder / "etc", {"sub/a": "one", "b": "two"})
    point = world.backup(etc)
    into, outside = world.folder / "into", tree(world.folder / "outside", {"a": "mine", "b": "mine"})
    there = into / str(etc).lstrip("/")
    there.mkdir(parents=True)
    (there / "sub").symlink_to(outside)
    (there / "b").symlink_to(outside / "b")
    do(world, order(world, into, whole(world, point), confirmed=True))
    assert (outside / "a").read_text() == "mine" and (outside / "b").read_text() == "mine"
    assert (there / "sub/a").read_text() == "one" and not (there / "sub").is_symlink()
    assert (there / "b").read_text() == "two"


def test_a_wrong_password_changes_nothing(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    world.passwords["file:main"] = "wrong"
    with pytest.raises(WrongPassword):
        choose(Wanted("web1", (str(etc),)), world.depot, world.repositories)
    with pytest.raises(Stopped, match="password"):
        do(world, order(world, world.folder / "into", whole(world, point)))
    assert list((world.folder / "into").iterdir()) == []


# Which point


def test_the_newest_good_point_before_the_moment_that_holds_it(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "monday"})
    monday = world.backup(etc, at=NOW - timedelta(days=3))
    (etc / "a").write_text("tuesday")
    (etc / "new").write_text("n")
    tuesday = world.backup(etc, at=NOW - timedelta(days=2))
    (etc / "a").unlink()
    wednesday = world.backup(etc, at=NOW - timedelta(days=1))
    strange = world.backup(etc, at=NOW, verdict=Verdict.DEGRADED, anomalies=["shrank by 95 %"])

    def chosen(**wanted: Any) -> RecoveryPoint:
        asked = Wanted(**{"host": "web1", "paths": (f"{etc}/a",), **wanted})
        (piece,) = choose(asked, world.depot, world.repositories).pieces
        return piece.point

    assert chosen() == tuesday
    assert chosen(at=NOW - timedelta(days=2, hours=1)) == monday
    choice = choose(Wanted("web1", (f"{etc}/new",)), world.depot, world.repositories)
    assert choice.pieces[0].point == wednesday
    assert any("degraded and was passed over" in note and strange.id[:12] in note for note in choice.notes)
    asked = Wanted("web1", (f"{etc}/new",), point=strange.id[:12])
    choice = choose(asked, world.depot, world.repositories)
    assert choice.pieces[0].point == strange and "shrank by 95 %" in choice.notes[0]
    with pytest.raises(UsageError, match="no point so old") as none:
        chosen(at=NOW - timedelta(days=9))
    assert monday.id[:12] in (none.value.hint or "")
    with pytest.raises(UsageError, match="Nothing of web9 was ever backed up"):
        chosen(host="web9")
    with pytest.raises(UsageError, match="no point of source db") as none:
        chosen(source="db")
    assert "It has points of files (nightly, in main)." in (none.value.hint or "")


@pytest.mark.long
def test_paths_of_several_sources_come_from_several_points(world: World) -> None:
    etc, data = tree(world.folder / "etc", {"a": "one"}), tree(world.folder / "data", {"b": "two"})
    world.backup(etc)
    world.backup(data, source="data")
    choice = choose(Wanted("web1", (f"{etc}/a", f"{data}/b")), world.depot, world.repositories)
    assert [piece.paths for piece in choice.pieces] == [(f"{etc}/a",), (f"{data}/b",)]
    into = world.folder / "into"
    do(world, order(world, into, *choice.pieces))
    assert (into / str(data).lstrip("/") / "b").read_text() == "two"
    assert (into / str(etc).lstrip("/") / "a").read_text() == "one"


def test_another_repository_is_taken_only_where_somebody_asks_for_it(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    point = world.backup(etc)
    copy = world.backup(etc, name="offsite", at=datetime.fromisoformat(point.at), copy_of=point.id)
    wanted, from_copy = Wanted("web1", (str(etc),)), Wanted("web1", (str(etc),), repository="offsite")
    (world.folder / "main").rename(world.folder / "lost")
    with pytest.raises(Elsewhere, match="repository main can't be asked") as told:
        choose(wanted, world.depot, world.repositories)
    assert told.value.instead == (copy,)
    assert choose(from_copy, world.depot, world.repositories).pieces[0].point == copy
    by_id = replace(wanted, point=point.id[:12])
    with pytest.raises(Elsewhere) as told:
        choose(by_id, world.depot, world.repositories)
    assert told.value.instead == (copy,)
    (world.folder / "offsite").rename(world.folder / "also")
    with pytest.raises(MainstayError, match="repository main") as none:
        choose(wanted, world.depot, world.repositories)
    assert not isinstance(none.value, Elsewhere)
    # One that retention has removed where it was made is kept in the copy alone.
    (world.folder / "also").rename(world.folder / "offsite")
    world.points.mark_removed("main", [point.id], "run-9", NOW.isoformat())
    with pytest.raises(Elsewhere, match="none of the plans' own repositories") as told:
        choose(wanted, world.depot, world.repositories)
    assert told.value.instead == (copy,)


def test_of_two_plans_the_newest_counts_and_one_can_be_asked_for(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    nightly = world.backup(etc, at=NOW - timedelta(hours=8))
    hourly = world.backup(etc, name="near", plan="hourly", at=NOW - timedelta(hours=1))

    def chosen(**more: Any) -> RecoveryPoint:
        (piece,) = choose(Wanted("web1", (str(etc),), **more), world.depot, world.repositories).pieces
        return piece.point

    assert chosen() == hourly
    assert chosen(plan="nightly") == chosen(at=NOW - timedelta(hours=2)) == chosen(repository="main") == nightly
    with pytest.raises(UsageError, match="no point of plan nigthly") as none:
        chosen(plan="nigthly")
    assert (none.value.hint or "").startswith('Did you mean "nightly"? It has points of files (hourly, in near)')
    # The newest can't be had: the other plan's is older, and named as that.
    (world.folder / "near").rename(world.folder / "lost")
    with pytest.raises(Elsewhere, match="repository near can't be asked") as told:
        chosen()
    assert told.value.instead == (nightly,)


def test_a_point_that_is_gone_from_its_repository_is_passed_over(world: World) -> None:
    etc = tree(world.folder / "etc", {"a": "one"})
    old = world.backup(etc, at=NOW - timedelta(days=1))
    new = world.backup(etc, at=NOW)
    world.run("main", "forget", new.id)
    choice = choose(Wanted("web1", (str(etc),)), world.depot, world.repositories)
    assert choice.pieces[0].point == old
    assert any(new.id[:12] in note and "is gone" in note for note in choice.notes)

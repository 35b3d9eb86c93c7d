"""Going back as a pure decision over what was captured and what is there now."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay.runner.patching.change import Change, Conffile, PackageChange, Undo, UndoItem
from mainstay.runner.patching.contract import Installed, LogEntry, Old
from mainstay.runner.patching.others import foreign
from mainstay.runner.patching.reversal import back, limits, touched_by_hand


def item(**more: Any) -> UndoItem:
    return UndoItem.model_validate({"name": "web", "arch": "all", "to": "1", "brought": "2", **more})


def here(version: str | None, **more: Any) -> dict[str, Installed]:
    if version is None:
        return {}
    return {"web": Installed.model_validate({"name": "web", "arch": "all", "version": version, **more})}


@pytest.mark.parametrize(
    ("undo", "now", "goes"),
    [
        (item(), here("2"), [("2", "1")]),
        (item(), here("1"), []),  # back already
        (item(), here("1", state="half-configured"), [("1", "1")]),
        (item(), here("2", state="half-configured"), [("2", "1")]),
        (item(to=None), here("2"), [("2", None)]),  # was new with the run
        (item(to=None), here(None), []),
        (item(brought=None), here(None), [(None, "1")]),  # was removed by the run
        (item(where="missing", why="nowhere"), here("2"), []),
        (item(), here("2", held=True), []),
        (item(), here("3"), []),  # somebody else came later
        (item(), here(None), []),
    ],
)
def test_what_goes_back(undo: UndoItem, now: dict[str, Installed], goes: list[tuple[str | None, str | None]]) -> None:
    found = back(Undo(items=(undo,)), now, force=False)

    assert [(one.before, one.after) for one in found.items] == goes


def test_later_changes_and_holds_give_way_to_force_alone() -> None:
    later, held = back(Undo(items=(item(),)), here("3"), force=False), here("2", held=True)

    assert later.later == ["web is 3, the run had brought 2"]
    assert [one.after for one in back(Undo(items=(item(),)), here("3"), force=True).items] == ["1"]
    assert back(Undo(items=(item(),)), held, force=False).left_out[0].reason == "held"
    assert back(Undo(items=(item(),)), held, force=True).held == ("web",)


@pytest.mark.parametrize(("where", "pushed"), [("repository", False), ("captured", True), ("rebuilt", True)])
def test_captured_files_are_pushed(where: str, pushed: bool) -> None:
    found = back(Undo(items=(item(where=where, sha256="ab"),)), here("2"), force=False)

    assert [one.pushed for one in found.items] == [pushed]


@pytest.mark.parametrize(
    ("before", "now", "shipped", "touched"),
    [
        ("s1", "s2", "s2", False),  # replaced by the package
        ("mine", "mine", "s2", False),  # edited before, kept since
        ("s1", "mine", "s2", True),
        ("mine", "other", "s2", True),
        ("s1", None, "s2", False),  # deleted, or not readable: nothing is claimed
    ],
)
def test_only_what_was_edited_since_counts(before: str, now: str | None, shipped: str, touched: bool) -> None:
    noted = [Conffile(package="web", path="/etc/web", shipped="s1", now=before)]
    found = touched_by_hand(noted, [Conffile(package="web", path="/etc/web", shipped=shipped, now=now)])

    assert bool(found) is touched


def test_limits_say_what_going_back_cannot_do() -> None:
    undo = Undo(
        items=(
            item(name="postgresql-15"),
            item(name="gone", brought=None),
            item(name="new", to=None),
            item(name="lost", where="missing", why="nowhere"),
            item(name="made", where="rebuilt", sha256="ab"),
        )
    )
    now = {name: Installed(name=name, arch="all", version="2") for name in ("postgresql-15", "new", "lost", "made")}

    lines = limits(undo, back(undo, now, force=False), Old())

    for words in (
        "postgresql-15 has migrated",
        "gone was removed",
        "new was new",
        "lost stays",
        "made comes back from",
    ):
        assert any(words in line for line in lines), words


def entry(action: str, name: str, before: str | None, after: str | None) -> LogEntry:
    return LogEntry.model_validate({"at": "", "action": action, "name": name, "before": before, "after": after})


def test_what_neither_the_change_nor_its_way_back_explains_is_somebody_elses() -> None:
    change = Change(items=(PackageChange(name="web", before="1", after="2"),))
    log = [
        entry("upgrade", "web:all", "1", "2"),
        entry("upgrade", "web:all", "2", "1"),
        entry("upgrade", "web:all", "2", "3"),
        entry("upgrade", "curl:amd64", "7.1", "7.2"),
        entry("remove", "web:all", "3", None),
    ]

    assert foreign(log, change) == ("upgrade web:all 2 → 3", "upgrade curl:amd64 7.1 → 7.2", "remove web:all 3 → gone")

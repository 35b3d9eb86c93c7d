"""`mainstay check` looks ahead where the site itself is right; it touches no host, no network and no state."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import write_site

NIGHT = '{rrule: "FREQ=DAILY", start: "04:00", duration: 3h, cutoff: 45m}'
PLANS = "plans:\n  a: {targets: role=web, window: night}\n  b: {targets: web1, window: night, approval: required}\n"
KEY = "site: acme\ntimezone: Europe/Berlin\nssh: {user: ops}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


def warnings(mainstay: Mainstay, root: Path, **files: str) -> list[dict[str, object]]:
    result = mainstay("check", "--site", str(write_site(root, **files)), "--json")
    found: list[dict[str, object]] = json.loads(result.out)["warnings"]
    return [one for one in found if one["key"] != "ssh.key"]


def test_conflicts_are_warnings_at_their_place(root: Path, mainstay: Mainstay) -> None:
    found = warnings(mainstay, root, **{"schedules/web.yml": f"windows:\n  night: {NIGHT}\n{PLANS}"})
    assert [(one["file"], one["line"], one["key"]) for one in found] == [
        ("schedules/web.yml", 5, "plans.b.window"),
        ("schedules/web.yml", 5, "plans.b.approval"),
    ]
    assert "is open together with the plan a on web1" in str(found[0]["message"])
    assert all(one["hint"] for one in found)


def test_who_is_told_of_an_approval_is_not_warned_of(root: Path, mainstay: Mainstay) -> None:
    told = "notify: {on: [approval], command: /usr/local/bin/tell}\n"
    schedules = f"windows:\n  night: {NIGHT}\n{PLANS}"
    found = warnings(mainstay, root, **{"mainstay.yml": KEY + told, "schedules/web.yml": schedules})
    assert [one["key"] for one in found] == ["plans.b.window"]


def test_a_freeze_of_the_site_over_every_opening_is_told(root: Path, mainstay: Mainstay) -> None:
    frozen = "freezes:\n  - {name: for good, dates: 2020-01-01/2099-12-31}\n"
    plans = "plans:\n  a: {targets: web1, window: night}\n"
    found = warnings(mainstay, root, **{"schedules/web.yml": f"windows:\n  night: {NIGHT}\n{frozen}{plans}"})
    (one,) = [one for one in found if one["key"] == "plans.a.window"]
    assert "never runs" in str(one["message"])
    assert "for good" in str(one["message"])


def test_it_touches_neither_network_nor_state(root: Path, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: object, address: object) -> None:
        raise AssertionError(f"dialled {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    remote = "freezes:\n  - {ics: 'https://calendar.example/freezes.ics'}\n"
    schedules = f"windows:\n  night: {NIGHT}\n{remote}{PLANS}"
    found = warnings(mainstay, root, **{"schedules/web.yml": schedules})
    assert [one["key"] for one in found] == ["plans.b.window", "plans.b.approval"]
    assert not (root / "state").exists()


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ("schedules/next.ics", "the feed can't lie in schedules/"),
        ("../site/inventory/x.ics", "the feed can't lie in inventory/"),
        ("state/mainstay.db", "is no name of a calendar. Let it end in .ics"),
    ],
)
def test_a_feed_that_would_be_read_as_part_of_the_site_is_an_error(
    root: Path, mainstay: Mainstay, feed: str, said: str
) -> None:
    result = mainstay("check", "--site", str(write_site(root, **{"mainstay.yml": f"{KEY}feed: {feed}\n"})))
    assert result.code == 2
    assert "mainstay.yml:4:7  feed: " in result.out
    assert said in result.out

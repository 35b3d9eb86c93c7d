"""Serve's parts, looked after: what is said to the supervisor, and what becomes of a chore or a database that hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.fakes import FakeApplication, forecast, write_site

from mainstay.console.chores import Chore
from mainstay.console.service import observing as chore_of
from mainstay.console.service.watching import Watching, watching
from mainstay.inventory.errors import UsageError
from mainstay.runner.observing import observations
from mainstay.schedules.store.memory import MemorySchedules

NEXT = ("patch-web", datetime(2026, 12, 12, 1, 0, tzinfo=UTC))


@pytest.fixture
def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


@pytest.fixture
def app(tmp_path: Path) -> FakeApplication:
    return FakeApplication(write_site(tmp_path / "site"))


def heard(channel: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(channel.recv(65536).decode())
        except BlockingIOError:
            return found


def test_from_ready_to_stopping(app: FakeApplication, channel: socket.socket) -> None:
    lost = threading.Event()
    with watching(app, lost, lambda: NEXT) as watch:
        assert heard(channel) == [], "not ready before the clock is kept"
        watch.ready()
        watch.look()
        (ready,) = heard(channel)
        assert ready == "READY=1\nSTATUS=serves 3 plans, next patch-web Sat 2026-12-12 02:00 CET; 0 runs in hand"
    assert heard(channel) == ["STOPPING=1\nSTATUS=takes nothing new; steps in hand may end"]
    with watching(app, lost, lambda: NEXT):
        lost.set()
    assert heard(channel) == [], "it begins anew as the same process"


def health(watch: Watching) -> dict[str, str]:
    return watch._service.health.faults()


def test_each_part_speaks_for_itself(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = threading.Event()
    with watching(app, lost, lambda: None) as watch:
        (ask,) = watch.chores([])
        ask.work()
        assert health(watch) == {}
        watch.told("no such table")
        lost.set()
        watch.look()

        def away(**_: object) -> Any:
            raise UsageError("nobody listens on 5432")

        monkeypatch.setattr(app.state, "runs", away)
        with pytest.raises(UsageError):
            ask.work()
        assert health(watch) == {
            "clock": "no such table",
            "database": "does not answer: nobody listens on 5432",
            "worker": "its hold on the database is lost",
        }
        watch.told("")
        assert "clock" not in health(watch)


def test_a_chore_that_hangs_is_named(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.console.service.watching.STUCK", -1.0)
    with watching(app, threading.Event(), lambda: None) as watch:
        seen: list[dict[str, str]] = []
        _, chore = watch.chores([Chore("calendars", 900.0, lambda: seen.append(health(watch)))])
        assert (chore.name, chore.every) == ("calendars", 900.0)
        chore.work()
        assert [list(one) for one in seen] == [["chore calendars"]] and health(watch) == {}


def test_hosts_of_all_plans_are_observed_where_the_site_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = "plans:\n  each: {targets: all}\n  aged: {targets: role=web, updates: {select: security, min_age: 3d}}\n"
    main = "site: acme\nobserve: daily\nssh: {user: ops}\n"
    app = FakeApplication(write_site(tmp_path / "site", **{"mainstay.yml": main, "schedules/web.yml": plans}))
    memory = MemorySchedules()
    monkeypatch.setitem(app.__dict__, "schedule_store", memory)
    monkeypatch.setitem(app.__dict__, "engine", type("Engine", (), {"executor": "ops1-1"}))
    asked: list[tuple[str, list[str]]] = []

    def look(hosts: Any, careful: Any, operation: Any, *_: Any, **more: Any) -> Any:
        asked.append((operation.plan, [host.name for host in hosts]))
        return {host.name: forecast(host) for host in hosts}

    monkeypatch.setattr(chore_of, "forecast", look)
    chore = chore_of.observing(app)
    chore.work()
    assert asked == [("aged", ["web1", "web10", "web2"]), ("each", ["db1"])], (
        "ages are counted from what that plan sees"
    )
    assert {name: one.pending for name, one in observations(memory).items()} == dict.fromkeys(
        ["db1", "web1", "web10", "web2"], 2
    )
    chore.work()
    assert len(asked) == 2
    plain = FakeApplication(write_site(tmp_path / "plain"))
    chore_of.observing(plain).work()
    assert len(asked) == 2

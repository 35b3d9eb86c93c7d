"""A run while it goes on: Ctrl-C, the live table, and what another process would show."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from io import StringIO

import pytest
from tests.unit.console.conftest import LetGo, Mainstay, press, until
from tests.unit.console.fakes import HOSTILE, NOW, FakeApplication, part
from tests.unit.console.test_runs import in_flight

from mainstay.console import cli
from mainstay.console.render import progress
from mainstay.console.render.spans import plain
from mainstay.console.verbs import _following
from mainstay.runner.verdict import Verdict


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_the_first_ctrl_c_asks_the_run_to_stop_between_hosts(
    app: FakeApplication, mainstay: Mainstay, asked: threading.Event
) -> None:
    def during(run: str) -> None:
        press()
        until(asked)

    app.during = during
    result = mainstay("run", "patch-web", "--hosts", "web1")
    row = app.state.run(app.runs.requests[0].id)
    assert row is not None
    assert (row.wish, row.wish_by, row.wish_reason) == ("cancel", "anna@ops1", "Ctrl-C")
    assert result.code == 0  # the host in hand was brought to its end
    assert "Stopping: nothing new starts, hosts in hand are brought to their end." in result.err
    assert "Ctrl-C again lets go of the terminal" in result.err


def test_the_second_ctrl_c_lets_go_of_the_terminal(
    app: FakeApplication,
    mainstay: Mainstay,
    pressed_twice: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    app.during = pressed_twice
    with pytest.raises(LetGo):
        mainstay("run", "patch-web", "--hosts", "web1")
    assert f"mainstay runs resume {app.runs.requests[0].id}" in capsys.readouterr().err


def test_one_that_waits_for_a_run_that_nobody_works_on_says_how_that_one_goes_on(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind, alive = in_flight(app).id, in_flight(app).id
    app.state.take_slots(behind, "web1", {"host:web1": 1})
    app.state.take_slots(alive, "web2", {"host:web2": 1})
    app.left = {behind}
    looks: list[int] = []
    told, enough = app.state.slots, threading.Event()

    def slots() -> dict[str, list[tuple[str, str]]]:
        looks.append(1)
        if len(looks) > 2:
            enough.set()
        return told()

    monkeypatch.setattr(app.state, "slots", slots)
    monkeypatch.setattr(_following, "LOOKS", 1)
    app.during = lambda run: until(enough)
    said = " ".join(mainstay("run", "patch-web", "--hosts", "role=web").err.split())

    assert said.count(f"mainstay runs resume {behind}") == 1
    assert f"resume {alive}" not in said, "somebody works on it"


def test_ctrl_c_works_as_before_when_the_run_is_over(app: FakeApplication, mainstay: Mainstay) -> None:
    before = signal.getsignal(signal.SIGINT)
    mainstay("run", "patch-web", "--hosts", "web1")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(shutil, "get_terminal_size", lambda fallback=(0, 0): os.terminal_size((100, 30)))


@pytest.mark.usefixtures("wide")
def test_on_a_terminal_a_table_is_drawn_over_itself(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> None:
    screen, answer = Terminal(), StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", answer)
    app.ending = lambda host: part(host.name, Verdict.FAILED, f"health: {HOSTILE}")
    shown = threading.Event()
    real = _following.Watch.now

    def now(self: _following.Watch, where: str = "") -> progress.Moment:
        moment = real(self, where)
        if moment.notes:
            shown.set()
        return moment

    monkeypatch.setattr(_following.Watch, "now", now)

    def during(run: str) -> None:
        app.state.note_step(run, "web1", "apply", f"12 of 20 {HOSTILE}")
        until(shown)

    app.during = during
    assert cli.run(["run", "patch-web", "--hosts", "web1"]) == 1
    drawn = screen.getvalue()
    assert "\x1b[2K" in drawn, "nothing was drawn over"
    assert "12 of 20" in drawn
    assert "\x1b]52" not in drawn
    assert "[/bold]" in drawn
    assert "\x1b" not in answer.getvalue()


def moment(**more: object) -> progress.Moment:
    standard: dict[str, object] = {
        "run": "01K7",
        "plan": "patch-web",
        "state": "running",
        "hosts": ["web10", "web2", "web1", "web3"],
        "started_at": "2026-12-11T01:25:48Z",
        "wave": 2,
        "waves": 3,
        "tolerated": 1,
        "parallel": 2,
        "outcomes": {"web1": Verdict.SUCCEEDED},
        "reasons": {"web1": "20 changed, checked"},
        "took": {"web1": 118.0},
        "notes": {
            "web2": {"step": "apply", "detail": "12 of 20  libssl3", "since": "2026-12-11T01:29:19Z"},
            "web10": {"step": "survey", "detail": "asked", "since": "2026-12-11T01:26:00Z"},
        },
    }
    return progress.Moment(**{**standard, **more})  # type: ignore[arg-type]  # a test's own mix


def test_the_live_table() -> None:
    assert plain(progress.live(moment(), NOW, 100)) == (
        "run 01K7 · patch-web · wave 2 of 3 · 1 of 4 done · 0 failed, 1 tolerated · 4:12 elapsed, about 4 min\n"
        "to go\n"
        "\n"
        "  web2    apply       0:41   12 of 20 libssl3\n"
        "  web1    succeeded   1:58   20 changed, checked\n"
        "  web3    waiting\n"
        "  web10   waiting\n"
    ).replace("12 of 20 libssl3", "12 of 20  libssl3")


def test_more_hosts_than_a_screen_holds_are_counted() -> None:
    text = plain(progress.live(moment(hosts=[f"h{n}" for n in range(100)]), NOW, 100, rows=5))
    assert len(text.splitlines()) == 9
    assert text.endswith("  and 95 more hosts\n")


def test_events_are_told_once_and_in_order() -> None:
    first = moment(outcomes={}, reasons={}, wave=1)
    told = progress.events(None, first)
    assert told[0] == "run 01K7 · patch-web · 4 hosts"
    assert "web2: apply: 12 of 20  libssl3" in told
    assert progress.events(first, first) == []
    later = moment(outcomes={"web2": Verdict.FAILED}, reasons={"web2": "dpkg ended with 1"}, wave=2, wish="cancel")
    assert progress.events(first, later) == [
        "web2: failed: dpkg ended with 1",
        "wave 2 of 3",
        "cancel was asked for; nothing new starts, hosts in hand are brought to their end",
    ]


def test_no_event_forges_a_second_line(app: FakeApplication, mainstay: Mainstay) -> None:
    def during(run: str) -> None:
        app.state.note_step(run, "web1", "apply", "1 of 2\r\nweb9: succeeded")

    app.during = during
    result = mainstay("run", "patch-web", "--hosts", "web1")
    assert not re.search(r"^web9", result.err, re.M)

"""Daemons on one state, killed, away for an hour, with a wall clock that is moved by an hour and back: of every occurrence
that fell due there is one run and one record."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.faults.clock_process import FileClock, set_clock
from tests.servers.postgres import Postgres
from tests.servers.state import with_tables

from mainstay.console import bootstrap
from mainstay.console.bootstrap import Application
from mainstay.runner.record import Summary
from mainstay.schedules.occurrences import run_id, schedules
from mainstay.schedules.openings import openings

PROGRAM = Path(__file__).with_name("clock_process.py")
WAIT = 90.0
START = datetime(2026, 11, 22, 1, 0, 30, tzinfo=UTC)
FAST = 300.0
"""Seconds on the wall for one of the machine's."""
PLANS = ("a", "b", "c")


@dataclass
class Daemons:
    """Over one site. clock: of those that are started without another."""

    site: Path
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.file = self.folder / "clock"
        set_clock(self.file, START, 0.0)
        self.app: Application = bootstrap.load(self.site)

    def now(self) -> datetime:
        return FileClock(self.file).now()

    def move(self, **by: float) -> None:
        """The clock that they share, while it stands."""
        set_clock(self.file, self.now() + timedelta(**by), 0.0)

    def start(self, file: Path | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            argv = [sys.executable, str(PROGRAM), str(self.site), str(file or self.file)]
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)

    def stop(self) -> list[int]:
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(WAIT) for process in self.running]
        self.running.clear()
        return codes

    def until(self, holds: Callable[[], bool], wait: float = WAIT) -> None:
        deadline = time.monotonic() + wait
        while not holds():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-8000:]
            time.sleep(0.1)  # asked again, until it holds

    def put_down(self) -> int:
        return sum(row.kind == "patch" for row in self.app.state.runs())

    def ended(self) -> int:
        return sum(row.kind == "patch" and row.state == "ended" for row in self.app.state.runs())

    def expected(self) -> set[str]:
        """Of every schedule, each opening from the start up to its watermark."""
        marks = self.app.schedule_store.watermarks()
        found = set()
        for schedule in schedules(self.app.loaded):
            until = datetime.fromisoformat(marks[schedule.id])
            for opening in openings(schedule.window, schedule.zone, START, until=until):
                found.add(run_id(schedule.id, opening.starts_at))
        return found


def site_at(root: Path, state: str, password: str = "") -> Path:
    texts = {
        "mainstay.yml": f"site: acme\ntimezone: UTC\nssh: {{user: ops}}\nstate: {state}\n"
        + ("state_password: file:secret\n" if password else ""),
        "inventory/hosts.yml": "hosts:\n  web1: {address: 127.0.0.1, port: 1}\n",  # no key is pinned: nothing is sent
        "schedules/web.yml": "windows:\n"
        + "".join(f"  w{n}: {{cron: '{n * 5}-59/20 * * * *', duration: 15m}}\n" for n, _ in enumerate(PLANS))
        + "plans:\n"
        + "".join(f"  {name}: {{targets: all, window: w{n}}}\n" for n, name in enumerate(PLANS)),
    }
    if password:
        texts["secret"] = f"{password}\n"
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return root


def two_up(daemons: Daemons) -> list[subprocess.Popen[bytes]]:
    """Two daemons that keep the clock, which stands."""
    pair = [daemons.start(), daemons.start()]
    daemons.until(lambda: (daemons.folder / "log").read_bytes().count(b"clock is kept") == 2)
    assert len(daemons.app.schedule_store.watermarks()) == len(PLANS)
    return pair


def all_ended(daemons: Daemons) -> bool:
    return not daemons.app.state.runs(in_flight=True)


def a_night(daemons: Daemons) -> None:
    """The clock stands but where it is moved, so that what is to be put down is known."""
    first, second = two_up(daemons)
    daemons.move(minutes=11)  # of b and c
    daemons.until(lambda: daemons.ended() == 2)
    daemons.move(minutes=20)  # of all three
    daemons.kill(first)  # just then
    daemons.until(lambda: daemons.ended() == 5)
    daemons.kill(second)
    daemons.move(hours=1)  # and nobody is there: nine, of which the last three are still open
    ahead = daemons.folder / "ahead"
    set_clock(ahead, daemons.now() + timedelta(hours=1), 0.0)  # this one's clock is an hour fast: nine more
    daemons.start()
    daemons.start(ahead)
    daemons.until(lambda: daemons.put_down() == 5 + 9 + 9)
    set_clock(ahead, daemons.now() - timedelta(hours=1), 0.0)  # and now an hour slow
    daemons.move(minutes=80)  # past what the fast one has put down: three more
    daemons.until(lambda: daemons.put_down() == 5 + 9 + 9 + 3)
    set_clock(ahead, daemons.now(), 0.0)
    daemons.until(lambda: all_ended(daemons))
    assert daemons.stop() == [0, 0]


def many_nights(daemons: Daemons) -> None:
    """The clock runs, and whatever happens happens in its midst."""
    two_up(daemons)
    chance = random.Random(7)
    clocks = [daemons.file, daemons.folder / "other"]
    for _ in range(12):
        for file in clocks:
            off = chance.choice([-1, 0, 0, 1])
            set_clock(file, daemons.now() + timedelta(hours=off) * (file is not daemons.file), FAST)
        before = daemons.put_down()
        daemons.until(lambda before=before: daemons.put_down() >= before + 4)  # type: ignore[misc]
        for process in chance.sample(daemons.running, chance.randint(0, 2)):
            daemons.kill(process)
        if not daemons.running:
            daemons.move(minutes=chance.choice([1, 60, 200]))
        while len(daemons.running) < 2:
            daemons.start(chance.choice(clocks) if (daemons.folder / "other").exists() else None)
    furthest = datetime.fromisoformat(max(daemons.app.schedule_store.watermarks().values()))
    for file in clocks:
        set_clock(file, max(furthest, daemons.now()) + timedelta(hours=2), 0.0)
    daemons.until(lambda: len({mark[:15] for mark in daemons.app.schedule_store.watermarks().values()}) <= 2)
    daemons.until(lambda: all_ended(daemons))
    assert daemons.stop() == [0, 0]


def hold(daemons: Daemons) -> dict[str, int]:
    """0 lost, 0 doubled. Returns figures."""
    runs = [row.id for row in daemons.app.state.runs() if row.kind == "patch"]
    sealed = [entry.id for entry in daemons.app.ledger.entries()]
    summaries = {entry.id: Summary.from_json(entry.body) for entry in daemons.app.ledger.entries()}
    expected = daemons.expected()
    assert sorted(runs) == sorted(expected), (len(runs), len(expected))
    assert len(set(sealed)) == len(sealed)
    assert {id for id, one in summaries.items() if one.kind == "patch"} == expected
    assert daemons.app.ledger.verify() == []
    away = [one for one in summaries.values() if one.kind == "downtime"]
    assert any("windows of 3 schedules opened meanwhile" in one.reason for one in away)
    verdicts = [str(one.verdict) for one in summaries.values() if one.kind == "patch"]
    assert {"missed", "refused"} == set(verdicts)
    return {"expected": len(expected), "missed": verdicts.count("missed"), "ran": verdicts.count("refused")}


def kept(site: Path, folder: Path, happens: Callable[[Daemons], None]) -> None:
    daemons = Daemons(site, folder)
    try:
        happens(daemons)
        print(hold(daemons))
    finally:
        for process in list(daemons.running):
            daemons.kill(process)
        daemons.app.__exit__(None, None, None)


NIGHTS = [pytest.param(a_night, id="a night"), pytest.param(many_nights, id="many nights", marks=pytest.mark.long)]


@pytest.mark.parametrize("happens", NIGHTS)
def test_two_on_one_sqlite_lose_and_double_nothing(tmp_path: Path, happens: Callable[[Daemons], None]) -> None:
    kept(site_at(tmp_path / "site", "sqlite:///state/mainstay.db"), tmp_path, happens)


@pytest.mark.server
@pytest.mark.parametrize("happens", NIGHTS)
def test_two_on_one_postgresql_lose_and_double_nothing(
    tmp_path: Path, postgres: Postgres, happens: Callable[[Daemons], None]
) -> None:
    url = postgres.url(with_tables(postgres))
    kept(site_at(tmp_path / "site", url, postgres.PASSWORD), tmp_path, happens)

"""Daemons on one state, killed, away for an hour, with a wall clock that is moved by an hour and back: of every occurrence
that fell due there is one run and one record."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT
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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def run_them(daemons: Daemons) -> dict[str, int]:
    """What is done to them. Returns figures."""
    first, second = daemons.start(), daemons.start()
    daemons.until(lambda: len(daemons.app.schedule_store.watermarks()) == len(PLANS))
    daemons.until(lambda: (daemons.folder / "log").read_bytes().count(b"clock is kept") == 2)
    set_clock(daemons.file, daemons.now(), FAST)
    daemons.until(lambda: daemons.ended() >= 3)

    daemons.kill(first)  # and the other goes on
    before = daemons.put_down()
    third = daemons.start()
    daemons.until(lambda: daemons.put_down() >= before + 2)

    daemons.kill(second)
    daemons.kill(third)  # nobody is there for an hour
    set_clock(daemons.file, daemons.now() + timedelta(hours=1), FAST)
    before = daemons.put_down()
    daemons.start()
    ahead = daemons.folder / "ahead"
    set_clock(ahead, daemons.now() + timedelta(hours=1), FAST)  # this one's clock is an hour fast
    daemons.start(ahead)
    daemons.until(lambda: daemons.put_down() >= before + 9 + 9)  # of the hour that is over, and of the one to come
    set_clock(ahead, daemons.now() - timedelta(hours=1), FAST)  # and now an hour slow
    furthest = max(daemons.app.schedule_store.watermarks().values())
    set_clock(daemons.file, datetime.fromisoformat(furthest) - timedelta(minutes=1), FAST)
    set_clock(ahead, daemons.now(), FAST)  # right again
    before = daemons.put_down()
    daemons.until(lambda: daemons.put_down() >= before + 3)
    set_clock(daemons.file, daemons.now(), 0.0)
    set_clock(ahead, daemons.now(), 0.0)
    # Those whose window is still to open by the clock that stands now wait for it: they have their turn.
    set_clock(daemons.file, daemons.now() + timedelta(hours=2), 0.0)
    set_clock(ahead, daemons.now(), 0.0)
    daemons.until(lambda: daemons.ended() == daemons.put_down() and not daemons.app.state.runs(in_flight=True))
    assert daemons.stop() == [0, 0]
    return {"put down": daemons.put_down()}


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


def kept(site: Path, folder: Path) -> None:
    daemons = Daemons(site, folder)
    try:
        run_them(daemons)
        print(hold(daemons))
    finally:
        for process in list(daemons.running):
            daemons.kill(process)
        daemons.app.__exit__(None, None, None)


def test_two_on_one_sqlite_lose_and_double_nothing(tmp_path: Path) -> None:
    kept(site_at(tmp_path / "site", "sqlite:///state/mainstay.db"), tmp_path)


@pytest.mark.server
def test_two_on_one_postgresql_lose_and_double_nothing(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.url(with_tables(postgres))
    kept(site_at(tmp_path / "site", url, postgres.PASSWORD), tmp_path)

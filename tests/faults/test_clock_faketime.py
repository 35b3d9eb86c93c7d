"""`mainstay serve` as it is installed, under libfaketime, which moves its wall clock while it runs: by an hour and back."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from tests.faults.test_clock_daemons import Daemons, all_ended
from tests.servers.postgres import Postgres
from tests.servers.state import with_tables

from mainstay.runner.record import Summary
from mainstay.schedules.occurrences import run_id, schedules
from mainstay.schedules.openings import openings

SERVE = """
import sys, threading, time
# Python sleeps until a moment of the monotonic clock; libfaketime, told to leave that clock alone, answers EINVAL.
time.sleep = lambda seconds: threading.Event().wait(max(0.0, seconds)) and None
from mainstay.console import cli
sys.exit(cli.run(sys.argv[1:]))
"""
PATIENT = 240.0
"""Seconds: windows open every minute, and some of them are waited for."""


def library() -> Path:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "no libfaketime here: install the package faketime"
    return found[0]


@dataclass
class Shifted(Daemons):
    """Each daemon has a file that says how far its wall clock is from the machine's."""

    def shift(self, name: str, by: str) -> Path:
        file, draft = self.folder / name, self.folder / f".{name}"
        draft.write_text(by)
        draft.rename(file)
        return file

    def begin(self, name: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.shift(name, "+0")),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        with (self.folder / "log").open("ab") as log:
            argv = [sys.executable, "-c", SERVE, "--site", str(self.site), "serve", "--log-format", "json"]
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self.running.append(process)
        return process


def site_at(root: Path, state: str, password: str = "") -> Path:
    texts = {
        "mainstay.yml": f"site: acme\ntimezone: UTC\nssh: {{user: ops}}\nstate: {state}\n"
        + ("state_password: file:secret\n" if password else ""),
        "inventory/hosts.yml": "hosts:\n  web1: {address: 127.0.0.1, port: 1}\n",  # no key is pinned: nothing is sent
        "schedules/web.yml": "windows:\n  minutely: {cron: '* * * * *', duration: 55s}\n"
        "plans:\n  a: {targets: all, window: minutely}\n  b: {targets: all, window: minutely}\n",
        **({"secret": f"{password}\n"} if password else {}),
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    return root


def kept(site: Path, folder: Path) -> None:
    daemons = Shifted(site, folder)
    try:
        first, second = daemons.begin("first"), daemons.begin("second")
        daemons.until(lambda: (folder / "log").read_bytes().count(b"clock is kept") == 2)
        begun = daemons.app.schedule_store.watermarks()
        daemons.until(lambda: daemons.ended() >= 2, PATIENT)
        daemons.shift("second", "+1h")
        daemons.until(lambda: daemons.put_down() >= 2 + 2 * 59, PATIENT)
        daemons.shift("second", "-1h")
        before = daemons.put_down()
        daemons.kill(first)
        daemons.kill(second)
        first, second = daemons.begin("first"), daemons.begin("second")
        daemons.shift("first", "+1h")  # past what was put down by the clock that was fast
        daemons.until(lambda: daemons.put_down() >= before + 4, PATIENT)
        daemons.shift("second", "+1h")
        daemons.until(lambda: all_ended(daemons), PATIENT)
        assert daemons.stop() == [0, 0]
        hold(daemons, begun)
    finally:
        for process in list(daemons.running):
            daemons.kill(process)
        daemons.app.__exit__(None, None, None)


def hold(daemons: Shifted, begun: dict[str, str]) -> None:
    marks, expected = daemons.app.schedule_store.watermarks(), set()
    for schedule in schedules(daemons.app.loaded):
        since, until = (datetime.fromisoformat(of[schedule.id]) for of in (begun, marks))
        for opening in openings(schedule.window, schedule.zone, since, until=until):
            expected.add(run_id(schedule.id, opening.starts_at))
    runs = [row.id for row in daemons.app.state.runs() if row.kind == "patch"]
    entries = list(daemons.app.ledger.entries())
    sealed = [entry.id for entry in entries if Summary.from_json(entry.body).kind == "patch"]
    assert sorted(runs) == sorted(expected), (len(runs), len(expected))
    assert sorted(sealed) == sorted(expected), (len(sealed), len(expected))
    assert daemons.app.ledger.verify() == []
    verdicts = [str(Summary.from_json(entry.body).verdict) for entry in entries]
    print({"expected": len(expected), **{word: verdicts.count(word) for word in sorted(set(verdicts))}})


@pytest.mark.long
def test_a_wall_clock_that_is_moved_by_an_hour_and_back_on_sqlite(tmp_path: Path) -> None:
    kept(site_at(tmp_path / "site", "sqlite:///state/mainstay.db"), tmp_path)


@pytest.mark.long
@pytest.mark.server
def test_a_wall_clock_that_is_moved_by_an_hour_and_back_on_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    kept(site_at(tmp_path / "site", postgres.url(with_tables(postgres)), postgres.PASSWORD), tmp_path)

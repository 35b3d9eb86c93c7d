"""Processes with engines over one store, and what their log says about the work that they did."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from tests.waiting import until

from mainstay.runner.engine.adapters.dbos_client import DbosClient

PROGRAM = Path(__file__).with_name("engine_process.py")
WAIT = 90.0


@dataclass(frozen=True)
class Line:
    kind: str
    executor: str
    workflow: str
    step: str
    at: float

    @property
    def what(self) -> tuple[str, str]:
        return self.workflow, self.step


class Processes:
    """store: a folder, or a PostgreSQL URL."""

    def __init__(self, directory: Path, store: str = "") -> None:
        self.store = store or str(directory / "state")
        self.log = directory / "log"
        self.kills: list[tuple[int, set[tuple[str, str]]]] = []
        self._started: list[subprocess.Popen[str]] = []

    def start(self, mode: str, *options: str) -> subprocess.Popen[str]:
        argv = [sys.executable, str(PROGRAM), self.store, str(self.log), mode, *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._started.append(process)
        return process

    def lines(self) -> list[Line]:
        if not self.log.exists():
            return []
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [Line(kind, executor, workflow, step, float(at)) for kind, executor, workflow, step, at in words]

    def ends(self) -> list[tuple[str, str]]:
        """(workflow, step) of every finished step, in order."""
        return [line.what for line in self.lines() if line.kind == "end"]

    def until_steps(self, count: int) -> None:
        until(lambda: len(self.ends()) >= count)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """As a power cut for this process; what the store held then must never be begun again."""
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.mark()

    def freeze(self, process: subprocess.Popen[str]) -> None:
        """Not in the midst of a transaction: SQLite would be locked for everybody until the process is gone."""
        while True:
            process.send_signal(signal.SIGSTOP)
            until(lambda: all(state(task) == "T" for task in Path(f"/proc/{process.pid}/task").iterdir()))
            if self.store.startswith("postgresql"):
                return  # there the server ends it
            with closing(sqlite3.connect(Path(self.store) / "engine.db", timeout=0.1)) as database:
                try:
                    database.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)

    def mark(self) -> None:
        """What the store holds from here on is not to be begun again."""
        self.kills.append((len(self.lines()), self.checkpointed()))

    def checkpointed(self) -> set[tuple[str, str]]:
        """(workflow, step) of every step whose end is in the store."""
        query = "SELECT workflow_uuid, function_name FROM operation_outputs"
        if self.store.startswith("postgresql"):
            with psycopg.connect(self.store, options="-c search_path=dbos") as server:
                rows = server.execute(query).fetchall()
        else:
            with closing(sqlite3.connect(Path(self.store) / "engine.db")) as database:
                rows = database.execute(query).fetchall()
        return {(workflow, name.removeprefix("s")) for workflow, name in rows if "/" in workflow}

    def unfinished(self) -> dict[str, str]:
        client = DbosClient(Path(self.store), self.store)
        try:
            return client.unfinished()
        finally:
            client.close()

    def assert_all_done_once(self, hosts: int, steps: int, runs: int = 1, again: int = 0) -> int:
        """Nothing was left out, and nothing whose end was kept has been begun again. again: how many steps at most may have
        been begun more than once. Returns how many were."""
        wanted = {
            (f"r{run}/h{host}", str(step))
            for run in range(1, runs + 1)
            for host in range(hosts)
            for step in range(steps)
        }
        lines = self.lines()
        assert {line.what for line in lines if line.kind == "end"} == wanted, "something was left out"
        for seen, kept in self.kills:
            begun = {line.what for line in lines[seen:] if line.kind == "begin"}
            assert not kept & begun, "a step whose end was kept has been run again"
        known = set[tuple[str, str]]()
        for line in lines:
            assert line.kind != "begin" or line.what not in known, f"{line} was begun after its end was known"
            if line.kind == "kept":
                known.add(line.what)
        begun_times = Counter(line.what for line in lines if line.kind == "begin")
        more = sum(begun_times.values()) - len(wanted)
        assert more <= again, "more than what was in hand has been run again"
        assert self.unfinished() == {}
        return more

    def stop(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """On SQLite."""
    all_of_them = Processes(tmp_path)
    yield all_of_them
    all_of_them.stop()


def state(task: Path) -> str:
    """proc_pid_stat(5): what follows the name, which may hold anything; empty: this thread has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    return ""


def said(process: subprocess.Popen[str], word: str) -> str:
    """The rest of the line that begins with this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    assert process.stderr is not None
    raise AssertionError(f"it never said {word}: {process.stderr.read()}")

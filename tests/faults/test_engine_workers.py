"""Workers on PostgreSQL: killed for good, stopped for a while, their database restarted, their wire cut. Every run comes to
its end, and nothing whose end was kept is done again."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.engine_suite import database
from tests.faults.engine_process import LOST
from tests.faults.engine_processes import Line, Processes, said
from tests.servers.postgres import Postgres
from tests.waiting import until

pytestmark = pytest.mark.no_cover

WORKERS, RUNS, HOSTS, STEPS, PARALLEL = 3, 2, 16, 3, 3
SECONDS = "0.3"


class Workers:
    """Three of them, and a supervisor that starts one again when it has ended by itself."""

    def __init__(self, processes: Processes, postgres: Postgres) -> None:
        self.processes = processes
        self.postgres = postgres
        self.of: list[subprocess.Popen[str]] = []
        self.names: list[str] = []
        self.lost = 0

    def start(self, count: int = WORKERS) -> None:
        begun = [self.processes.start("serve", "--seconds", SECONDS) for _ in range(count)]
        self.of += begun
        self.names += [said(process, "LAUNCHED") for process in begun]

    def submit(self) -> None:
        numbers = {"--runs": RUNS, "--hosts": HOSTS, "--steps": STEPS, "--parallel": PARALLEL}
        one = self.processes.start("submit", *(str(word) for pair in numbers.items() for word in pair))
        assert one.wait(90) == 0

    def supervise(self) -> None:
        for at, process in enumerate(self.of):
            if process.poll() == LOST:
                self.lost += 1
                self.of[at] = self.processes.start("serve", "--seconds", SECONDS)
                self.names[at] = said(self.of[at], "LAUNCHED")

    def until(self, holds: Callable[[], bool]) -> None:
        def look() -> bool:
            self.supervise()
            return holds()

        until(look)

    def owner(self) -> int:
        """The worker that has a run's parent in hand."""
        roots = [f"r{run}" for run in range(1, RUNS + 1)]
        found: list[int] = []

        def look() -> bool:
            owners = self.processes.unfinished()
            found[:] = [at for at, name in enumerate(self.names) if name in [owners.get(root) for root in roots]]
            return bool(found)

        self.until(look)
        return found[0]

    def kill(self, at: int) -> float:
        """For good. Returns when."""
        process, name = self.of.pop(at), self.names.pop(at)
        self.processes.kill(process)
        when = time.monotonic()
        assert name not in self.names
        return when

    def restart_database(self) -> None:
        self.postgres.restart("immediate")
        self.processes.mark()


@pytest.fixture
def workers(tmp_path: Path, postgres: Postgres) -> Iterator[Workers]:
    processes = Processes(tmp_path, database(postgres, new=True))
    yield Workers(processes, postgres)
    processes.stop()


def all_ended(workers: Workers) -> bool:
    return not workers.processes.unfinished()


def at_once(lines: list[Line], run: int) -> int:
    """How many hosts of a run were in hand together at most. One that a dead worker left counts until it goes on."""
    busy, most = set[str](), 0
    for line in lines:
        if line.workflow.startswith(f"r{run}/"):
            if line.kind == "begin":
                busy.add(line.workflow)
            elif line.kind == "end":
                busy.discard(line.workflow)
            most = max(most, len(busy))
    return most


def test_one_killed_for_good_one_stopped_and_the_database_restarted(workers: Workers) -> None:
    again = faults(workers, random.Random(1), stopped_for=12.0)
    assert again <= HOSTS * RUNS


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_the_same_at_other_moments(workers: Workers, seed: int) -> None:
    faults(workers, random.Random(seed), stopped_for=12.0)


def faults(workers: Workers, chance: random.Random, stopped_for: float) -> int:
    processes = workers.processes
    workers.start()
    workers.submit()
    workers.until(lambda: len(processes.ends()) >= chance.randint(4, 12))
    killed = workers.names[at := workers.owner()]
    when = workers.kill(at)
    mine = {line.workflow for line in processes.lines() if line.executor == killed}
    stopped, until_then = workers.of[0], time.monotonic() + stopped_for
    stopped.send_signal(signal.SIGSTOP)
    try:
        workers.until(lambda: killed not in processes.unfinished().values())
        taken = time.monotonic() - when
        pause = time.monotonic() + chance.random() * 3
        workers.until(lambda: time.monotonic() > pause)
        workers.restart_database()
        workers.until(lambda: time.monotonic() > until_then)
    finally:
        stopped.send_signal(signal.SIGCONT)
    workers.until(lambda: all_ended(workers))
    again = processes.assert_all_done_once(HOSTS, STEPS, RUNS, again=3 * RUNS * PARALLEL)
    print(
        f"taken over {taken:.1f} s after the kill ({len(mine)} hosts had been its own); {again} steps in flight run again;"
    )
    print(f"{workers.lost} workers stopped themselves")
    assert taken < 60, "in peace it is under 10"
    assert len({line.executor for line in processes.lines()}) > 1, "they did not share"
    for run in range(1, RUNS + 1):
        assert 1 < at_once(processes.lines(), run) <= PARALLEL
    assert workers.lost >= 2, "a worker that loses its database stops itself"
    return again

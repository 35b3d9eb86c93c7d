"""The controller's process is killed in the middle of a run: nothing that was done is done again, nothing is left out,
and a second process that merely starts does nothing at all."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.runner.engine.adapters.dbos_client import DbosClient

PROGRAM = Path(__file__).with_name("engine_process.py")
HOSTS, STEPS = 6, 4
WAIT = 60.0


class Processes:
    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.log = directory / "log"
        self.kills: list[tuple[int, set[tuple[str, str]]]] = []
        self._started: list[subprocess.Popen[str]] = []

    def start(self, mode: str, *options: str) -> subprocess.Popen[str]:
        argv = [sys.executable, str(PROGRAM), str(self.state), str(self.log), mode, *options]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._started.append(process)
        return process

    def ends(self) -> list[tuple[str, str]]:
        """(workflow, step) of every finished step, in order."""
        return [(workflow, step) for kind, _, workflow, step in self.lines() if kind == "end"]

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

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
    all_of_them = Processes(tmp_path)
    yield all_of_them
    all_of_them.stop()


def said(process: subprocess.Popen[str], word: str) -> str:
    """The rest of the line that begins with this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    assert process.stderr is not None
    raise AssertionError(f"it never said {word}: {process.stderr.read()}")


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, "the run does not move"
        time.sleep(0.005)


def until_steps(processes: Processes, count: int) -> None:
    until(lambda: len(processes.ends()) >= count)


def kill(processes: Processes, process: subprocess.Popen[str]) -> None:
    """As a power cut for this process; what its store held then must never be begun again."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    processes.kills.append((len(processes.lines()), checkpointed(processes.state)))


def assert_all_done_once(processes: Processes) -> None:
    wanted = {(f"r1/h{host}", str(step)) for host in range(HOSTS) for step in range(STEPS)}
    assert set(processes.ends()) == wanted, "something was left out"
    for lines, kept in processes.kills:
        begun = [(workflow, step) for kind, _, workflow, step in processes.lines()[lines:] if kind == "begin"]
        assert not kept.intersection(begun), "a step whose end was kept has been run again"
    begun = [(workflow, step) for kind, _, workflow, step in processes.lines() if kind == "begin"]
    assert len(begun) - len(wanted) <= 3 * len(processes.kills), "more than what was in hand has been run again"
    assert unfinished(processes.state) == {}


@pytest.mark.parametrize("after", [0, 1, 7, 16, HOSTS * STEPS - 1])
def test_a_killed_run_is_brought_to_its_end_by_another_process(processes: Processes, after: int) -> None:
    first = processes.start("start")
    said(first, "LAUNCHED")
    until_steps(processes, after)
    kill(processes, first)
    second = processes.start("recover")
    assert said(second, "RESULT") == str(HOSTS * STEPS)
    assert_all_done_once(processes)


def test_a_run_whose_rescuers_are_killed_too_is_brought_to_its_end(processes: Processes) -> None:
    chance = random.Random(7)
    first = processes.start("start")
    said(first, "LAUNCHED")
    until_steps(processes, 2)
    kill(processes, first)
    for done in (5, 9, 14):
        rescuer = processes.start("recover")
        said(rescuer, "RECOVERED")
        until_steps(processes, done)
        time.sleep(chance.random() * 0.05)
        kill(processes, rescuer)
    last = processes.start("recover")
    assert said(last, "RESULT") == str(HOSTS * STEPS)
    assert len(checkpointed(processes.state)) == HOSTS * STEPS
    assert_all_done_once(processes)


def test_two_rescuers_at_once_share_nothing(processes: Processes) -> None:
    first = processes.start("start")
    said(first, "LAUNCHED")
    until_steps(processes, 4)
    kill(processes, first)
    rescuers = [processes.start("recover") for _ in range(2)]
    assert [said(rescuer, "RESULT") for rescuer in rescuers] == [str(HOSTS * STEPS)] * 2
    assert_all_done_once(processes)


def test_a_second_process_that_starts_in_mid_run_starts_no_step(processes: Processes) -> None:
    first = processes.start("start", "--seconds", "0.15")
    owner = said(first, "LAUNCHED")
    until_steps(processes, 1)
    seconds = [processes.start("idle") for _ in range(2)]
    for second in seconds:
        said(second, "LAUNCHED")
        assert said(second, "RECOVERED") == "0"
    assert said(first, "RESULT") == str(HOSTS * STEPS)
    assert {executor for _, executor, *_ in processes.lines()} == {owner}
    assert Counter(processes.ends()).most_common(1)[0][1] == 1
    for second in seconds:
        assert second.stdin is not None
        second.stdin.close()
        assert second.wait(WAIT) == 0


def test_a_stopped_process_is_not_taken_for_a_dead_one(processes: Processes) -> None:
    first = processes.start("start", "--seconds", "0.7", "--parallel", "1", "--hosts", "2", "--steps", "2")
    owner = said(first, "LAUNCHED")
    until_steps(processes, 1)
    until(lambda: len(processes.lines()) == 3)  # at work, not in the middle of writing to the store
    first.send_signal(signal.SIGSTOP)
    try:
        second = processes.start("idle")
        assert said(second, "RECOVERED") == "0"
    finally:
        first.send_signal(signal.SIGCONT)
    assert said(first, "RESULT") == "4"
    assert {executor for _, executor, *_ in processes.lines()} == {owner}


def test_a_process_that_lets_go_does_not_hang_on_its_steps(processes: Processes) -> None:
    """A second Ctrl-C: the terminal is free at once, whether the run was begun here or taken over."""
    for taken_over in ("0", "4"):
        process = processes.start("leave", "--seconds", "600")
        assert said(process, "RECOVERED") == taken_over
        said(process, "LEFT")
        assert process.wait(10) == 0
    assert len(unfinished(processes.state)) == 4
    last = processes.start("recover")
    assert said(last, "RESULT") == str(HOSTS * STEPS)


def unfinished(state: Path) -> dict[str, str]:
    client = DbosClient(state)
    try:
        return client.unfinished()
    finally:
        client.close()


def checkpointed(state: Path) -> set[tuple[str, str]]:
    """(workflow, step) of every step whose end is in the store."""
    with closing(sqlite3.connect(state / "engine.db")) as database:
        rows = database.execute("SELECT workflow_uuid, function_name FROM operation_outputs").fetchall()
    return {(workflow, name.removeprefix("s")) for workflow, name in rows if "/" in workflow}

"""The controller's process is killed in the middle of a run: nothing that was done is done again, nothing is left out,
and a second process that merely starts does nothing at all."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest
from tests.faults.engine_processes import WAIT, Processes, processes, said
from tests.waiting import until

__all__ = ["processes"]  # a fixture is used by its name

HOSTS, STEPS, PARALLEL = 6, 4, 3


def all_done_once(processes: Processes) -> None:
    processes.assert_all_done_once(HOSTS, STEPS, again=PARALLEL * len(processes.kills))


@pytest.mark.parametrize(
    "after",
    [0, pytest.param(1, marks=pytest.mark.long), 7, pytest.param(16, marks=pytest.mark.long), HOSTS * STEPS - 1],
)
def test_a_killed_run_is_brought_to_its_end_by_another_process(processes: Processes, after: int) -> None:
    first = processes.start("start")
    said(first, "LAUNCHED")
    processes.until_steps(after)
    processes.kill(first)
    second = processes.start("recover")
    assert said(second, "RESULT") == str(HOSTS * STEPS)
    all_done_once(processes)


def test_a_run_whose_rescuers_are_killed_too_is_brought_to_its_end(processes: Processes) -> None:
    chance = random.Random(7)
    first = processes.start("start")
    said(first, "LAUNCHED")
    processes.until_steps(2)
    processes.kill(first)
    for done in (5, 9, 14):
        rescuer = processes.start("recover")
        said(rescuer, "RECOVERED")
        processes.until_steps(done)
        time.sleep(chance.random() * 0.05)
        processes.kill(rescuer)
    last = processes.start("recover")
    assert said(last, "RESULT") == str(HOSTS * STEPS)
    assert len(processes.checkpointed()) == HOSTS * STEPS
    all_done_once(processes)


def test_two_rescuers_at_once_share_nothing(processes: Processes) -> None:
    first = processes.start("start")
    said(first, "LAUNCHED")
    processes.until_steps(4)
    processes.kill(first)
    rescuers = [processes.start("recover") for _ in range(2)]
    assert [said(rescuer, "RESULT") for rescuer in rescuers] == [str(HOSTS * STEPS)] * 2
    all_done_once(processes)


def test_a_second_process_that_starts_in_mid_run_starts_no_step(processes: Processes) -> None:
    first = processes.start("start", "--seconds", "0.15")
    owner = said(first, "LAUNCHED")
    processes.until_steps(1)
    seconds = [processes.start("idle") for _ in range(2)]
    for second in seconds:
        said(second, "LAUNCHED")
        assert said(second, "RECOVERED") == "0"
    assert said(first, "RESULT") == str(HOSTS * STEPS)
    assert {line.executor for line in processes.lines()} == {owner}
    assert Counter(processes.ends()).most_common(1)[0][1] == 1
    for second in seconds:
        assert second.stdin is not None
        second.stdin.close()
        assert second.wait(WAIT) == 0


def test_a_stopped_process_is_not_taken_for_a_dead_one(processes: Processes) -> None:
    first = processes.start("start", "--seconds", "0.7", "--parallel", "1", "--hosts", "2", "--steps", "2")
    owner = said(first, "LAUNCHED")
    processes.until_steps(1)
    until(lambda: len(processes.lines()) == 4)  # at work, not in the middle of writing to the store
    processes.freeze(first)
    try:
        second = processes.start("idle")
        assert said(second, "RECOVERED") == "0"
    finally:
        first.send_signal(signal.SIGCONT)
    assert said(first, "RESULT") == "4"
    assert {line.executor for line in processes.lines()} == {owner}


def test_a_process_that_lets_go_does_not_hang_on_its_steps(processes: Processes) -> None:
    """A second Ctrl-C: the terminal is free at once, whether the run was begun here or taken over."""
    for taken_over in ("0", "4"):
        process = processes.start("leave", "--seconds", "600")
        assert said(process, "RECOVERED") == taken_over
        said(process, "LEFT")
        assert process.wait(90) == 0
    assert len(processes.unfinished()) == 4
    last = processes.start("recover")
    assert said(last, "RESULT") == str(HOSTS * STEPS)


def test_two_that_serve_on_one_machine_share_what_is_submitted_and_one_takes_over_from_the_other(
    processes: Processes,
) -> None:
    workers = [processes.start("serve") for _ in range(2)]
    names = [said(worker, "LAUNCHED") for worker in workers]
    assert processes.start("submit", "--runs", "3").wait(WAIT) == 0
    until(lambda: any(owner in names for owner in processes.unfinished().values()))
    owner = next(owner for owner in processes.unfinished().values() if owner in names)
    processes.kill(workers[names.index(owner)])
    until(lambda: processes.unfinished() == {})
    processes.assert_all_done_once(HOSTS, STEPS, runs=3, again=3 * PARALLEL)

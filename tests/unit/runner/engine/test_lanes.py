"""A lane runs so many at once, first in, first out, on no more threads than that."""

from __future__ import annotations

import threading

from mainstay.runner.engine.lanes import Lane, Lanes


class Crowd:
    """Jobs that stay inside until they are let go."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.changed = threading.Condition()
        self.let_go = threading.Semaphore(0)
        self.done = 0

    def job(self, number: int) -> None:
        with self.changed:
            self.begun.append(number)
            self.changed.notify_all()
        self.let_go.acquire()
        with self.changed:
            self.done += 1
            self.changed.notify_all()

    def until(self, begun: int, done: int = 0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= begun and self.done >= done, 10)


def fill(lane: Lane, crowd: Crowd, count: int) -> None:
    for number in range(count):
        lane.submit(lambda number=number: crowd.job(number))  # type: ignore[misc]  # bound now


def test_first_in_first_out_and_so_many_at_once() -> None:
    lane, crowd = Lane("x", 2), Crowd()
    fill(lane, crowd, 5)
    crowd.until(begun=2)
    assert sorted(crowd.begun) == [0, 1]
    crowd.let_go.release()
    crowd.until(begun=3, done=1)
    assert crowd.begun[2] == 2
    crowd.let_go.release(10)
    crowd.until(begun=5, done=5)


def test_a_thousand_waiting_jobs_have_few_threads() -> None:
    lane, crowd = Lane("x", 3), Crowd()
    before = threading.active_count()
    fill(lane, crowd, 1000)
    crowd.until(begun=3)
    assert threading.active_count() - before <= 3
    crowd.let_go.release(1000)
    crowd.until(begun=1000, done=1000)


def test_what_has_not_begun_can_be_taken_out() -> None:
    lane, crowd = Lane("x", 1), Crowd()
    fill(lane, crowd, 4)
    crowd.until(begun=1)
    assert len(lane.clear()) == 3
    crowd.let_go.release(4)
    crowd.until(begun=1, done=1)
    assert crowd.begun == [0]


def test_slots_are_for_all_comers_and_can_become_more() -> None:
    lane, crowd = Lanes().get("x", 1), Crowd()

    def come(number: int) -> None:
        with lane:
            crowd.job(number)

    threads = [threading.Thread(target=come, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    crowd.until(begun=1)
    assert len(crowd.begun) == 1
    lane.allow(2)
    crowd.until(begun=2)
    assert len(crowd.begun) == 2
    crowd.let_go.release(3)
    crowd.until(begun=3, done=3)


def test_a_lane_is_one_by_its_name() -> None:
    lanes = Lanes()
    assert lanes.get("x", 1) is lanes.get("x", 5)
    assert lanes.get("x", 1) is not lanes.get("y", 1)

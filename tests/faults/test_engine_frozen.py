"""A process that is frozen past its lease is taken for a dead one; when it wakes it knows, and begins nothing. The same for
one whose wire to the database is cut. Machines that both live don't take each other's work."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.contract.engine_suite import database
from tests.faults.engine_process import LOST
from tests.faults.engine_processes import WAIT, Processes, said
from tests.servers.postgres import Postgres
from tests.waiting import until

HOSTS, STEPS = 4, 4
WORK = ("--hosts", str(HOSTS), "--steps", str(STEPS), "--parallel", "2", "--seconds", "0.3", "--lease", "3")


# That one on PostgreSQL too that has lost its hold begins no step is in tests/contract/test_engine_serving.py.
@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    url = database(request.getfixturevalue("postgres")) if request.param == "postgres" else ""
    one = Processes(tmp_path, url)
    yield one
    one.stop()


def in_hand(processes: Processes) -> bool:
    """Somebody is in the midst of a step, and not of writing to the store: that would stop everybody."""
    lines = processes.lines()
    return len(lines) > 8 and lines[-1].kind == "begin"


def test_one_that_was_frozen_past_its_lease_begins_nothing_when_it_wakes(processes: Processes) -> None:
    first = processes.start("start", *WORK)
    frozen = said(first, "LAUNCHED")
    until(lambda: in_hand(processes))
    processes.freeze(first)
    try:
        processes.mark()
        other = processes.start("serve", *WORK)
        heir = said(other, "LAUNCHED")
        until(lambda: processes.unfinished() == {})
    finally:
        woken = len(processes.lines())
        first.send_signal(signal.SIGCONT)
    assert said(first, "STOPPED") == ""
    assert first.wait(WAIT) == 0
    after = [line for line in processes.lines()[woken:] if line.executor == frozen]
    assert [line for line in after if line.kind == "begin"] == [], "it went on with what was not its own any more"
    assert {line.executor for line in processes.lines()[:woken]} == {frozen, heir}
    processes.assert_all_done_once(HOSTS, STEPS, again=2)


@pytest.mark.long
def test_a_worker_whose_wire_to_the_database_is_cut_stops_itself(tmp_path: Path, postgres: Postgres) -> None:
    """Nothing answers, nothing is refused: its own deadline tells it, and its lease tells the others."""
    url = database(postgres)
    with Wire(postgres.port) as wire:
        processes = Processes(tmp_path, url.replace(f":{postgres.port}/", f":{wire.port}/"))
        try:
            cut_off = processes.start("serve", *WORK)
            name = said(cut_off, "LAUNCHED")
            processes.store = url
            assert processes.start("submit", *WORK).wait(WAIT) == 0
            until(lambda: in_hand(processes))
            wire.cut()
            processes.mark()
            other = processes.start("serve", *WORK)
            said(other, "LAUNCHED")
            assert said(cut_off, "LOST") == ""
            lost = len(processes.lines())
            assert cut_off.wait(WAIT) == LOST
            until(lambda: processes.unfinished() == {})
            begun = {line.executor for line in processes.lines()[lost:] if line.kind == "begin"}
            assert begun
            assert name not in begun
            processes.assert_all_done_once(HOSTS, STEPS, again=2)
        finally:
            processes.stop()


@pytest.mark.long
def test_two_versions_at_once_leave_each_other_alone(tmp_path: Path, postgres: Postgres) -> None:
    """A rolling upgrade: the old one dies in mid-run, the new one works on, an old one comes back and ends what it began."""
    processes = Processes(tmp_path, database(postgres))
    try:
        old = processes.start("start", *WORK, "--version", "1")
        names = {"1": {said(old, "LAUNCHED")}, "2": set[str]()}
        until(lambda: in_hand(processes))
        names["2"] = {said(processes.start("serve", *WORK, "--version", "2"), "LAUNCHED")}
        processes.kill(old)
        left = processes.unfinished()
        assert processes.start("submit", *WORK, "--runs", "2", "--version", "2").wait(WAIT) == 0
        until(lambda: set(processes.unfinished()) == set(left))
        assert processes.unfinished() == left, "work of version 1 was touched"
        again = processes.start("serve", *WORK, "--version", "1")
        names["1"].add(said(again, "LAUNCHED"))
        until(lambda: processes.unfinished() == {})
        for line in processes.lines():
            assert line.executor in names["1" if line.workflow.startswith("r1/") else "2"]
        processes.assert_all_done_once(HOSTS, STEPS, runs=2, again=2)
    finally:
        processes.stop()


@pytest.mark.long
def test_a_run_outlives_its_workers_where_its_own_process_lives(tmp_path: Path, postgres: Postgres) -> None:
    """Its children were left to workers; when none is there any more, it works on them itself."""
    processes = Processes(tmp_path, database(postgres))
    try:
        workers = [processes.start("serve", *WORK) for _ in range(2)]
        names = {said(one, "LAUNCHED") for one in workers}
        run = processes.start("start", *WORK)
        mine = said(run, "LAUNCHED")
        until(lambda: in_hand(processes))
        assert {line.executor for line in processes.lines()} <= names
        for worker in workers:
            processes.kill(worker)
        assert said(run, "RESULT") == str(HOSTS * STEPS)
        assert mine in {line.executor for line in processes.lines()}
        processes.assert_all_done_once(HOSTS, STEPS, again=2)
    finally:
        processes.stop()


def test_a_database_that_restarts_under_a_run_is_no_failed_step(tmp_path: Path, postgres: Postgres) -> None:
    processes = Processes(tmp_path, database(postgres))
    try:
        first = processes.start("start", *WORK)
        said(first, "LAUNCHED")
        until(lambda: in_hand(processes))
        postgres.restart("immediate")
        processes.mark()
        assert said(first, "STOPPED") == ""
        assert first.wait(WAIT) == 0
        assert "r1" in processes.unfinished()
        second = processes.start("recover", *WORK)
        assert said(second, "RESULT") == str(HOSTS * STEPS)
        processes.assert_all_done_once(HOSTS, STEPS, again=2)
    finally:
        processes.stop()


class Wire:
    """Passes on what goes to a port of this machine and what comes from it, until it is cut: then nothing, in silence."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._cut = threading.Event()
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Wire:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cut.set()
        for end in (self._server, *self._ends):
            end.close()

    def cut(self) -> None:
        self._cut.set()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(a, b), daemon=True).start()

    def _pass_on(self, a: socket.socket, b: socket.socket) -> None:
        with suppress(OSError):
            while data := a.recv(65536):
                if self._cut.is_set():
                    return
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

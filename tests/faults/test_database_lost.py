"""PostgreSQL goes away in the middle of anything: what was acknowledged is there, nothing is there twice, and whoever
can't go on is told so within a bounded time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from tests.servers.postgres import Postgres
from tests.servers.state import lent, opened, with_tables
from tests.servers.wire import Wire, wire

from mainstay.inventory.postgres import postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.artifacts.adapters.shared import CHUNK, SharedArtifacts
from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.seals import Anchor, make_key
from mainstay.runner.record import HostPart
from mainstay.runner.state.adapters import postgres as adapter
from mainstay.runner.state.adapters.database import ConnectionLost, StateUnusable
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict


class Place:
    """A state whose connections go over a wire."""

    def __init__(self, server: Postgres, line: Wire, folder: Path, name: str, patience: float = 60.0) -> None:
        self.server, self.line, self.name = server, line, name
        address = postgres_address(
            f"postgresql://mainstay@127.0.0.1:{line.port}/{name}?sslmode=disable&gssencmode=disable"
        )
        self.database = PostgresDatabase(address, Secret(server.PASSWORD), patience=patience)
        self.state = SqlState(self.database)
        make_key(folder / "ledger.key")
        Anchor(folder / "anchor.jsonl").make()
        self.ledger = SqlLedger(self.database, folder / "ledger.key", folder / "anchor.jsonl", self.state.hosts_digest)
        self.artifacts = SharedArtifacts(self.database, folder / "cache")

    def kill_backends(self) -> int:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        return len(self.server.execute(kill, self.name))

    def count(self, table: str) -> int:
        ((found,),) = self.server.execute(f"SELECT count(*) FROM mainstay.{table}", database=self.name)
        return int(found)


@pytest.fixture
def line(postgres: Postgres) -> Iterator[Wire]:
    with wire(postgres.port) as one:
        yield one


@pytest.fixture
def place(postgres: Postgres, line: Wire, tmp_path: Path) -> Iterator[Place]:
    with lent(postgres) as name:
        one = Place(postgres, line, tmp_path, name)
        yield one
        one.database.close()


def row(id: str = "r1") -> RunRow:
    data = {"id": id, "kind": "patch", "plan": "p", "state": "running", "request": {}, "started_at": "s"}
    return RunRow.model_validate(data)


BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
"""Of a write; what only reads says another level."""
COMMIT = b"COMMIT\0"

PART = HostPart(host="a", verdict=Verdict.SUCCEEDED)
WRITES: dict[str, tuple[Callable[[Place], object], str, int]] = {
    "add_run": (lambda to: to.state.add_run(row("r2")), "run", 2),
    "set_run": (lambda to: to.state.set_run("r1", wave=3), "run", 1),
    "wish": (lambda to: to.state.wish("r1", "pause", by="anna", reason="x"), "intervention", 1),
    "take_slots": (lambda to: to.state.take_slots("r1", "a", {"site": 1}), "slot", 1),
    "set_waves": (lambda to: to.state.set_waves("r1", [["a"], ["b"]]), "wave", 2),
    "write_part": (lambda to: to.state.write_part("r1", PART), "host_part", 1),
    "note_outcome": (lambda to: to.state.note_outcome("r1", "a", Verdict.FAILED), "outcome", 1),
    "note_step": (lambda to: to.state.note_step("r1", "a", "apply", ""), "note", 1),
    "see": (lambda to: to.state.see("debian", [("x", "1")], "s"), "sighting", 1),
    "block": (lambda to: to.state.block("a", "d", "r1"), "block", 1),
    "seal": (lambda to: to.ledger.seal("r1", {"n": 1}), "maintenance_record", 1),
    "put": (lambda to: to.artifacts.put(b"x", kind="json"), "artifact_chunk", 1),
}


@pytest.mark.parametrize("words", [BEGIN, COMMIT], ids=["before", "commit"])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_answer_was_lost_is_there_once(place: Place, name: str, words: bytes) -> None:
    """`commit`: it happened, and nobody was told."""
    write, table, rows = WRITES[name]
    place.state.add_run(row())
    place.line.lose_answer_to(words)
    said = write(place)
    assert place.line.lost.wait(30)
    assert place.count(table) == rows
    assert said is not False
    assert place.ledger.verify() == []


def test_a_fence_whose_answer_was_lost_is_skipped(place: Place) -> None:
    first = place.state.next_fence()
    place.line.lose_answer_to(COMMIT)
    second = place.state.next_fence()
    assert place.line.lost.is_set()
    assert second == first + 2
    assert place.state.next_fence() == second + 1


def test_a_connection_that_was_killed_between_two_questions_is_made_anew(place: Place) -> None:
    place.state.add_run(row())
    assert place.kill_backends() > 0
    assert place.state.run("r1") is not None
    place.line.cut()
    assert place.state.run("r1") is not None


def test_a_package_whose_upload_was_cut_several_times_is_whole(place: Place) -> None:
    data = os.urandom(CHUNK * 4)
    with place.artifacts.writer(kind="package") as (file, names):
        file.write(data)
        place.line.lose_answer_to(b"INSERT INTO artifact_chunk")
    assert place.line.lost.is_set()
    assert place.count("artifact_chunk") == 4
    place.artifacts.path(names[0]).unlink()
    place.line.lose_answer_to(b"SELECT artifact_chunk")
    assert place.artifacts.path(names[0]).read_bytes() == data


def test_backends_killed_all_the_time_lose_and_double_nothing(place: Place) -> None:
    stop, killed = threading.Event(), Counter[str]()
    sealed: list[str] = []
    fences: list[int] = []

    def kill() -> None:
        while not stop.wait(0.1):
            killed["backends"] += place.kill_backends()

    def work(thread: int) -> None:
        for number in range(6):
            id = f"r{thread}-{number}"
            place.state.add_run(row(id))
            fences.append(place.state.next_fence())
            place.state.wish(id, "cancel", by="anna", reason="")
            place.ledger.seal(id, {"n": number})
            sealed.append(id)

    killer = threading.Thread(target=kill)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in (killer, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    killer.join()
    assert killed["backends"] > 0
    assert sorted(sealed) == sorted(entry.id for entry in place.ledger.entries())
    assert len(sealed) == 18 == place.count("run") == place.count("intervention")
    assert len(set(fences)) == 18
    assert place.ledger.verify() == []
    place.ledger.guard()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_in_mid_run_is_waited_for(place: Place, mode: str) -> None:
    place.ledger.seal("r1", {"n": 1})
    place.server.stop(mode)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(place.ledger.seal("r2", {"n": 2}).seq))
    thread.start()
    try:
        before = place.line.connections
        while place.line.connections < before + 2:  # it has found nobody there, more than once
            time.sleep(0.01)
        assert done == []
    finally:
        place.server.start()
    thread.join(60)
    assert done == [2]
    assert place.ledger.verify() == []


def test_a_server_that_stays_away_is_told_within_the_patience(postgres: Postgres, line: Wire, tmp_path: Path) -> None:
    place = Place(postgres, line, tmp_path, with_tables(postgres), patience=0.5)
    place.server.stop("immediate")
    try:
        with pytest.raises(ConnectionLost) as caught:
            place.ledger.seal("r1", {})
        assert postgres.PASSWORD not in f"{caught.value!r}{caught.value.hint}{caught.value.__cause__!r}"
        assert caught.value.hint and "Does the server run" in caught.value.hint
    finally:
        place.server.start()
    assert place.ledger.seal("r1", {}).seq == 1
    place.database.close()


def test_a_server_that_says_nothing_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine still answers for it, so that no timeout of the network's ends the wait."""
    place.state.add_run(row())
    monkeypatch.setattr(adapter, "SILENT", 0.2)
    monkeypatch.setattr(adapter, "CONNECT", 2)
    place.database.patience = 0.0
    place.line.freeze()
    with pytest.raises(StateUnusable):
        place.state.run("r1")
    place.line.thaw()
    place.database.patience = 60.0
    assert place.state.run("r1") is not None


STOPPED = """
import sys
from mainstay.inventory.postgres import postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from mainstay.runner.state.adapters.sql import SqlState
state = SqlState(PostgresDatabase(postgres_address(sys.argv[1]), Secret(sys.stdin.readline().strip())))
try:
    with state._database.write() as to:
        to.exec_driver_sql("UPDATE meta SET value = '777' WHERE name = 'fence'")
        print("holds", flush=True)
        sys.stdin.readline()
    print("committed", flush=True)
except Exception as error:
    print(type(error).__name__, flush=True)
print(state.next_fence(), flush=True)
"""


def test_a_process_that_is_stopped_in_mid_write_holds_up_nobody(postgres: Postgres) -> None:
    name = with_tables(postgres)
    state = SqlState(opened(postgres, name))
    argv = [sys.executable, "-c", STOPPED, postgres.url(name)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None and other.stdout is not None
        print(postgres.PASSWORD, file=other.stdin, flush=True)
        assert other.stdout.readline() == "holds\n"
        other.send_signal(signal.SIGSTOP)
        fence = state.next_fence()  # once the server has ended the other's transaction
        assert fence < 777
        other.send_signal(signal.SIGCONT)
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "ConnectionLost\n"
        assert int(other.stdout.readline()) == fence + 1
    state.close()


def test_a_lock_that_somebody_keeps_is_told_with_a_hint(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapter._SESSION, "lock_timeout", "100")
    name = with_tables(postgres)
    first, second = opened(postgres, name), opened(postgres, name)
    state = SqlState(second)
    with first.write(), pytest.raises(StateUnusable, match="lock timeout") as caught:
        state.next_fence()
    assert caught.value.hint and "held the database" in caught.value.hint
    assert state.next_fence() == 1
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("consuming input failed: SSL SYSCALL error: EOF detected", True),
        ("consuming input failed: SSL connection has been closed unexpectedly", True),
        ("server closed the connection unexpectedly", True),
        ('connection to server at "db", port 5432 failed: FATAL:  the database system is starting up', True),
        ('connection to server at "db", port 5432 failed: SSL error: certificate verify failed', False),
        ('connection to server at "db", port 5432 failed: server does not support SSL, but SSL was required', False),
        ('connection failed: FATAL:  password authentication failed for user "m"', False),
        ('connection failed: FATAL:  no pg_hba.conf entry for host "::1"', False),
    ],
)
def test_what_passes_by_is_told_from_what_does_not(words: str, lost: bool) -> None:
    database = PostgresDatabase(postgres_address("postgresql://m@db/x"))
    told = database._told(OperationalError("SELECT 1", {}, psycopg.OperationalError(words)))
    assert isinstance(told, StateUnusable)
    assert isinstance(told, ConnectionLost) == lost
    database.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("53100", "disk is full"),
        ("58030", "could not read block"),
        ("58P01", "could not open file"),
        ("XX001", "invalid page"),
    ],
)
def test_what_ails_the_server_itself_is_said_in_its_own_words(postgres: Postgres, code: str, told: str) -> None:
    with lent(postgres) as name:
        database = opened(postgres, name)
        try:
            with pytest.raises(StateUnusable, match=told), database.read() as of:
                of.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION '{told}' USING ERRCODE = '{code}'; END $$")
        finally:
            database.close()


def test_a_mistake_of_ours_is_not_taken_for_one_of_the_servers(postgres: Postgres) -> None:
    with lent(postgres) as name:
        database = opened(postgres, name)
        try:
            with pytest.raises(ProgrammingError), database.read() as of:
                of.exec_driver_sql("SELEC 1")
        finally:
            database.close()

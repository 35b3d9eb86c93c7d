"""What is particular to the engine on DBOS: its file, its format, its place in the process, and how it is closed."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.unit.runner.engine.conftest import WAIT, Body, Makes
from tests.waiting import until

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.adapters.dbos_client import DbosClient
from mainstay.runner.engine.adapters.dbos_store import JsonSerializer
from mainstay.runner.engine.contract import Context, EngineStopped, EngineUnusable, JsonValue, WorkflowFailed


def test_the_file_is_its_owners_and_has_a_write_ahead_log(makes: Makes) -> None:
    makes()
    path = makes.directory / "engine.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(makes.directory.stat().st_mode) == 0o700
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_in_the_store_is_pickle(makes: Makes) -> None:
    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step("fails", lambda: 1 / 0) if argument else ctx.step("well", lambda: {"a": 1})
        ctx.wait("go", 5)
        raise ValueError("at the end")

    engine = makes(work=work)
    for number in range(2):
        handle = engine.start("work", f"w{number}", number)
        if not number:
            engine.signal("w0", "go", {"by": "alice"})
        with pytest.raises(WorkflowFailed):
            handle.result(WAIT)
    with closing(sqlite3.connect(makes.directory / "engine.db")) as database:
        read = database.execute
        texts = [text for row in read("SELECT inputs FROM workflow_input") for text in row]
        texts += [text for row in read("SELECT output, error FROM workflow_output") for text in row]
        texts += [text for row in read("SELECT output, error FROM operation_outputs") for text in row]
        texts += [text for row in read("SELECT message FROM notifications") for text in row]
        formats = {row[0] for row in read("SELECT DISTINCT serialization FROM operation_outputs WHERE output != ''")}
    assert len([text for text in texts if text]) >= 10
    for text in texts:
        if text:
            json.loads(text)
    assert formats <= {"mainstay-json", "portable_json", None}


def test_a_stranger_in_the_store_can_not_run_code(makes: Makes, tmp_path: Path) -> None:
    import base64
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "evil",))

    with pytest.raises(ValueError):
        JsonSerializer().deserialize(base64.b64encode(pickle.dumps(Evil())).decode())
    assert not (tmp_path / "evil").exists()


def test_a_second_engine_in_the_process_is_refused(makes: Makes, tmp_path: Path) -> None:
    first = makes()
    second = DbosEngine(tmp_path / "other")
    with pytest.raises(EngineUnusable, match="already"):
        second.launch()
    first.close()
    makes.engines.append(second)
    second.launch()


def test_python_and_sqlite_that_do_not_fit_are_refused_in_words(makes: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Version(tuple[int, ...]):
        major, minor = 3, 12

    monkeypatch.setattr(sys, "version_info", Version((3, 12, 1)))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    with pytest.raises(EngineUnusable, match=r"SQLite 3\.42 or newer"):
        DbosEngine(makes.directory).launch()
    monkeypatch.undo()
    makes()  # and the refusal left nothing behind


def test_a_damaged_store_is_refused_in_words(makes: Makes) -> None:
    makes.directory.mkdir()
    (makes.directory / "engine.db").write_bytes(b"not a database " * 500)
    with pytest.raises(EngineUnusable, match="not a database"):
        DbosEngine(makes.directory).launch()


def test_a_store_that_somebody_holds_is_refused_in_words(makes: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    makes().close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout=0.1: connect(path, timeout=0.1))
    with closing(connect(makes.directory / "engine.db")) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(EngineUnusable, match="locked"):
            DbosEngine(makes.directory).launch()


@pytest.mark.thorough
def test_a_step_in_hand_keeps_its_closed_engine_alive_until_it_ends(makes: Makes) -> None:
    inside, go, done = threading.Event(), threading.Event(), list[str]()

    def long() -> JsonValue:
        inside.set()
        assert go.wait(WAIT)
        done.append("long")
        return None

    def work(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.step("long", long)
        return ctx.step("after", lambda: done.append("after"))

    first = makes(work=work)
    handle = first.start("work", "w1", None)
    assert inside.wait(WAIT)
    first.close(wait=0.05)
    second = makes(work=work)
    assert second.alive(first.executor)
    assert second.recover() == []
    go.set()
    until(lambda: not second.alive(first.executor))
    with pytest.raises(EngineStopped):
        handle.result(WAIT)
    assert done == ["long"]
    assert second.recover() == ["w1"]
    second.start("work", "w1", None).result(WAIT)
    assert done == ["long", "long", "after"]  # the first end could not be kept: at least once, never beside each other


@pytest.mark.thorough
def test_closing_ends_a_long_sleep_and_a_long_wait_at_once(makes: Makes) -> None:
    def sleeps(ctx: Context, argument: JsonValue) -> JsonValue:
        ctx.sleep(86400)
        return None

    def waits(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.wait("approve", 86400)

    first = makes(sleeps=sleeps, waits=waits)
    first.start("sleeps", "s1", None)
    first.start("waits", "w1", None)
    until(lambda: bool(first._topics))
    began = time.monotonic()
    first.close(wait=2 * WAIT)
    assert time.monotonic() - began < WAIT, "neither is waited for"
    second = makes(sleeps=sleeps, waits=waits)
    assert sorted(second.unfinished()) == ["s1", "w1"]
    assert not second.alive(first.executor)
    assert sorted(second.recover()) == ["s1", "w1"]
    second.signal("w1", "approve", "yes")
    assert second.start("waits", "w1", None).result(WAIT) == "yes"  # not the word that woke the first one


@pytest.mark.thorough
def test_the_dead_leave_nothing_behind(makes: Makes) -> None:
    body: Body = lambda ctx, argument: ctx.wait("go", 60)  # noqa: E731 - one line is enough
    first = makes(work=body)
    first.start("work", "w1", None)
    until(lambda: bool(first._topics))
    first.close()
    second = makes(work=body)
    second.recover()
    second.signal("w1", "go", 1)
    second.start("work", "w1", None).result(WAIT)
    second.close()
    locks = makes.directory / "executors"
    assert not list(locks.iterdir())
    with closing(sqlite3.connect(makes.directory / "engine.db")) as database:
        assert database.execute("SELECT count(*) FROM queues").fetchone() == (0,)


def test_a_client_looks_and_signals_and_never_launches(makes: Makes) -> None:
    engine = makes(work=lambda ctx, argument: ctx.wait("go", 60))
    handle = engine.start("work", "w1", None)
    client = DbosClient(makes.directory)
    assert client.unfinished() == {"w1": engine.executor}
    assert client.alive(engine.executor)
    client.signal("w1", "go", {"by": "bob"})
    assert handle.result(WAIT) == {"by": "bob"}
    assert client.unfinished() == {}
    with pytest.raises(WorkflowFailed, match="nobody"):
        client.signal("nobody", "go", 1)
    client.close()


def test_a_client_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match="not there"):
        DbosClient(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_the_contract_does_not_import_what_is_slow() -> None:
    program = (
        "import sys, mainstay.runner.engine.contract, mainstay.runner.state.contract, mainstay.runner.ledger.contract\n"
        "print(sorted({'dbos', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


def test_it_is_quiet(makes: Makes, capfd: pytest.CaptureFixture[str]) -> None:
    engine = makes(work=lambda ctx, argument: ctx.step("it", lambda: 1 / 0))
    with pytest.raises(WorkflowFailed):
        engine.start("work", "w1", None).result(WAIT)
    engine.close()
    assert capfd.readouterr() == ("", "")


def test_looking_imports_nothing_slow(makes: Makes) -> None:
    makes().close()
    program = (
        "import sys; from pathlib import Path; from mainstay.runner.engine.adapters.dbos_client import DbosClient\n"
        "print(DbosClient(Path(sys.argv[1])).unfinished(), sorted({'dbos', 'sqlalchemy'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", program, str(makes.directory)]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "{} []\n"


def test_a_client_of_a_state_that_has_run_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "engine.db").touch()
    with pytest.raises(EngineUnusable, match="empty or not there"):
        DbosClient(tmp_path)

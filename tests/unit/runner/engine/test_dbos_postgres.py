"""What is particular to the engine on PostgreSQL: its address, its sessions, and what it says when it can't be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow
from tests.contract.engine_suite import QUICK, WAIT, MakesDbos, database
from tests.servers.postgres import Postgres
from tests.waiting import until

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.adapters.dbos_client import DbosClient
from mainstay.runner.engine.adapters.postgres_liveness import HELD, PostgresLiveness, answer, connect, lock_of
from mainstay.runner.engine.adapters.postgres_place import PostgresPlace, for_libpq
from mainstay.runner.engine.contract import Context, EngineStopped, EngineUnusable, JsonValue, Unkept, WorkflowFailed
from mainstay.runner.engine.liveness import Timing


@pytest.fixture
def makes(tmp_path: Path, postgres: Postgres) -> Iterator[MakesDbos]:
    one = MakesDbos(tmp_path / "state", database(postgres, new=True))
    yield one
    for engine in one.engines:
        engine.close()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("postgresql+psycopg://a:p%40ss@db:5433/mainstay", "postgresql://a:p%40ss@db:5433/mainstay"),
        (
            "postgresql://a@/x?host=%2Frun%2Fpg&connect_timeout=3",
            "postgresql://a@/x?host=%2Frun%2Fpg&connect_timeout=3",
        ),
        (
            "postgresql+psycopg://a@/x?host=one%2C%3A%3A1&port=1%2C2&sslrootcert=/our+own/ca",
            "postgresql://a@/x?host=one%2C%3A%3A1&port=1%2C2&sslrootcert=%2Four%20own%2Fca",
        ),
    ],
)
def test_the_address_is_written_as_libpq_reads_it(asked: str, told: str) -> None:
    assert for_libpq(asked) == told


def test_its_tables_are_in_a_schema_of_their_own_and_the_folder_stays_empty(makes: MakesDbos) -> None:
    makes.engine()
    with psycopg.connect(makes.url) as server:
        query = "SELECT DISTINCT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        assert server.execute(query).fetchall() == [("dbos",)]
    assert not makes.directory.exists()


def test_a_client_looks_and_signals_and_never_launches(makes: MakesDbos) -> None:
    with pytest.raises(EngineUnusable, match="not there"):
        DbosClient(makes.directory, makes.url)
    engine = makes.engine(serve=True, work=lambda ctx, argument: ctx.wait("go", WAIT))
    handle = engine.start("work", "w1", None)
    client = DbosClient(makes.directory, makes.url)
    assert client.unfinished() == {"w1": engine.executor}
    assert client.versions() == {"w1": "1"}
    assert client.alive(engine.executor)
    assert not client.alive("another")
    assert client.serving() == [engine.executor]
    assert client.serving("2") == []
    client.signal("w1", "go", {"by": "bob"})
    assert handle.result(WAIT) == {"by": "bob"}
    assert client.unfinished() == {}
    with pytest.raises(WorkflowFailed, match="nobody"):
        client.signal("nobody", "go", 1)
    client.close()
    assert client.unfinished() == {}  # opened again for one more question
    client.close()


def test_a_child_that_could_not_be_kept_is_taken_up_again_while_its_parent_waits(makes: MakesDbos) -> None:
    """Both on one worker, which alone could do it, as it lives."""
    tries: list[str] = []

    def child(ctx: Context, argument: JsonValue) -> JsonValue:
        tries.append(ctx.id)
        if len(tries) == 1:
            raise Unkept("the disk is full")
        return len(tries)

    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()

    engine = makes.engine(serve=True, parent=parent, child=child)
    assert engine.submit("parent", "p1", None).result(WAIT) == 2


def test_a_database_that_could_not_be_asked_is_no_outcome_of_a_parent(
    makes: MakesDbos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parent(ctx: Context, argument: JsonValue) -> JsonValue:
        return ctx.enqueue("child", f"{ctx.id}/c", None, queue="q", parallel=1).result()

    def away() -> list[str]:
        raise EngineUnusable("the engine's database: it was restarted")

    engine = makes.engine(parent=parent, child=lambda ctx, argument: "well")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(engine, "serving", away)
        with pytest.raises(EngineStopped, match="it was restarted"):
            engine.start("parent", "p1", None).result(WAIT)
    assert engine.unfinished() == {"p1": engine.executor}


def test_looking_imports_no_dbos(makes: MakesDbos) -> None:
    makes.engine()
    program = (
        "import sys; from pathlib import Path; from mainstay.runner.engine.adapters.dbos_client import DbosClient\n"
        "print(DbosClient(Path('/'), sys.argv[1]).unfinished(), sorted({'dbos', 'sqlalchemy'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", program, makes.url]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "{} []\n"


def test_what_a_dead_server_left_is_no_hindrance_to_the_next_question(makes: MakesDbos, postgres: Postgres) -> None:
    makes.engine().close()
    client = DbosClient(makes.directory, makes.url)
    assert client.unfinished() == {}
    postgres.restart("immediate")
    assert client.unfinished() == {}
    client.close()


@pytest.mark.parametrize("what", ["password", "port", "database"])
def test_a_server_that_can_not_be_had_is_said_in_words_without_the_password(
    tmp_path: Path, postgres: Postgres, what: str
) -> None:
    url = database(postgres)
    if what == "password":
        url = url.replace(postgres.PASSWORD, "wrong-but-secret")
    elif what == "port":
        url = url.replace(f":{postgres.port}/", ":1/")
    else:
        url = f"{url}_gone"
    for call in (lambda: DbosEngine(tmp_path, url).launch(), lambda: DbosClient(tmp_path, url)):
        with pytest.raises(EngineUnusable, match="the engine's database") as caught:
            call()
        error: BaseException | None = caught.value
        while error is not None:
            assert "wrong-but-secret" not in str(error)
            assert postgres.PASSWORD not in str(error)
            error = error.__cause__ or error.__context__
    DbosEngine(tmp_path / "sqlite").close()  # and the refusal left nothing behind


def test_a_database_that_may_not_be_changed_is_refused_in_words(tmp_path: Path, postgres: Postgres) -> None:
    name = postgres.database()
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
    url = postgres.url(name).replace("mainstay@", f"mainstay:{postgres.PASSWORD}@")
    with pytest.raises(EngineUnusable, match="permission denied"):
        DbosEngine(tmp_path, url).launch()


def test_a_frozen_session_is_ended_and_its_executor_gone_only_when_that_is_proved(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database(postgres)
    place = PostgresPlace(url)
    told = threading.Event()
    timing = Timing(lease=600.0, grace=0.5, fresh=0.3, beat=600.0)  # it shows no sign of life by itself
    frozen, living = place.liveness(timing), place.liveness(QUICK)
    assert isinstance(frozen, PostgresLiveness)
    frozen.hold("frozen", "1", True, told.set)
    living.hold("living", "1", True, lambda: None)
    assert frozen.alive("frozen")
    assert living.serving() == {"frozen": "1", "living": "1"}
    hasty = place.liveness(Timing(lease=0.2))
    until(lambda: not hasty.alive("frozen"))
    until(lambda: hasty.alive("living"))
    # From here on an hour has passed since its last word. However busy the machine is, that of the other is fresh.
    ask = frozen._ask

    def aged(query: str) -> list[TupleRow]:
        if query != HELD:
            return ask(query)
        return [(*row[:3], row[3] + (3600.0 if row[0] == lock_of("frozen") else 0.0)) for row in ask(query)]

    monkeypatch.setattr(frozen, "_ask", aged)
    assert frozen.gone({"frozen", "living"}, patient=False) == set()  # not at first sight
    assert frozen.gone({"frozen", "living"}, patient=True) == {"frozen"}
    assert frozen.serving() == {"living": "1"}
    with pytest.raises(psycopg.OperationalError):
        answer(frozen._session.pgconn, 60.0)  # type: ignore[union-attr]  # held above
    assert living.sure()
    living.release()
    until(lambda: living.gone({"living"}, patient=True) == {"living"})  # its server takes a moment to notice
    place.close()


def test_a_server_that_does_not_answer_in_time_is_not_waited_for(postgres: Postgres) -> None:
    session = connect(for_libpq(database(postgres)), "test")
    answer(session.pgconn, 60.0)
    pid = postgres.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'test'")[0][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
            answer(session.pgconn, 0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
        session.close()


def test_its_sessions_are_named_and_its_server_watches_the_wire(makes: MakesDbos) -> None:
    engine = makes.engine(serve=True)
    with psycopg.connect(makes.url) as server:
        names = {row[0] for row in server.execute("SELECT application_name FROM pg_stat_activity").fetchall()}
    assert {f"mainstay serves 1 {engine.executor}", "mainstay asks", "mainstay engine"} <= names
    with connect(for_libpq(makes.url), "test") as session:
        query = (
            "SELECT setting FROM pg_settings WHERE name IN ('tcp_keepalives_idle', 'tcp_user_timeout') ORDER BY name"
        )
        assert session.execute(query).fetchall() == [("3",), ("7000",)]

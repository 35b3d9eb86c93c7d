"""What a state keeps in its database: seen by another process, and as its rows stand there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import lent, opened

from mainstay.runner.record import HostPart, hosts_digest
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict


@pytest.fixture(params=["sqlite", "postgres"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """The same database each time, as another process would open it."""
    if request.param == "sqlite":
        yield lambda: SqliteDatabase(tmp_path / "mainstay.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    with lent(server) as name:
        yield lambda: opened(server, name)


def test_the_digest_of_what_is_written_is_that_of_the_parts(open_database: Callable[[], Database]) -> None:
    database = open_database()
    state = SqlState(database)
    assert state.hosts_digest("r1") == hosts_digest([])
    for host in ("b", "a", "ü"):
        state.write_part("r1", HostPart(host=host, verdict=Verdict.SUCCEEDED))
    assert state.hosts_digest("r1") == hosts_digest(state.parts("r1"))
    with database.write() as to:
        to.exec_driver_sql("UPDATE host_part SET body = replace(body, 'succeeded', 'failed') WHERE host = 'b'")
    assert state.hosts_digest("r1") != hosts_digest(
        [HostPart(host=host, verdict=Verdict.SUCCEEDED) for host in ("b", "a", "ü")]
    )
    state.close()


def test_another_process_sees_the_same(open_database: Callable[[], Database]) -> None:
    first, second = (SqlState(open_database()) for _ in range(2))
    assert first.id == second.id
    fence = first.next_fence()
    assert second.next_fence() > fence
    first.add_run(
        RunRow(id="r1", kind="patch", plan="p", state="preparing", request={}, started_at="2026-05-01T12:00:00Z")
    )
    second.wish("r1", "cancel", by="bob", reason="wrong day")
    found = first.run("r1")
    assert found is not None and found.wish == "cancel"
    first.close()
    second.close()


def test_notes_leave_no_connection_behind_that_waits_for_no_disk(tmp_path: Path) -> None:
    """What is written after a note outlives a power cut again."""
    database = SqliteDatabase(tmp_path / "mainstay.db")
    SqlState(database).note_step("r1", "a", "probe", "")
    with database.read() as of:
        assert of.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    with pytest.raises(ZeroDivisionError), database.noting():
        raise ZeroDivisionError
    with database.read() as of:
        assert of.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    database.close()

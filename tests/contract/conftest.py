"""What several of the suites ask for: every state there is with the clock that it goes by, and a host, a server that keeps
repositories, and both together as a backup needs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.contract.backing import Rig, rig
from tests.contract.sshd import Sshd, sshd
from tests.servers.postgres import Postgres
from tests.servers.rest import Rest, rest
from tests.servers.state import lent, opened

from mainstay.runner.record import HostPart, Step
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.state.contract import RunRow, State
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.verdict import Verdict


class Watch:
    def __init__(self) -> None:
        self.at = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def state(request: pytest.FixtureRequest, tmp_path: Path, watch: Watch) -> Iterator[State]:
    if request.param == "memory":
        yield MemoryState(watch)
        return
    with ExitStack() as until:
        database: Database = SqliteDatabase(tmp_path / "mainstay.db")
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            database = opened(server, until.enter_context(lent(server)))
        one = SqlState(database, watch)
        until.callback(one.close)
        yield one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    folder = tmp_path_factory.mktemp("storage")
    with rest(folder, folder.with_name(f"{folder.name}.log")) as one:
        yield one


@pytest.fixture
def here(tmp_path: Path, server: Sshd, storage: Rest) -> Iterator[Rig]:
    # Hosts of other sessions of these tests are this machine too, and jobs of one name would share their secrets' place.
    with rig(tmp_path / "host", server, storage, f"{tmp_path.name}-{os.getpid()}") as one:
        yield one


def row(id: str = "r1", **other: object) -> RunRow:
    data = {"id": id, "kind": "patch", "plan": "p", "state": "preparing", "request": {"hosts": ["a"], "ü": [1.5, None]}}
    return RunRow.model_validate({**data, "started_at": "2026-05-01T12:00:00Z", **other})


def part(host: str = "a", **other: object) -> HostPart:
    step = Step(name="apply", verdict=Verdict.SUCCEEDED, started_at="s", finished_at="f", detail="\udce4 ü", output="0")
    data = {"host": host, "verdict": "succeeded", "steps": (step,), "before": {"packages": {"x": "1"}}, **other}
    return HostPart.model_validate(data)

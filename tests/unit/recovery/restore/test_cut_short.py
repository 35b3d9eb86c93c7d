"""Restores whose job was killed in the middle, or whose repository is away when it is asked what should have come."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.tending.desk import World, plan

from mainstay.inventory.facts import Facts
from mainstay.recovery.backup.change import Program
from mainstay.recovery.plan import Source
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.databases import DatabaseOperation
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import ContactLost, Fence
from mainstay.runner.shell.fake import FakeHost, FakeShells


@pytest.mark.parametrize("there", [True, False])
def test_a_database_whose_job_was_killed_is_not_restored(there: bool) -> None:
    host = FakeHost("web1")
    host.on(lambda command: "psql" in command.argv, lambda host, command: "7\n")
    of = point(before(hours=1), source="db", item="app")
    order = RestoreOrder(
        host="web1",
        on="web1",
        pieces=(Piece(point=of, files=1, bytes=1000),),
        repositories={},
        into="app",
        confirmed=True,
        source=Source.model_validate({"postgresql": {}}),
    )
    change = RestoreChange(
        run="RUN1",
        host="web1",
        to="there" if there else "new",
        program=Program(path="/usr/bin/restic", version="0.18.0"),
        state_dir="/s",
        memory="/run",
        token="t" * 32,
    )
    operation = DatabaseOperation(order, cast(Any, None))
    shell = FakeShells([host]).open(host.host())

    def work(**found: Any) -> HostWork:
        return HostWork("RUN1", host.host(), shell, Fence(1, "state", "RUN1"), Facts(), cast(Any, None), found=found)

    # What a job that was lost tells: nothing.
    lost = work(**operation.outcome(change, None, b"\n@mainstay " + b"t" * 32 + b" unrelated\n").measures)
    (wrong,) = operation.verify(lost, change)
    assert "the job was cut short" in wrong and ("is kept as" in " ".join(lost.notes)) is there
    whole = work(
        **operation.outcome(
            change, 0, f"@mainstay {'t' * 32} database 0 0 1000\n@mainstay {'t' * 32} done".encode()
        ).measures
    )
    assert operation.verify(whole, change) == () and whole.measures["tables"] == 7


def test_what_can_t_be_compared_since_the_repository_is_away_is_not_known() -> None:
    world, host = World(), FakeHost("web1")
    world.repository()
    order = RestoreOrder(
        host="web1",
        on="web1",
        to="/srv/back",
        pieces=(Piece(point=point(before(hours=1)), files=1, bytes=1000),),
        repositories=plan().repositories,
    )
    change = RestoreChange(
        run="RUN1",
        host="web1",
        to="/srv/back",
        program=Program(path="/usr/bin/restic", version="0.18.0"),
        state_dir="/s",
        memory="/run",
        token="t" * 32,
    )
    shell = FakeShells([host]).open(host.host())
    work = HostWork("RUN1", host.host(), shell, Fence(1, "state", "RUN1"), Facts(), cast(Any, None))
    world.memory.away.add("/srv/web1")
    with pytest.raises(ContactLost, match="can't be asked what it has"):
        RestoreOperation(order, world.depot).verify(work, change)

"""Restores of databases whose job was killed in the middle."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.recovery.points import before, point

from mainstay.inventory.facts import Facts
from mainstay.recovery.backup.change import Program
from mainstay.recovery.plan import Source
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.databases import DatabaseOperation
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import Fence
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

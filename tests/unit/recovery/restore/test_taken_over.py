"""A restore's job goes on from another process: the way to the repository is set up as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.tending.desk import World, plan

from mainstay.inventory.facts import Facts
from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup.change import Program
from mainstay.recovery.gateway.contract import Served
from mainstay.recovery.repository import Access
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import ContactLost, Fence, ForwardRefused, Job
from mainstay.runner.shell.fake import FakeHost, FakeShells


class Way:
    @contextmanager
    def serve(self, access: Access, user: str, password: Secret) -> Iterator[Served]:
        yield Served("127.0.0.1", 9)


@pytest.mark.parametrize("begun", [True, False])
def test_a_port_that_the_process_before_has_not_given_up_yet_is_asked_for_again(begun: bool) -> None:
    """As of a backup: refused for good, the run would call a restore failed that goes on well."""
    world, host = World(), FakeHost("web1")
    order = RestoreOrder(
        host="web1",
        on="web1",
        to="/srv/back",
        pieces=(Piece(point=point(before(hours=1)), files=1, bytes=1000),),
        repositories=plan().repositories,
    )
    operation = RestoreOperation(order, replace(world.depot, gateway=cast(Any, Way())))
    shell = FakeShells([host]).open(host.host())
    work = HostWork("RUN1", host.host(), shell, Fence(1, "state", "RUN1"), Facts(), cast(Any, None))
    if begun:
        host.job("RUN1-web1-apply", seconds=3600)
        host.start(Job(name="RUN1-web1-apply", script=""))
    with shell.forward(("127.0.0.1", 9)) as port:
        change = RestoreChange(
            run="RUN1",
            host="web1",
            to="/srv/back",
            program=Program(path="/usr/bin/restic", version="0.18.0"),
            state_dir="/s",
            memory="/run",
            token="t" * 32,
            port=port,
        )
        with (
            pytest.raises(ContactLost if begun else ForwardRefused, match="is taken"),
            operation.attend(work, change, "RUN1-web1-apply"),
        ):
            pass

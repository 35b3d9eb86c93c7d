"""Restores whose job was killed in the middle, whose repository is away when it is asked, and that a host is not begun with."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.tending.desk import World, plan

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.recovery.backup.change import Program
from mainstay.recovery.plan import Source
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.databases import DatabaseOperation
from mainstay.recovery.restore.far import _stat
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.recovery.restore.previewing import Overwritten, forecast
from mainstay.recovery.restore.script import database_script
from mainstay.recovery.restore.targets import Target
from mainstay.runner.operation import HostWork, Look
from mainstay.runner.shell.contract import ContactLost, Fence
from mainstay.runner.shell.fake import FakeHost, FakeShells

NODE = Node(path="/app.dump", type="file", size=1000)


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
    assert whole.measures["restored db/app"] == {"point": of.id, "at": of.at, "of": "web1", "repository": "main"}


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_database_that_is_in_the_way(kind: str) -> None:
    host = FakeHost("web1")
    host.on(lambda command: "psql" in command.argv or "mariadb" in " ".join(command.argv), lambda host, command: "1\n")
    order = RestoreOrder(
        host="web1",
        on="web1",
        pieces=(Piece(point=point(before(hours=1), source="db", item="app"), files=1, bytes=1000),),
        repositories={},
        into="app",
        source=Source.model_validate({kind: {}}),
    )
    shell = FakeShells([host]).open(host.host())
    work = HostWork("RUN1", host.host(), shell, Fence(1, "state", "RUN1"), Facts(), cast(Any, None))
    operation = DatabaseOperation(order, cast(Any, None))
    with pytest.raises(Refused, match="there is a database app already") as refused:
        operation._target(work)
    hint = refused.value.hint or ""
    assert hint.startswith("--confirm=web1 keeps it as app_before_" if kind == "postgresql" else "--into app_of_")
    limits = DatabaseOperation(order.model_copy(update={"confirmed": True}), cast(Any, None))._limits()
    assert ("is kept as" in limits[0]) is (kind == "postgresql")


def test_who_is_connected_to_the_one_that_is_to_be_put_aside_is_why() -> None:
    of = point(before(hours=1), source="db", item="app")
    made = {"host": "web1", "on": "web1", "pieces": [{"point": of.to_json()}], "repositories": {}, "into": "app"}
    order = RestoreOrder.from_json({**made, "confirmed": True, "source": {"postgresql": {}}})
    change = RestoreChange(
        run="RUN1",
        host="web1",
        to="there",
        program=Program(path="/usr/bin/restic", version="0.18.0"),
        state_dir="/s",
        memory="/run",
        token="t" * 32,
    )
    slow = change.model_copy(update={"download": 40})
    text = database_script(slow, of.id, NODE, "postgres", make=["true"], read=["true"], drop=["true"])
    assert "pace='--limit-download 40'" in text and "$pace dump" in text
    said = b'ERROR:  database "app" is being accessed by other users\nDETAIL:  There is 1 other session using the database.\n'
    outcome = DatabaseOperation(order, cast(Any, None)).outcome(change, 70, said)
    assert not outcome.ok
    assert outcome.detail.startswith("somebody is connected to app, so that it can't be put aside: stop what uses it")


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


def test_a_host_is_not_given_the_login_that_may_remove_from_a_copy() -> None:
    login = {"user": "keeper", "password": "env:KEEPER"}
    told = {"name": "main", "url": "rest:https://vault/web1/", "password": "env:MAIN", "maintain": login}
    of = point(before(hours=1), copy_of="0" * 64)

    def refused(**more: Any) -> str:
        kept = Repository.model_validate(told | more)
        order = RestoreOrder(host="web1", on="web1", pieces=(Piece(point=of),), repositories={"main": kept})
        return RestoreOperation(order, cast(Any, None))._impossible()

    assert "a host is not given the one that may remove" in refused()
    assert refused(write={"user": "adder", "password": "env:ADDER"}) == ""


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_dump_of_another_host_is_told_with_the_rights_that_it_gets(kind: str) -> None:
    def rights(host: str, account: str = "") -> tuple[str, tuple[str, ...]]:
        source = Source.model_validate({kind: {}})
        order = RestoreOrder(
            host=host, on="web1", pieces=(), repositories={}, into="app", source=source, account=account
        )
        return DatabaseOperation(order, cast(Any, None))._rights("web1")

    user = "postgres" if kind == "postgresql" else "root"
    own, none = rights("web1")
    assert f"all rights of {user} in web1's server" in own and none == ()
    _, (risk,) = rights("web9")
    assert risk.startswith(f"whoever could write to web9's database decides what runs on web1 as {user}")
    assert ("--as ACCOUNT" in risk) is (kind == "postgresql")
    few, none = rights("web9", "shop")
    assert few.startswith("its SQL runs as shop, which may be no superuser") and none == ()


def test_what_can_t_be_looked_at_is_not_told_to_be_absent() -> None:
    """A preview has few rights: what lies in another's folder is overwritten without having been shown."""

    def notes(**found: Any) -> str:
        order = RestoreOrder(host="web1", on="web1", to="/", pieces=(), repositories={}, confirmed=True)
        return " ".join(forecast(order, Target("/", True, False, 1 << 40), Overwritten(**found)).notes)

    assert "none of it is there now" in notes() and "none of it" not in notes(same=1)
    assert "none of it" not in notes(hidden=True) and "can't be looked at without root's rights" in notes(hidden=True)
    host = FakeHost("web1")
    denial = "stat: cannot statx '/root/x': Permission denied\n"
    host.answer(lambda command: "xargs" in command.argv[-1], stderr=denial)
    there, denied = _stat(FakeShells([host]).open(host.host()), ["/root/x"], sudo=False)
    assert (there, denied) == ({}, True)


@pytest.mark.parametrize(("lacks", "why"), [("awk", "a restore needs awk there: install mawk"), ("grep -a", "")])
def test_a_host_without_the_tools_is_refused_before_anything_is_begun(lacks: str, why: str) -> None:
    host = FakeHost("web1")
    seen = "state /s\nmachine x86_64\nname web1\nmemory /run\npath /usr/bin/restic\nrestic restic 0.18.0 compiled\n"
    host.answer(lambda command: "uname -m" in command.argv[-1], f"{seen}lacks {lacks}\n")
    host.answer(lambda command: "mainstay" in command.argv, "real /srv/x\nthere no\nempty yes\nfree 100000000\n")
    order = RestoreOrder(
        host="web1",
        on="web1",
        to="/srv/x",
        pieces=(Piece(point=point(before(hours=1)), files=1, bytes=1000),),
        repositories=plan().repositories,
    )
    shell = FakeShells([host]).open(host.host())
    found = RestoreOperation(order, cast(Any, None)).preview(Look(host.host(), shell, Facts(), 0.0, {}))
    assert found.refused == why and (found.notes == ()) is bool(why)

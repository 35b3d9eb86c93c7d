"""Restores onto a host by real programs: a real sshd, restic, a REST server, PostgreSQL and MariaDB, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest
from tests.contract.backing import Rig
from tests.servers import mariadb
from tests.servers.postgres import Postgres, programs

from mainstay.inventory.errors import Refused
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.restore import restoring
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.choosing import Wanted, choose
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import RestoreOrder
from mainstay.runner.operation import Forecast, Look

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]


class Restores:
    """Takes a restore through its steps as the rollout does."""

    def __init__(self, rig: Rig, plan: BackupPlan) -> None:
        self.rig, self.plan = rig, plan
        self.concerns: list[str] = []
        self.notes: list[str] = []
        self.measures: dict[str, Any] = {}

    def order(
        self, *paths: str, to: Path | None = None, into: str = "", confirmed: bool = False, **more: str
    ) -> RestoreOrder:
        wanted = Wanted(self.rig.host.name, tuple(paths), **more)  # type: ignore[arg-type]  # names of texts
        choice = choose(wanted, self.rig.depot(), self.plan.repositories)
        return RestoreOrder(
            host=self.rig.host.name,
            on=self.rig.host.name,
            to=str(to or ""),
            pieces=choice.pieces,
            repositories=self.plan.repositories,
            confirmed=confirmed,
            into=into,
            source=self.plan.sources[choice.pieces[0].point.source] if into else None,
        )

    def operation(self, order: RestoreOrder) -> RestoreOperation:
        made = restoring(order.to_json(), self.rig.depot())
        assert isinstance(made, RestoreOperation)
        made._find = lambda: self.rig.program
        return made

    def preview(self, order: RestoreOrder) -> Forecast:
        shell = self.rig.shells.open(self.rig.host, write=False)
        try:
            return self.operation(order).preview(Look(self.rig.host, shell, cast(Any, None), 0.0, {}))
        finally:
            shell.close()

    def do(self, order: RestoreOrder, run: str) -> str:
        """Why it failed; empty where it did not."""
        shell = self.rig.shells.open(self.rig.host)
        try:
            work, operation = self.rig.work(shell, run), self.operation(order)
            operation.prepare(work, wait=10)
            change = operation.stage(work, operation.resolve(work, cast(Any, None), None), keep=False)
            change = RestoreChange.from_json(change.to_json())
            name = f"{run}-{self.rig.host.name}-apply"
            with operation.attend(work, change, name):
                shell.launch(operation.apply(work, change, name), work.fence)
                state, output = self.rig.follow(shell, name, 120)
            outcome = operation.outcome(change, state.exit, output)
            work.found = outcome.measures
            wrong = operation.verify(work, change) if outcome.ok else (outcome.detail,)
            self.concerns, self.notes, self.measures = work.concerns, work.notes, {**work.found, **work.measures}
            return "; ".join(wrong)
        finally:
            shell.close()


def test_files_come_back_onto_the_host_and_are_asked_for_again(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    for name, content in {"a": "one", "sub/b": "two" * 1000, "odd 'name'\\": "x", "empty": ""}.items():
        (data / name).write_text(content)
    (data / "hard").hardlink_to(data / "a")
    (data / "soft").symlink_to("a")
    (data / "a").chmod(0o4750)
    os.chown(data / "sub/b", 33, 33)
    plan = here.plan({"files": {"paths": [str(data)]}})
    assert here.back_up(plan).verdict == "succeeded"
    restores, to = Restores(here, plan), tmp_path / "to"
    order = restores.order(to=to, source="files")
    assert restores.preview(order).refused == ""
    assert restores.do(order, "R1") == ""
    back = Path(f"{to}{data}")
    assert {path.name: path.read_text() for path in back.glob("*") if path.is_file()} == {
        path.name: path.read_text() for path in data.glob("*") if path.is_file()
    }
    assert (back / "a").stat().st_mode & 0o7777 == 0o4750 and (back / "a").samefile(back / "hard")
    assert (back / "sub/b").stat().st_uid == 33 and (back / "soft").readlink() == Path("a")
    assert restores.measures["restored files"]["verified"] == 5 and restores.concerns == []
    # What is there is said, and is kept without the name.
    (back / "a").write_text("changed")
    (back / "extra").write_text("mine")
    preview = restores.preview(order)
    assert f"--confirm={here.host.name}" in preview.refused
    assert f"1 existing file differs and is overwritten: {back}/a" in preview.limits[0].replace(
        f"{back}/hard, ", ""
    ).replace("2 existing files differ and are", "1 existing file differs and is")
    with pytest.raises(Refused, match="is not empty"):
        restores.do(order, "R2")
    # A place where somebody else could send it elsewhere, before and in the target.
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_text("mine")
    (back / "sub/b").unlink()
    (back / "sub").rmdir()
    (back / "sub").symlink_to(outside)
    assert restores.do(restores.order(to=to, source="files", confirmed=True), "R3") == ""
    assert (outside / "b").read_text() == "mine" and (back / "sub/b").read_text() == "two" * 1000
    assert (back / "a").read_text() == "one" and (back / "extra").read_text() == "mine"
    trap = tmp_path / "trap"
    trap.symlink_to(outside)
    os.chown(trap, 33, 33, follow_symlinks=False)
    with pytest.raises(Refused, match="symlink that somebody else may change"):
        restores.do(restores.order(to=trap / "x", source="files"), "R4")
    with pytest.raises(Refused, match="symlink that somebody else may change"):
        restores.preview(restores.order(to=trap / "x", source="files"))
    assert not list(here.folder.rglob("password"))


def test_damaged_data_is_named(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "ab":
        (data / name).write_bytes(os.urandom(20_000))
    plan = here.plan({"files": {"paths": [str(data)]}})
    assert here.back_up(plan).verdict == "succeeded"
    _spoil(here)
    restores = Restores(here, plan)
    order = restores.order(to=tmp_path / "to", source="files")
    # On another host it is that one's name which is asked for, and it is said what it gets to know.
    other = order.model_copy(update={"host": "gone"})
    assert (order.name_to_confirm, other.name_to_confirm) == (here.host.name, here.host.name)
    assert "the password of gone's repository" in " ".join(restores.preview(other).notes)
    assert "the password of" not in " ".join(restores.preview(order).notes)
    why = restores.do(order, "R1")
    assert f"{data}/" in why and ("is not there" in why or "content" in why), why
    assert restores.measures["restored files"]["verified"] == 1


@pytest.mark.long
def test_a_database_of_postgresql_becomes_a_new_one(here: Rig, postgres: Postgres) -> None:
    name = postgres.database()
    odd = f'{name} "new"'
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n", database=name)
    cluster = {"host": str(postgres.folder), "port": postgres.port, "bin": str(programs()), "databases": [name]}
    plan = here.plan({"db": {"postgresql": cluster}})
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    restores = Restores(here, plan)
    asked: dict[str, Any] = {"source": "db", "database": name}
    assert restores.do(restores.order(into=odd, **asked), "R1") == ""
    assert postgres.execute("SELECT count(*), max(n) FROM t", database=odd) == [(1000, 1000)]
    assert restores.measures["tables"] == 1
    with pytest.raises(Refused, match=r"there is a database .* already"):
        restores.do(restores.order(into=odd, **asked), "R2")
    postgres.execute("DELETE FROM t", database=odd)
    assert restores.do(restores.order(into=odd, confirmed=True, **asked), "R3") == ""
    assert postgres.execute("SELECT count(*) FROM t", database=odd) == [(1000,)]
    (kept,) = [note.rpartition(" ")[2] for note in restores.notes if "is kept as" in note]
    aside = next(row[0] for row in postgres.execute("SELECT datname FROM pg_database WHERE datname LIKE '%before%'"))
    assert aside.endswith(kept) and postgres.execute("SELECT count(*) FROM t", database=aside) == [(0,)]
    # One that can't be read whole leaves nothing, and gives the old one its name again.
    quoted = aside.replace('"', '""')
    postgres.execute(f'DROP DATABASE "{quoted}"')
    _spoil(here)
    why = restores.do(restores.order(into=odd, confirmed=True, **asked), "R4")
    assert "the new database was dropped" in why
    assert postgres.execute("SELECT count(*) FROM t", database=odd) == [(1000,)]
    assert postgres.execute("SELECT datname FROM pg_database WHERE datname LIKE '%before%'") == []


def _spoil(here: Rig) -> None:
    """The data of the biggest pack: restic stops in the middle of the dump."""
    packs = [path for path in (here.repository_folder / "data").rglob("*") if path.is_file()]
    big = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(big.read_bytes())
    content[len(content) // 3] ^= 0xFF
    big.chmod(0o600)
    big.write_bytes(content)


@pytest.mark.long
def test_a_database_of_mariadb_becomes_a_new_one(here: Rig) -> None:
    with mariadb.running() as maria:
        maria.execute("CREATE DATABASE shop; USE shop; CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
        plan = here.plan({"db": {"mysql": {"socket": str(maria.socket), "databases": ["shop"]}}})
        ended = here.back_up(plan)
        assert ended.verdict == "succeeded", ended.said
        restores = Restores(here, plan)
        asked: dict[str, Any] = {"source": "db", "database": "shop"}
        assert restores.do(restores.order(into="shop`2", **asked), "R1") == ""
        assert maria.execute("SELECT sum(a) FROM t", "shop`2") == [["3"]]
        with pytest.raises(Refused, match="MariaDB can't rename one"):
            restores.do(restores.order(into="shop`2", confirmed=True, **asked), "R2")

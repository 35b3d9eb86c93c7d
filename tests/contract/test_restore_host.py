"""Restores onto a host by real programs: a real sshd, restic, a REST server, PostgreSQL and MariaDB, on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.backing import Rig
from tests.contract.restoring import Restores
from tests.fleet.system import wait_until
from tests.servers import mariadb
from tests.servers.postgres import Postgres, programs

from mainstay.inventory.errors import Refused

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]


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


def until_it_ends(here: Rig) -> Callable[[Callable[[], None], str], None]:
    """Asks the job to stop, as whoever follows it does: again and again."""

    def during(stop: Callable[[], None], name: str) -> None:
        def over() -> bool:
            stop()
            return (here.state_dir / "jobs" / name / "rc").exists()

        wait_until(over, "the job ends", deadline=60)

    return during


def test_one_that_is_cancelled_says_that_what_it_left_is_not_whole(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "big").write_bytes(os.urandom(10_000_000))
    plan = here.plan({"files": {"paths": [str(data)]}})
    assert here.back_up(plan).verdict == "succeeded"
    restores, to = Restores(here, plan), tmp_path / "to"
    restores.during = until_it_ends(here)
    order = restores.order(to=to, source="files")
    slow = {name: one.model_copy(update={"download": 100}) for name, one in order.repositories.items()}
    assert restores.do(order.model_copy(update={"repositories": slow}), "R1") == ""
    assert restores.outcome.stopped
    assert restores.done == f"what was written into {to} by then stays there, and is not whole"
    assert not list((here.repository_folder / "locks").iterdir())
    restores.during = lambda stop, name: None
    assert (
        restores.do(restores.order(to=to, source="files", confirmed=True), "R2") == "" and not restores.outcome.stopped
    )
    assert Path(f"{to}{data}/big").read_bytes() == (data / "big").read_bytes()


WAITS = """
CREATE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS $$BEGIN
  IF current_database() <> '{name}' THEN
    LOOP
      PERFORM pg_stat_clear_snapshot();
      EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'holder');
      PERFORM pg_sleep(0.05);
    END LOOP;
    RAISE EXCEPTION 'somebody has it open';
  END IF;
  RETURN true;
END$$;
CREATE TABLE t (n int CHECK (public.f()));
INSERT INTO t VALUES (1)
"""
"""What is read from its dump waits for somebody who has the new database open, and then goes wrong."""


def waiting(here: Rig, postgres: Postgres) -> tuple[Restores, str]:
    """A backup of such a database, and its name."""
    name = postgres.database()
    postgres.execute(WAITS.format(name=name), database=name)
    cluster = {"host": str(postgres.folder), "port": postgres.port, "bin": str(programs()), "databases": [name]}
    plan = here.plan({"db": {"postgresql": cluster}})
    assert here.back_up(plan).verdict == "succeeded"
    return Restores(here, plan), name


@pytest.mark.long
def test_a_database_that_can_t_be_dropped_is_said_to_be_there_still(here: Rig, postgres: Postgres) -> None:
    restores, name = waiting(here, postgres)
    into = f"{name}_new"
    postgres.execute(f"CREATE DATABASE {into}")
    order = restores.order(into=into, source="db", database=name, confirmed=True)
    aside = f"{into}_before_{order.pieces[0].point.id[:8]}"
    held: list[psycopg.Connection[tuple[Any, ...]]] = []

    def hold(stop: Callable[[], None], job: str) -> None:
        wait_until(lambda: ask("SELECT 1 FROM pg_database WHERE datname = %s", aside), "it is put aside", deadline=60)
        wait_until(lambda: ask("SELECT 1 FROM pg_stat_activity WHERE datname = %s", into), "it is read", deadline=60)
        words = f"host={postgres.folder} port={postgres.port} user=postgres dbname={into} application_name=holder"
        held.append(psycopg.connect(words))

    def ask(query: str, *values: str) -> bool:
        return bool(postgres.execute(query, *values))

    restores.during = hold
    try:
        why = restores.do(order, "R1")
    finally:
        for one in held:
            one.close()
    assert f"{into} is not whole, and could not be dropped: it is still there" in why
    assert f"the database {into} that was there is still called {aside}" in why and "1 other session" in why
    assert ask("SELECT 1 FROM pg_database WHERE datname = %s", into)
    for database in (into, aside):
        postgres.execute(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.mark.long
def test_a_database_whose_restore_is_cancelled_is_dropped_and_the_old_one_has_its_name(
    here: Rig, postgres: Postgres
) -> None:
    restores, name = waiting(here, postgres)
    into = f"{name}_new"
    postgres.execute(f"CREATE DATABASE {into}")
    postgres.execute("CREATE TABLE mine (n int)", database=into)

    def during(stop: Callable[[], None], job: str) -> None:
        query = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE 'COPY%%'"
        wait_until(lambda: bool(postgres.execute(query, into)), "its rows are read", deadline=60)
        until_it_ends(here)(stop, job)

    restores.during = during
    assert restores.do(restores.order(into=into, source="db", database=name, confirmed=True), "R1") == ""
    assert restores.outcome.stopped and restores.done == "the new database was dropped"
    assert postgres.execute("SELECT count(*) FROM mine", database=into) == [(0,)]
    assert not postgres.execute("SELECT 1 FROM pg_database WHERE datname LIKE %s", f"{into}_before%")


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


@pytest.mark.long
def test_a_hostile_dump_is_read_by_an_account_without_rights(here: Rig, postgres: Postgres) -> None:
    """A check of a table runs while its rows come in: as a superuser it starts programs, as another it can't."""
    postgres.folder.chmod(0o711)  # the account has to reach the server's socket
    account, (good, bad) = "daemon", (postgres.database(), postgres.database())
    postgres.execute(f"CREATE ROLE {account} LOGIN")
    mark = postgres.folder / f"run-{bad}"
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 10) AS n", database=good)
    body = f"BEGIN IF current_database() <> '{bad}' THEN COPY (SELECT 1) TO PROGRAM 'touch {mark}'; END IF; RETURN true; END"
    postgres.execute(
        f"CREATE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS $${body}$$; CREATE TABLE t (n int CHECK (public.f())); "
        "INSERT INTO t VALUES (1)",
        database=bad,
    )
    cluster = {"host": str(postgres.folder), "port": postgres.port, "bin": str(programs()), "databases": [good, bad]}
    plan = here.plan({"db": {"postgresql": cluster}})
    assert here.back_up(plan).verdict == "succeeded"
    restores = Restores(here, plan)
    hostile = restores.order(into=f"{bad}_new", source="db", database=bad)
    # Onto another host it is said what it can do there; with an account it can't.
    (risk,) = restores.preview(hostile.model_copy(update={"host": "web9"})).limits
    assert risk.startswith("whoever could write to web9's database") and "--as ACCOUNT" in risk
    assert restores.preview(hostile).limits == ()
    assert "with all rights of postgres" in restores.preview(hostile).notes[0]
    restricted = hostile.model_copy(update={"account": account})
    assert restores.preview(restricted.model_copy(update={"host": "web9"})).limits == ()
    why = restores.do(restricted, "R1")
    assert "the new database was dropped" in why and not mark.exists(), why
    assert not postgres.execute("SELECT 1 FROM pg_database WHERE datname = %s", f"{bad}_new")
    assert restores.do(restores.order(into=f"{good}_new", source="db", database=good, account=account), "R2") == ""
    assert postgres.execute(
        "SELECT tableowner, (SELECT sum(n) FROM t) FROM pg_tables WHERE tablename = 't'", database=f"{good}_new"
    ) == [(account, 55)]
    assert restores.notes == [f"the dump runs as {account}, no superuser"]
    with pytest.raises(Refused, match="postgres is a superuser"):
        restores.do(hostile.model_copy(update={"account": "postgres"}), "R3")
    with pytest.raises(Refused, match="sys is not let into"):
        restores.do(hostile.model_copy(update={"account": "sys"}), "R4")
    # A dump may say SET ROLE: what the account is in is what the dump can do.
    for role in ("pg_execute_server_program", "postgres"):
        postgres.execute(f"GRANT {role} TO {account}")
        with pytest.raises(Refused, match="is in a role that can do as much"):
            restores.do(restricted, f"R-{role}")
        postgres.execute(f"REVOKE {role} FROM {account}")
    postgres.execute(f"ALTER ROLE {account} CREATEROLE")
    with pytest.raises(Refused, match="is in a role that can do as much"):
        restores.do(restricted, "R-createrole")
    postgres.execute(f"ALTER ROLE {account} NOCREATEROLE")
    # This is what the words warn of.
    assert restores.do(hostile, "R5") == "" and mark.exists()


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

"""Proofs of dumps: real PostgreSQL, MariaDB and SQLite, whole and broken."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.servers import mariadb
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres, programs
from tests.unit.recovery.proving.drills import Drill
from tests.unit.recovery.proving.tools import Tool, by_tool
from tests.unit.recovery.restore.repositories import Book
from tests.waiting import until

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving import postgres as proving_postgres
from mainstay.recovery.proving import scratch
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("proving")]

PG: dict[str, Any] = {"db": {"postgresql": {}}}
MY: dict[str, Any] = {"db": {"mysql": {}}}


BOTH = pytest.mark.parametrize("way", ["here", "tool"])
LATER = pytest.mark.parametrize("way", ["here", pytest.param("tool", marks=pytest.mark.long)])
"""That the tool says the same of it is tried in the long form."""


@pytest.fixture
def way() -> str:
    """Whether a dump is proved in this process, or by the tool as on another machine."""
    return "here"


@pytest.fixture
def drill(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> Drill:
    if way == "tool":
        monkeypatch.setattr("mainstay.recovery.proving.drill.try_out", by_tool)
    return Drill(tmp_path)


@pytest.fixture(scope="module")
def app(postgres: Postgres) -> str:
    """A database with data, an extension in a schema of its own, rights and two owners."""
    name = postgres.database()
    for sql in (
        "CREATE SCHEMA ext",
        "CREATE EXTENSION hstore WITH SCHEMA ext",
        "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz, more ext.hstore)",
        "INSERT INTO orders SELECT n, now() - n * interval '1 minute', 'a=>1' FROM generate_series(1, 1000) n",
        "ALTER TABLE orders OWNER TO owner",
        "GRANT SELECT ON orders TO mainstay",
    ):
        postgres.execute(sql, database=name)
    return name


def dumped(postgres: Postgres, database: str, *words: str, program: str = "pg_dump") -> bytes:
    argv = [str(programs() / program), "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres", *words]
    return subprocess.run([*argv, *([database] if database else [])], check=True, capture_output=True).stdout


def keep(drill: Drill, item: str, content: bytes, name: str = "", **more: Any) -> RecoveryPoint:
    return drill.world.backup(source="db", stdin=(name or f"{item}.dump", content), item=item, **more)


@BOTH
def test_a_dump_is_restored_into_a_cluster_of_its_own_and_asked(drill: Drill, postgres: Postgres, app: str) -> None:
    point = keep(drill, app, dumped(postgres, app, "-Fc", "-Z0"))
    keep(drill, "(globals)", dumped(postgres, "", "--globals-only", program="pg_dumpall"), "globals.sql")
    asked = {"source": "db", "database": app}
    checks = [
        {**asked, "query": "SELECT count(*) FROM orders", "equals": "1000"},
        {**asked, "query": "SELECT count(*) FROM orders", "at_least": 900},
        {**asked, "query": "SELECT max(at) FROM orders", "newer_than": "1h"},
        {**asked, "query": "SELECT current_setting('is_superuser')", "equals": "off"},
        {**asked, "query": "SELECT current_setting('default_transaction_read_only')", "equals": "on"},
    ]
    said, _ = drill.do(PG, check=checks)
    assert said.startswith("2 of 2 points proved")
    roles, data = drill.proofs()
    assert roles.item == "(globals)" and "roles, whole" in roles.scope
    assert (data.point, data.verdict) == (point.id, Verdict.SUCCEEDED)
    assert data.scope.startswith("1 table, ") and data.scope.endswith("5 assertions held")
    assert {"locate", "transfer", "recover", "verify"} <= set(data.measures)
    assert list(drill.scratch.iterdir()) == []
    assert drill.left_elsewhere() == []


def test_the_database_that_every_cluster_has_is_proved_like_any_other(
    drill: Drill, postgres: Postgres, app: str
) -> None:
    keep(drill, "postgres", dumped(postgres, app, "-Fc", "-Z0"))
    check = {"source": "db", "database": "postgres", "query": "SELECT count(*) FROM orders", "equals": "1000"}
    said, _ = drill.do(PG, check=[check])
    assert said.startswith("1 of 1 point proved")


@LATER
def test_a_dump_that_was_cut_off_is_not_proved(drill: Drill, postgres: Postgres, app: str) -> None:
    whole = dumped(postgres, app, "-Fc", "-Z0")
    keep(drill, app, whole[: len(whole) * 2 // 3])
    with pytest.raises(Stopped, match="pg_restore failed"):
        drill.do(PG)
    assert drill.proofs()[0].verdict is Verdict.FAILED


@LATER
def test_stale_data_and_assertions_that_do_not_hold(drill: Drill, postgres: Postgres, app: str) -> None:
    keep(drill, app, dumped(postgres, app, "-Fc", "-Z0"), at=datetime.now(UTC) + timedelta(days=1))
    asked = {"source": "db", "database": app}
    stale = {**asked, "query": "SELECT max(at) FROM orders", "newer_than": "6h"}
    other = {**asked, "database": "gone", "query": "SELECT 1", "equals": "1"}
    with pytest.raises(
        Stopped, match=r"stale: `SELECT max\(at\) FROM orders` is .* before the point; 6 h are allowed"
    ) as all_:
        drill.do(PG, check=[stale, other])
    assert "there is no point of the database gone" in all_.value.reason


@pytest.mark.long
@BOTH
def test_a_role_that_is_missing_is_named(drill: Drill, postgres: Postgres) -> None:
    name = postgres.database()
    role = f"clerk_of_{name}"
    postgres.execute(f"CREATE ROLE {role}")
    for sql in ("CREATE TABLE t (a int)", f"CREATE POLICY p ON t TO {role} USING (true)"):
        postgres.execute(sql, database=name)
    dump = dumped(postgres, name, "-Fc", "-Z0")
    keep(drill, name, dump)
    with pytest.raises(Stopped, match=f'role "{role}" does not exist'):
        drill.do(PG)
    keep(drill, "(globals)", dumped(postgres, "", "--globals-only", program="pg_dumpall"), "globals.sql")
    said, _ = drill.do(PG, book=Book("run-2"))
    assert said.startswith("2 of 2")


def test_without_a_server_here_nothing_is_green(
    drill: Drill, postgres: Postgres, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(drill, app, dumped(postgres, app, "-Fc", "-Z0"))
    monkeypatch.setattr("mainstay.recovery.proving.pgdump.installed", dict)
    with pytest.raises(Stopped, match="the controller has no PostgreSQL server"):
        drill.do(PG)
    assert drill.proofs()[0].verdict is Verdict.UNKNOWN
    monkeypatch.setattr("mainstay.recovery.proving.pgdump.installed", lambda: {9: programs()})
    drill.world.points = type(drill.world.points)()
    keep(drill, app, dumped(postgres, app, "-Fc", "-Z0"))
    with pytest.raises(Stopped, match=r"it is of PostgreSQL [0-9]+, and the controller has 9"):
        drill.do(PG)
    assert proving_postgres.installed(), "the machine of these tests has one"


@pytest.mark.long
@BOTH
def test_a_hostile_dump_runs_nothing_here(drill: Drill, postgres: Postgres) -> None:
    name = postgres.database()
    witness = Path("/tmp") / f"mainstay-witness-{name}"
    program = f"BEGIN COPY (SELECT 1) TO PROGRAM 'touch {witness}'; RETURN 1; END"
    postgres.execute(f"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ {program} $$", database=name)
    postgres.execute("CREATE TABLE t (a int CHECK (public.f() = 1))", database=name)
    try:
        postgres.execute("INSERT INTO t VALUES (1)", database=name)
        assert witness.exists(), "it would run as a superuser"
        witness.unlink()
        keep(drill, name, dumped(postgres, name, "-Fc", "-Z0"))
        with pytest.raises(Stopped, match=r"permission denied|must be superuser|pg_execute_server_program"):
            drill.do(PG)
        assert not witness.exists()
    finally:
        witness.unlink(missing_ok=True)


def test_a_dump_that_redefines_an_operator_runs_nothing_as_a_superuser(drill: Drill, postgres: Postgres) -> None:
    """What we ask after a restore looks for operators where the dump may have put its own (CVE-2018-1058)."""
    name = postgres.database()
    witness = Path("/tmp") / f"mainstay-witness-{name}"
    program = f"BEGIN COPY (SELECT 1) TO PROGRAM 'touch {witness}'; RETURN true; END"
    for number, sign in enumerate(("!~~", "~~", "!~", "<>", "=")):
        function = f"f{number}"
        for sql in (
            f"CREATE FUNCTION public.{function}(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ {program} $$",
            f"CREATE OPERATOR public.{sign} (LEFTARG = name, RIGHTARG = name, FUNCTION = public.{function})",
        ):
            postgres.execute(sql, database=name)
    postgres.execute("CREATE TABLE public.t (a int)", database=name)
    try:
        keep(drill, name, dumped(postgres, name, "-Fc", "-Z0"))
        said, _ = drill.do(PG)
        assert said.startswith("1 of 1 point proved")
        assert not witness.exists()
    finally:
        witness.unlink(missing_ok=True)


@pytest.mark.long
@BOTH
def test_a_base_backup_is_started_and_asked(drill: Drill, postgres: Postgres, app: str) -> None:
    base = dumped(postgres, "", "-D", "-", "-Ft", "-X", "fetch", "-c", "fast", program="pg_basebackup")
    keep(drill, "(cluster)", base, "base.tar")
    check = {"source": "db", "database": app, "query": "SELECT count(*) FROM orders", "equals": "1000"}
    said, _ = drill.do({"db": {"postgresql": {"method": "basebackup"}}}, check=[check])
    assert said.startswith("1 of 1 point proved")
    (proof,) = drill.proofs()
    assert proof.scope.startswith("the whole cluster, ") and proof.left_out == ()


def test_a_base_backup_is_not_started_with_the_rights_of_mainstay(
    drill: Drill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.recovery.proving.processes.User.other", property(lambda self: False))
    keep(drill, "(cluster)", b"whatever its host has put into it", "base.tar")
    with pytest.raises(Stopped, match="only a mainstay that is root"):
        drill.do({"db": {"postgresql": {"method": "basebackup"}}})
    assert drill.proofs()[0].verdict is Verdict.UNKNOWN


@pytest.mark.long
@BOTH
def test_a_base_backup_with_another_byte_is_not_proved(drill: Drill, postgres: Postgres, app: str) -> None:
    broken = bytearray(dumped(postgres, "", "-D", "-", "-Ft", "-X", "fetch", "-c", "fast", program="pg_basebackup"))
    broken[broken.find(b"PG_VERSION") + 600_000] ^= 0xFF
    keep(drill, "(cluster)", bytes(broken), "base.tar")
    with pytest.raises(Stopped, match=r"pg_verifybackup|can't be unpacked"):
        drill.do({"db": {"postgresql": {"method": "basebackup"}}})


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL], ids=["told", "killed"]
)
def test_a_tool_that_ends_in_the_middle_leaves_no_server(
    tmp_path: Path, postgres: Postgres, app: str, number: signal.Signals
) -> None:
    tool, dump = Tool(tmp_path), tmp_path / "app.dump"
    dump.write_bytes(dumped(postgres, app, "-Fc", "-Z0"))
    waits = {"source": "db", "database": app, "query": "SELECT pg_sleep(50)", "equals": "1"}
    order = tool.order(dump, kind="postgresql", item=app, checks=[waits])
    place = scratch.Place(tool.root / "place")

    def server() -> list[int]:
        return scratch.working_in([path for where in scratch.ELSEWHERE for path in where.glob(f"{place.mark}*")])

    def asked() -> bool:
        for pid in server():
            with suppress(OSError):
                if b"pg_sleep" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return True
        return False

    holder = subprocess.Popen(tool.held(*tool.argv("prove", order)), start_new_session=True)
    try:
        until(asked)
        if number is signal.SIGTERM:
            holder.terminate()
            assert holder.wait(90) == 128 + signal.SIGTERM
        else:
            os.killpg(holder.pid, signal.SIGKILL)  # as the whole job is: the servers have sessions of their own
            holder.wait(90)
            assert server(), "what is killed can clean nothing"
            assert "/dev/shm/" not in "".join(Path(f"/proc/{pid}/maps").read_text() for pid in server())
            assert tool.run("sweep", tool.root).stdout == '{"removed": "place"}\n'
    finally:
        scratch.clean(place.folder)
        holder.wait(90)
    assert server() == [] and list(tool.root.iterdir()) == []
    assert not [path for where in scratch.ELSEWHERE for path in where.glob(f"{place.mark}*")]


@pytest.mark.long
def test_a_disk_that_becomes_full_does_not_speak_against_the_dump(tmp_path: Path, postgres: Postgres) -> None:
    name = postgres.database()
    grows = "SELECT repeat(md5(n::text), 20) AS a FROM generate_series(1, 1000000) n"
    postgres.execute(f"CREATE MATERIALIZED VIEW v AS {grows}", database=name)
    tool, dump = Tool(tmp_path), tmp_path / "app.dump"
    dump.write_bytes(dumped(postgres, name, "-Fc", "-Z0"))
    order = tool.order(dump, kind="postgresql", item=name)
    small = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=300m none /var/tmp && exec "$@"', "sh"]
    done = subprocess.run([*small, *tool.held(*tool.argv("prove", order))], check=True, capture_output=True)
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["limit"]) == ("refused", True)
    seen = "this machine had only .* free in the middle of it"  # mostly: it is looked at while the server writes
    assert re.match(f"not tried: ({seen}|the disk of this machine was full: pg_restore failed: )", answer["reason"])


# MariaDB


@pytest.fixture(scope="module")
def maria() -> Iterator[MariaDB]:
    with mariadb.running() as server:
        server.execute(
            "CREATE DATABASE shop; USE shop; CREATE TABLE shop.orders (id int PRIMARY KEY, at datetime);"
            "INSERT INTO shop.orders SELECT seq, utc_timestamp() - INTERVAL seq MINUTE FROM seq_1_to_500;"
            "CREATE VIEW shop.recent AS SELECT * FROM shop.orders WHERE id < 10;"
            "CREATE TRIGGER shop.t BEFORE INSERT ON shop.orders FOR EACH ROW SET NEW.at = now()"
        )
        yield server


def mydump(server: MariaDB, database: str = "shop") -> bytes:
    options = ["--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob"]
    argv = [mariadb.program("mariadb-dump"), "--no-defaults", f"--socket={server.socket}", "--user=root"]
    done = subprocess.run([*argv, *options, "--", database], check=False, capture_output=True)
    assert done.returncode == 0, (
        f"mariadb-dump: {done.stderr!r}; {(server.folder / 'log').read_text(errors='replace')[-2000:]}"
    )
    return done.stdout


@BOTH
def test_a_dump_of_mariadb_is_restored_and_asked(drill: Drill, maria: MariaDB) -> None:
    keep(drill, "shop", mydump(maria), "shop.sql")
    asked = {"source": "db", "database": "shop"}
    checks = [
        {**asked, "query": "SELECT count(*) FROM orders", "equals": "500"},
        {**asked, "query": "SELECT count(*) FROM recent", "at_least": 9},
        {**asked, "query": "SELECT max(at) FROM orders", "newer_than": "1h"},
    ]
    said, _ = drill.do(MY, check=checks)
    assert said.startswith("1 of 1 point proved")
    assert drill.proofs()[0].scope.startswith("1 table, ")


@LATER
def test_a_dump_of_mariadb_that_was_cut_off_is_not_proved(drill: Drill, maria: MariaDB) -> None:
    whole = mydump(maria)
    keep(drill, "shop", whole[: len(whole) // 2], "shop.sql")
    with pytest.raises(Stopped, match="the dump has no end"):
        drill.do(MY)


@pytest.mark.long
@BOTH
def test_a_hostile_dump_of_mariadb_runs_nothing_here(drill: Drill, maria: MariaDB) -> None:
    whole = mydump(maria)
    witness = Path("/tmp") / f"mainstay-witness-my-{os.getpid()}"
    keep(drill, "shop", f"\\! touch {witness}\n".encode() + whole, "shop.sql")
    with pytest.raises(Stopped, match=r"the dump could not be read"):
        drill.do(MY)
    assert not witness.exists()
    drill.world.points = type(drill.world.points)()
    keep(drill, "shop", f"SELECT 1 INTO OUTFILE '{witness}';\n".encode() + whole, "shop.sql")
    with pytest.raises(Stopped, match=r"the dump could not be read: .*[Aa]ccess denied"):
        drill.do(MY)
    assert not witness.exists()


# SQLite


@LATER
def test_sqlite_is_checked_as_a_whole_and_asked(drill: Drill) -> None:
    path = drill.folder / "app.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (a, at)")
        database.executemany("INSERT INTO t VALUES (?, ?)", [(n, "2026-11-22 11:00:00") for n in range(5000)])
    database.close()
    sources = {"db": {"sqlite": ["/srv/app.db"]}}
    keep(drill, "srv/app.db", path.read_bytes(), "app.db", at=datetime(2026, 11, 22, 12, tzinfo=UTC))
    asked = {"source": "db", "database": "/srv/app.db"}
    checks = [
        {**asked, "query": "SELECT count(*) FROM t", "equals": "5000"},
        {**asked, "query": "SELECT max(at) FROM t", "newer_than": "2h"},
    ]
    said, _ = drill.do(sources, check=checks)
    assert said.startswith("1 of 1") and drill.proofs()[0].scope.startswith("app.db: 1 table, ")
    content = bytearray(path.read_bytes())
    content[8192:12288] = os.urandom(4096)
    drill.world.points = type(drill.world.points)()
    keep(drill, "srv/app.db", bytes(content), "app.db")
    with pytest.raises(Stopped, match=r"integrity check found|SQLite can't read it"):
        drill.do(sources)
    drill.world.points = type(drill.world.points)()
    keep(drill, "srv/app.db", path.read_bytes(), "app.db")
    with pytest.raises(Stopped, match=r"readonly database|could not be asked"):
        drill.do(sources, check=[{**asked, "query": "DELETE FROM t", "equals": "1"}])

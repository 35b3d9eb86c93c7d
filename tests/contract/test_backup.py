"""The backup of a host by real programs: a real sshd, restic and a REST server that only takes, on this machine."""

from __future__ import annotations

import filecmp
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from tests.contract.backing import Rig
from tests.servers import mariadb
from tests.servers.postgres import Postgres, programs
from tests.servers.s3 import REGION, moto

pytestmark = [pytest.mark.server]


def tree(folder: Path, files: int = 12) -> Path:
    for number in range(files):
        (folder / f"d{number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"d{number % 3}" / f"f {number}").write_bytes(bytes([number % 251]) * (1000 + number))
    return folder


def same(one: Path, other: Path) -> bool:
    found = filecmp.dircmp(one, other)
    if found.left_only or found.right_only or found.funny_files:
        return False
    _, unequal, errors = filecmp.cmpfiles(one, other, found.common_files, shallow=False)
    return not unequal and not errors and all(same(one / name, other / name) for name in found.common_dirs)


def test_what_was_taken_comes_back_as_it_was(here: Rig, tmp_path: Path) -> None:
    source = tree(tmp_path / "data")
    plan = here.plan({"files": {"paths": [str(source)]}, "ids": {"command": "cat /etc/passwd", "filename": "passwd"}})
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    assert sorted(point.unit for point in ended.points) == ["files", "ids"]
    assert (ended.measures["files"], len(ended.measures["points"])) == (13, 2)
    files, ids = sorted(ended.points, key=lambda point: point.unit)
    back = here.restored(files, tmp_path / "back")
    assert same(source, Path(f"{back}{source}"))
    assert (here.restored(ids, tmp_path / "ids") / "passwd").read_bytes() == Path("/etc/passwd").read_bytes()
    again = here.back_up(plan)
    assert again.verdict == "succeeded" and again.measures["sources"]["files"]["new"] == 0


CASES = {
    "half": (
        {"command": ["sh", "-c", "echo half; exit 4"], "filename": "x"},
        "the program that writes the dump ended with 4",
    ),
    "cut": (
        {"command": ["sh", "-c", "echo half"], "filename": "x", "trailer": "-- END"},
        "the dump does not end as a whole one does",
    ),
    "nothing": ({"command": ["true"], "filename": "x"}, "it holds no file"),
    "gone": ({"paths": ["/etc/hostname", "/no/such"]}, "declared, but not there: /no/such"),
    "slow": ({"command": ["sleep", "600"], "filename": "x", "max_time": "2s"}, "broken off after 2 s (max_time)"),
    "names": ({"files_from": ["echo", "etc/passwd"]}, "it printed what is no absolute path: etc/passwd"),
    "namer": ({"files_from": ["false"]}, "its command ended with 1"),
    "lite": ({"sqlite": ["/no/such.db"]}, "declared, but not there: /no/such.db"),
}


def test_one_source_that_fails_is_named_and_the_others_are_kept(here: Rig, tmp_path: Path) -> None:
    """All at once: what fails does not keep the others from being taken, and each failure says what it was."""
    good = {"files": {"paths": [str(tree(tmp_path / "data"))]}}
    ended = here.back_up(here.plan({**{name: source for name, (source, _) in CASES.items()}, **good}))
    assert ended.verdict == "failed"
    rows = ended.measures["sources"]
    reasons = {name: rows[row]["reason"] for name in CASES for row in rows if row.split("/")[0] == name}
    for name, (_, words) in CASES.items():
        assert words in reasons[name], (name, reasons[name])
        assert f"{name}" in ended.failed
    assert [point.unit for point in ended.points] == ["files"] and ended.of("files") == "succeeded"
    assert list((here.state_dir / "taking").iterdir()) == []


def test_every_database_is_a_point_of_its_own(here: Rig, tmp_path: Path, postgres: Postgres) -> None:
    name = postgres.database()
    odd = f"it's {name}"
    postgres.execute(f'CREATE DATABASE "{odd}"')
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n", database=name)
    cluster = {"host": str(postgres.folder), "port": postgres.port, "bin": str(programs())}
    plan = here.plan(
        {
            "some": {"postgresql": {**cluster, "databases": [name, odd]}},
            "whole": {"postgresql": {**cluster, "method": "basebackup"}},
            "gone": {"postgresql": {**cluster, "databases": ["no such"]}},
            "down": {"postgresql": {**cluster, "host": "/no/such"}},
        }
    )
    ended = here.back_up(plan)
    assert "gone: PostgreSQL has no database no such" in ended.failed
    assert "down: PostgreSQL could not be asked for its databases" in ended.failed
    points = {point.unit: point for point in ended.points}
    assert sorted(points) == sorted(["some/(globals)", f"some/{name}", f"some/{odd}", "whole/(cluster)"])
    dump = next(here.restored(points[f"some/{name}"], tmp_path / "one").glob("*.dump"))
    dump.chmod(0o644)
    said = subprocess.run([programs() / "pg_restore", "-f", "-", dump], capture_output=True, check=True).stdout
    assert said.count(b"\n1000\n") == 1
    assert b"CREATE ROLE" in (here.restored(points["some/(globals)"], tmp_path / "all") / "globals.sql").read_bytes()
    with tarfile.open(here.restored(points["whole/(cluster)"], tmp_path / "base") / "base.tar") as base:
        assert {"PG_VERSION", "backup_label"} <= set(base.getnames())


def test_a_database_server_is_dumped_to_its_last_line(here: Rig, tmp_path: Path) -> None:
    with mariadb.running() as server:
        server.execute(
            "CREATE DATABASE `or ders`; CREATE TABLE `or ders`.t (n INT); INSERT INTO `or ders`.t VALUES (1), (2)"
        )
        shop = {"mysql": {"socket": str(server.socket), "databases": ["or ders"]}}
        ended = here.back_up(here.plan({"shop": shop, "all": {"mysql": {"socket": str(server.socket)}}}))
        assert ended.verdict == "succeeded", ended.said
        points = {point.unit: point for point in ended.points}
        assert {"shop/or ders", "all/or ders", "all/mysql"} <= set(points)
        text = next(here.restored(points["shop/or ders"], tmp_path / "one").glob("*.sql")).read_text()
        server.execute("CREATE DATABASE back")
        subprocess.run(["mariadb", f"--socket={server.socket}", "back"], input=text.encode(), check=True)
        assert server.execute("SELECT SUM(n) FROM back.t") == [["3"]]


def test_a_file_of_sqlite_is_copied_as_it_is_between_two_transactions(here: Rig, tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as one:
        one.execute("PRAGMA journal_mode=WAL")
        one.execute("CREATE TABLE t (n)")
        one.execute("INSERT INTO t VALUES (1)")
        one.execute("BEGIN")
        one.execute("INSERT INTO t VALUES (2)")
        ended = here.back_up(here.plan({"app": {"sqlite": str(file)}}))
        one.execute("ROLLBACK")
    assert ended.verdict == "succeeded", ended.said
    with closing(sqlite3.connect(here.restored(ended.points[0], tmp_path / "back") / "app.db")) as back:
        assert back.execute("SELECT n FROM t").fetchall() == [(1,)]
    damaged = tmp_path / "bad.db"
    damaged.write_bytes(file.read_bytes()[:4096] + b"\xff" * 4096)
    assert "its own check finds" in here.back_up(here.plan({"app": {"sqlite": str(damaged)}})).failed


def test_a_host_writes_to_s3_by_a_key_that_no_environment_holds(here: Rig, tmp_path: Path) -> None:
    with moto() as store:
        url = f"s3:{store.endpoint}/{store.bucket()}/web1"
        keys = {"user": store.access, "password": "env:S3"}
        repository = here.repository(
            url=url, write=keys, maintain={**keys, "password": "env:S3M"}, region=REGION, append_only=False
        )
        here.secrets |= {"env:S3": store.secret, "env:S3M": store.secret}
        plan = here.plan({"files": {"paths": [str(tree(tmp_path / "data"))]}}, repository=repository)
        here.depot().open(repository, here.host.name).init()
        ended = here.back_up(plan)
        assert ended.verdict == "succeeded", ended.said
        assert ended.points[0].files == 12

"""`mainstay restore` and `prove` over a real site, state and repository, as far as they go without a host."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.fleet.system import wait_until
from tests.servers.postgres import Postgres, programs
from tests.servers.restic import folder
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import write_site
from tests.unit.recovery.points import proof
from tests.unit.recovery.restore.repositories import World, tree
from tests.unit.recovery.snapshots import PASSWORD

from mainstay.console import bootstrap
from mainstay.console.verbs._restoring import Asked, _only_source, moment
from mainstay.inventory.errors import UsageError
from mainstay.inventory.facts import Facts
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving import scratch
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.request import RunRequest

pytestmark = pytest.mark.server

RECOVERY = """repositories:
  main: {{url: '{folder}/kept', password: file:secrets/main, shared: accepted}}
  offsite: {{url: '{folder}/offsite', password: file:secrets/main, shared: accepted}}
"""
PLAN = """plans:
  nightly:
    kind: backup
    targets: role=web
    repository: main
    sources: {files: {paths: /srv}, db: {postgresql: {}}}
    prove: {sample: 3}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{folder()}:{os.environ['PATH']}")
    made = write_site(
        tmp_path / "site",
        **{
            "recovery/main.yml": RECOVERY.format(folder=tmp_path),
            "schedules/web.yml": PLAN,
            "secrets/main": PASSWORD,
        },
    )
    (made / "secrets/main").chmod(0o600)
    monkeypatch.setenv("MAINSTAY_SITE", str(made))
    return made


@pytest.fixture
def point(tmp_path: Path, site: Path) -> RecoveryPoint:
    """Of web1's /…/data, in the repository and in the state."""
    world = World(tmp_path)
    data = tree(tmp_path / "data", {"a": "one", "sub/b": "two"})
    world.repository("kept")
    made, left = (
        world.backup(data, name="kept", host=host).model_copy(update={"repository": "main"})
        for host in ("web1", "gone9")
    )
    with bootstrap.load(site) as app:
        app.points.add_point(made)
        app.points.add_point(left)
    return made


def test_to_the_controller_from_the_question_to_the_record(
    mainstay: Mainstay, site: Path, point: RecoveryPoint, tmp_path: Path
) -> None:
    (data,) = point.paths
    words = ["restore", "web1", "--path", data, "--to", str(tmp_path / "to"), "--on", "controller"]
    shown = mainstay(*words, "-n")
    assert shown.code == 0
    told = " ".join(shown.out.split())
    assert "2 files, 6 B" in told and point.id[:12] in told and "never proved" in told
    assert f"as{tmp_path}/to{data}" in "".join(shown.out.split())
    assert mainstay(*words, "--no-input").code == 2
    assert not (tmp_path / "to").exists()
    done = mainstay(*words, "--yes", "--json")
    assert done.code == 0, done.err
    assert (tmp_path / "to" / data.lstrip("/") / "sub/b").read_text() == "two"
    record = done.json
    assert (record["kind"], record["verdict"], record["links"]["relies_on"]) == ("restore", "succeeded", [point.run])
    assert record["hosts"][0]["measures"]["restored files"]["verified"] == 2
    again = mainstay(*words, "--yes")
    assert again.code == 4 and "--confirm=web1" in again.err + again.out
    assert mainstay(*words, "--yes", "--confirm=web2").code == 2
    over = mainstay(*words, "-n", "--json", "--confirm=web1").json
    assert over["refused"] == "" and over["pieces"][0]["point"] == point.id


def test_what_does_not_go_together(mainstay: Mainstay, site: Path, point: RecoveryPoint) -> None:
    for words, said in {
        ("--path", "/srv"): "--to DIR is missing",
        ("--to", "/x"): "What is to be brought back?",
        ("--path", "srv", "--to", "/x"): "is no absolute path",
        ("--path", "/srv/../etc", "--to", "/x"): "goes back by ..",
        ("--path", "/srv", "--to", "/x", "--into", "y"): "Give one of the two",
        ("--into", "y"): "--into needs --database NAME",
        (): "mainstay restore web1 --path /etc/nginx --to /root/back; a database: mainstay restore web1 --database NAME",
        ("--database", "a"): "--into NEWNAME makes a new database of a",
        (
            "--source",
            "db",
            "--database",
            "a",
            "--into",
            "y",
            "--on",
            "controller",
        ): "brings the dump as a file, for pg_restore",
        ("--path", "/srv", "--to", "/x", "--as", "joe"): "it needs --into",
        ("--source", "db", "--database", "a", "--into", "y", "--as", "-x"): "is no login name",
        ("--path", "/srv", "--to", "/x", "--at", "noon"): "is no time",
        ("--path", "/srv", "--to", "/x", "--at", "2001-01-01"): "has no point so old",
        ("--path", "/srv", "--to", "/x", "--on", "nobody"): 'There is no host "nobody"',
        ("--path", "/srv", "--to", "/x", "--source", "db"): "has no point of source db",
        ("--path", "/srv", "--to", "/x", "--point", "abcdef12"): "has no point of id abcdef12",
        ("--path", "/srv", "--to", "/x", "--repository", "y"): "has no point of repository y",
    }.items():
        ended = mainstay("restore", "web1", *words)
        assert (ended.code, said in ended.err) == (2, True), (words, ended.err)
    never = mainstay("restore", "web2", "--path", "/srv", "--to", "/x", "--on", "controller")
    assert never.code == 2 and "Nothing of web2 was ever backed up" in never.err
    nothing = mainstay("restore", "web1", "--path", "/nothing", "--to", "/x", "--on", "controller")
    assert nothing.code == 4
    assert (
        f"/nothing of web1 is in no point. What is backed up of it: {point.paths[0]} (mainstay points web1"
        in nothing.err
    )
    gone = mainstay("restore", "web1", "--path", f"{point.paths[0]}/sub/c", "--to", "/x", "--on", "controller")
    assert gone.code == 4 and f"None of 1 point that could be meant holds {point.paths[0]}/sub/c" in gone.err
    assert f"mainstay restore web1 --path {point.paths[0]}/sub --to DIR -n" in gone.err


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("02:10", "2026-12-11T01:10:00+00:00"),
        ("02:10:30", "2026-12-11T01:10:30+00:00"),
        ("03:00", "2026-12-10T02:00:00+00:00"),
        ("2026-12-10", "2026-12-10T22:59:59.999999+00:00"),
        ("2026-12-10 04:00", "2026-12-10T03:00:00+00:00"),
        ("2026-12-10T04:00Z", "2026-12-10T04:00:00+00:00"),
    ],
)
def test_a_time_as_people_write_it(text: str, meant: str) -> None:
    """It is 2:30 in the night in Berlin: 3 o'clock was yesterday."""
    now = datetime(2026, 12, 11, 1, 30, tzinfo=UTC)
    assert moment(text, ZoneInfo("Europe/Berlin"), now).isoformat() == meant


def test_the_source_of_a_database_need_not_be_known(site: Path, point: RecoveryPoint) -> None:
    def asked(**more: str) -> Asked:
        words = {"source": "", "point": "", "repository": "", "plan": "", "on": "", "confirm": "", "at": None}
        given: dict[str, Any] = {
            **words,
            "host": "web1",
            "paths": (),
            "to": None,
            "into": "y",
            "database": "shop",
            **more,
        }
        return Asked(**given)

    with bootstrap.load(site) as app:
        assert _only_source(app, asked()) == "", "choosing says what there is"
        app.points.add_point(point.model_copy(update={"id": "b" * 64, "source": "db", "item": "shop"}))
        assert _only_source(app, asked()) == "db"
        app.points.add_point(point.model_copy(update={"id": "c" * 64, "source": "old", "item": "shop"}))
        with pytest.raises(UsageError, match="in several sources") as refused:
            _only_source(app, asked())
    assert "mainstay restore web1 --source db --database shop --into y" in str(refused.value.hint)


def test_a_sqlite_file_is_named_by_its_path_as_in_its_plan(mainstay: Mainstay, site: Path, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.repository("kept")
    kept = world.backup(source="app", stdin=("app.db", b"rows"), name="kept", item="srv/app.db")
    with bootstrap.load(site) as app:
        app.points.add_point(kept.model_copy(update={"repository": "main"}))
    for number, name in enumerate(("/srv/app.db", "srv/app.db")):
        to = tmp_path / f"to{number}"
        words = ("restore", "web1", "--database", name, "--to", str(to), "--on", "controller", "--yes")
        assert mainstay(*words).code == 0
        assert (to / "app.db").read_bytes() == b"rows"
    gone = mainstay("restore", "web1", "--database", "/srv/other.db", "--to", str(tmp_path / "to"), "-n")
    assert gone.code == 2 and "no point of database /srv/other.db" in gone.err + gone.out


def test_what_has_to_be_typed_to_take_it_from_another_repository(
    mainstay: Mainstay, site: Path, point: RecoveryPoint, tmp_path: Path
) -> None:
    """offsite is declared and no plan's: what is kept there can be had all the same."""
    (data,) = point.paths
    world = World(tmp_path)
    world.repository("offsite")
    copy = world.backup(Path(data), name="offsite").model_copy(update={"at": point.at, "copy_of": point.id})
    etc = world.backup(tree(tmp_path / "etc dir", {"hosts": "h"}), name="offsite").model_copy(update={"plan": "other"})
    with bootstrap.load(site) as app:
        app.points.add_point(copy)
        app.points.add_point(etc)
    words = ["restore", "web1", "--path", data, "--to", str(tmp_path / "to"), "--on", "controller"]
    (tmp_path / "kept").rename(tmp_path / "lost")
    refused = mainstay(*words, "--yes")
    assert refused.code == 4 and "Repository main can't be asked" in refused.err
    told = " ".join(refused.err.split())
    again = f"mainstay {' '.join(words[:4])} --repository offsite --to {tmp_path}/to --on controller"
    assert again in told, told
    assert not (tmp_path / "to").exists()
    assert ", never proved" in " ".join(mainstay(*again.split()[1:], "-n").out.split())
    with bootstrap.load(site) as app:
        app.points.add_proof(proof(point, "2026-11-22T03:00:00Z"))
    done = mainstay(*again.split()[1:], "--yes")
    told = " ".join((done.out + done.err).split())
    assert done.code == 0 and "a copy in offsite" in told, done.err
    assert ", proved " in told
    assert (tmp_path / "to" / data.lstrip("/") / "a").read_text() == "one"
    # Of two repositories a host is let into one at a time: it is said how.
    (tmp_path / "lost").rename(tmp_path / "kept")
    two = mainstay("restore", "web1", "--path", data, "--path", f"{tmp_path}/etc dir", "--to", "/x", "-n")
    told = " ".join(two.err.split())
    assert two.code == 2 and f"--path {data} --repository main --to /x" in told, told
    assert f"--path '{tmp_path}/etc dir' --repository offsite --to /x" in told


def test_a_host_that_is_away_is_told_with_the_way_without_it(
    mainstay: Mainstay, site: Path, point: RecoveryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(app: object, request: RunRequest) -> dict[str, HostForecast]:
        (host,) = request.hosts
        return {host.name: HostForecast(host, Facts(), error="unreachable: no route", unreachable=True)}

    monkeypatch.setattr("mainstay.console.forecasting.ask", away)
    ended = mainstay("restore", "web1", "--path", point.paths[0], "--to", "/", "--confirm=web1", "--yes")
    assert ended.code == 5
    way = f"Without web1: mainstay restore web1 --path {point.paths[0]} --to /root/back --on controller"
    assert way in " ".join((ended.out + ended.err).split())


def test_of_a_host_that_has_left_the_inventory(
    mainstay: Mainstay, site: Path, point: RecoveryPoint, tmp_path: Path
) -> None:
    there = mainstay("restore", "gone9", "--path", point.paths[0], "--to", str(tmp_path / "to"))
    assert there.code == 2 and "--on controller" in there.err
    words = ["--path", point.paths[0], "--to", str(tmp_path / "to"), "--on", "controller", "--yes"]
    assert mainstay("restore", "gone9", *words).code == 0
    assert (tmp_path / "to" / point.paths[0].lstrip("/") / "a").read_text() == "one"


def test_of_a_name_that_was_never_there_no_points_are_promised(mainstay: Mainstay, site: Path) -> None:
    ended = mainstay("restore", "wbe1", "--path", "/srv", "--to", "/x")
    assert ended.code == 2 and 'Did you mean "web1"?' in ended.err
    assert "still there" not in ended.err


def test_a_plan_is_proved_by_hand(mainstay: Mainstay, site: Path, point: RecoveryPoint) -> None:
    shown = mainstay("prove", "nightly", "-n")
    assert shown.code == 0 and point.id[:12] in shown.out
    done = mainstay("prove", "nightly", "--hosts", "name=web1", "--json")
    assert done.code == 0, done.err
    assert (done.json["kind"], done.json["links"]["proves"]) == ("drill", [point.run])
    (told,) = done.json["hosts"][0]["measures"]["proofs"]
    assert (told["point"], told["verdict"]) == (point.id, "succeeded")
    preview = mainstay("restore", "web1", "--path", point.paths[0], "--to", "/x", "--on", "controller", "-n", "--json")
    assert preview.json["pieces"][0]["proved_at"]
    assert mainstay("prove", "nightly", "--source", "nothing").code == 2
    assert mainstay("prove", "nightly", "--hosts", "name=web2").code == 4
    (site / "secrets/main").write_text("wrong")
    failed = mainstay("prove", "nightly", "--hosts", "name=web1", "--json")
    assert failed.code == 1 and "password" in failed.json["hosts"][0]["reason"]
    assert PASSWORD not in failed.out + failed.err


@pytest.mark.long
def test_a_drill_whose_process_is_killed_goes_on_and_leaves_nothing(
    mainstay: Mainstay, site: Path, tmp_path: Path, postgres: Postgres
) -> None:
    """kill -9 while its server works: the server outlives it, is found by whoever takes the run up, and the point is proved."""
    name = postgres.database()
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 1000000) AS n", database=name)
    argv = [str(programs() / "pg_dump"), "-h", str(postgres.folder), "-p", str(postgres.port), "-U", "postgres"]
    dump = subprocess.run([*argv, "-Fc", "-Z0", name], check=True, capture_output=True).stdout
    world = World(tmp_path)
    world.repository("kept")
    made = world.backup(name="kept", source="db", item=name, stdin=(f"{name}.dump", dump))
    with bootstrap.load(site) as app:
        app.points.add_point(made.model_copy(update={"repository": "main"}))
    program = [sys.executable, "-c", "import sys; from mainstay.console import main; sys.exit(main())"]
    drill = subprocess.Popen([*program, "prove", "nightly", "--hosts", "name=web1"], stderr=subprocess.DEVNULL)
    places = site / "state/scratch"

    def elsewhere(which: int) -> list[Path]:
        marks = [scratch.Place(one).mark for one in (places.iterdir() if places.is_dir() else ())]
        return [path for mark in marks for path in scratch.ELSEWHERE[which].glob(f"{mark}*")]

    try:
        wait_until(lambda: any(list(one.glob(".s.PGSQL.*")) for one in elsewhere(1)), "its server works", deadline=120)
    finally:
        drill.kill()
        drill.wait()
    (left,) = places.iterdir()
    folders = [left, *elsewhere(0), *elsewhere(1)]
    assert scratch.working_in(folders), "a server outlives whoever started it"
    (run,) = mainstay("runs", "--json").json
    resumed = mainstay("runs", "resume", run["id"], "--json")
    assert resumed.code == 0, resumed.err + resumed.out
    assert list(places.iterdir()) == []
    assert not any(folder.exists() for folder in folders) and scratch.working_in(folders) == []
    record = mainstay("records", "show", "1", "--json").json
    assert (record["verdict"], record["links"]["proves"]) == ("succeeded", [made.run])

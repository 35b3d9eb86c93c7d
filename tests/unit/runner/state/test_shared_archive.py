"""A backup of a state in PostgreSQL holds all rows of one moment, the engine's too, and becomes that state again."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import address, opened, with_tables

from mainstay.inventory.errors import UsageError
from mainstay.inventory.secrets import Secret
from mainstay.runner.artifacts.adapters.shared import CHUNK
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.record import HostPart, hosts_digest
from mainstay.runner.state.adapters.dump import Dumped, load
from mainstay.runner.state.adapters.migrating import migrate, revision
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from mainstay.runner.state.adapters.rights import grant, script
from mainstay.runner.state.adapters.stores import Stores, open_state
from mainstay.runner.state.archive import ArchiveDamaged, backup, restore
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

PACKAGE = os.urandom(CHUNK + 5)
WORKFLOW = "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, priority) VALUES ('r2', 'PENDING', 'run', 0)"


@pytest.fixture
def stores(postgres: Postgres, tmp_path: Path) -> Iterator[Stores]:
    name = with_tables(postgres, engine=True)
    one = open_state(postgres.url(name), tmp_path, directory=tmp_path / "old", password=Secret(postgres.PASSWORD))
    for id, state in (("r1", "ended"), ("r2", "running")):
        data = {"id": id, "kind": "patch", "plan": "p", "state": state, "request": {"ü\t\\n": 1}, "started_at": "s"}
        one.state.add_run(RunRow.model_validate(data))
    one.state.wish("r2", "pause", by="anna", reason="line\nend\t\\.")
    part = HostPart(host="a", verdict=Verdict.SUCCEEDED)
    one.state.write_part("r1", part)
    one.ledger.seal("r1", {"hosts_digest": hosts_digest([part])})
    one.ledger.seal("r0", {})
    one.artifacts.put(b"output", kind="output")
    one.artifacts.put(PACKAGE, kind="package")
    one.state.raise_fence(41)
    postgres.execute(WORKFLOW, database=name)
    postgres.execute("INSERT INTO dbos.notifications (destination_uuid, message) VALUES ('r2', 'm')", database=name)
    yield one
    one.close()


@pytest.fixture
def archive(stores: Stores, tmp_path: Path) -> Path:
    (tmp_path / "known_hosts").write_text("a ssh-ed25519 AAAA\n")
    backup(stores, tmp_path / "backup.tar", known_hosts=tmp_path / "known_hosts")
    return tmp_path / "backup.tar"


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[PostgresDatabase]:
    one = opened(postgres, postgres.database())
    yield one
    one.close()


def reopened(postgres: Postgres, database: PostgresDatabase, directory: Path) -> Stores:
    return open_state(str(database.address), directory.parent, directory=directory, password=Secret(postgres.PASSWORD))


def test_what_comes_back_is_the_same_state(
    stores: Stores, archive: Path, empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    for _ in range(5):
        ahead = stores.state.next_fence()
    made = restore(archive, tmp_path / "new", database=empty, known_hosts=tmp_path / "site" / "known_hosts")
    assert (made.state, made.records, made.in_flight) == (stores.state.id, 2, ("r2",))
    again = reopened(postgres, empty, tmp_path / "new")
    again.guard()
    assert again.ledger.verify() == []
    assert list(again.ledger.entries()) == list(stores.ledger.entries())
    assert again.state.runs() == stores.state.runs()
    assert again.state.interventions("r2") == stores.state.interventions("r2")
    assert again.state.next_fence() > ahead + 100_000
    (package,) = again.artifacts.hashes("package")
    assert again.artifacts.read(package) == PACKAGE
    assert (tmp_path / "site" / "known_hosts").read_text() == "a ssh-ed25519 AAAA\n"
    database = empty.address.database
    assert postgres.execute("SELECT workflow_uuid, status FROM dbos.workflow_status", database=database) == [
        ("r2", "PENDING")
    ]
    assert postgres.execute("SELECT message FROM dbos.notifications", database=database) == [("m",)]
    again.close()


def test_what_comes_back_can_be_worked_on(
    archive: Path, empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    restore(archive, tmp_path / "new", database=empty)
    again = reopened(postgres, empty, tmp_path / "new")
    again.state.add_run(RunRow(id="r3", kind="patch", plan="p", state="running", request={}, started_at="s"))
    again.state.wish("r3", "cancel", by="ben", reason="")
    assert [run.id for run in again.state.runs()] == ["r1", "r2", "r3"]
    assert again.ledger.seal("r3", {}).seq == 3
    again.close()


def test_everything_is_for_its_owner_alone_and_holds_no_password(
    archive: Path, empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert postgres.PASSWORD.encode() not in archive.read_bytes()
    restore(archive, tmp_path / "new", database=empty)
    for path in [tmp_path / "new", *(tmp_path / "new").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_backup_is_of_one_moment_while_records_are_sealed(
    stores: Stores, empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    stop = threading.Event()

    def seal() -> None:
        number = 0
        while not stop.is_set():
            part = HostPart(host="a", verdict=Verdict.SUCCEEDED)
            stores.state.write_part(f"busy{number}", part)
            stores.ledger.seal(f"busy{number}", {"hosts_digest": hosts_digest([part])})
            number += 1

    thread = threading.Thread(target=seal)
    thread.start()
    try:
        while stores.ledger.head()[0] < 5:
            stop.wait(0.01)
        backup(stores, tmp_path / "busy.tar")
    finally:
        stop.set()
        thread.join()
    restore(tmp_path / "busy.tar", tmp_path / "new", database=empty)
    again = reopened(postgres, empty, tmp_path / "new")
    again.guard()
    assert again.ledger.verify() == []
    again.close()


def test_a_database_that_holds_a_state_stays_as_it_is(stores: Stores, archive: Path, tmp_path: Path) -> None:
    assert isinstance(stores.database, PostgresDatabase)
    with pytest.raises(UsageError, match="holds a state already"):
        restore(archive, tmp_path / "new", database=stores.database)
    assert not (tmp_path / "new").exists()
    stores.guard()


def test_what_breaks_off_at_the_end_leaves_an_empty_database(
    stores: Stores, archive: Path, empty: PostgresDatabase, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.jsonl"
    stores.ledger.seal("r9", {})
    outside.write_bytes(stores.anchor.read_bytes())
    with pytest.raises(UsageError, match="3 records; the backup holds 2"):
        restore(archive, tmp_path / "new", database=empty, anchor=outside)
    assert not (tmp_path / "new").exists()
    restore(archive, tmp_path / "new", database=empty)


def test_another_machine_that_has_seen_more_says_so(
    stores: Stores, archive: Path, empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    stores.ledger.seal("r9", {})
    restore(archive, tmp_path / "new", database=empty)
    again = reopened(postgres, empty, stores.directory)
    with pytest.raises(LedgerBehind, match="2 records of 3"):
        again.guard()
    again.close()


def test_a_role_that_owns_nothing_can_restore(
    stores: Stores, archive: Path, postgres: Postgres, tmp_path: Path
) -> None:
    name = postgres.database()
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
    for line in script(address(postgres, name), "owner").splitlines():
        if line.startswith(("CREATE SCHEMA", "GRANT")):
            postgres.execute(line.partition("--")[0], database=name)
    owner, works = opened(postgres, name, user="owner"), opened(postgres, name)
    migrate(owner)
    grant(owner, "mainstay")
    assert restore(archive, tmp_path / "new", database=works).records == 2
    again = reopened(postgres, works, tmp_path / "new")
    again.guard()
    assert again.state.next_fence() > 41
    for database in (owner, works, again):
        database.close()


def test_a_state_does_not_go_back_into_a_file(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of a state in PostgreSQL"):
        restore(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# From one machine to many.


def small(folder: Path, *, in_flight: bool = False) -> Stores:
    """A state in SQLite with something in every table."""
    one = open_state("sqlite:///state/mainstay.db", folder)
    part = HostPart(host="ü\t\\n", verdict=Verdict.SUCCEEDED, reason="line\nend\r\\.")
    for id, state in (("r2", "ended"), ("r1", "running" if in_flight else "ended")):
        one.state.add_run(RunRow(id=id, kind="patch", plan="p", state=state, request={"a\tb": None}, started_at="s"))
        one.state.write_part(id, part)
        one.state.note_step(id, "a", "apply", "1\t\\N")
        one.state.note_outcome(id, "a", Verdict.SUCCEEDED)
        one.ledger.seal(id, {"hosts_digest": hosts_digest([part])})
    one.state.see("debian", [("x", "1")], "s")
    one.state.block("a", "d", "r1")
    one.artifacts.put(b"output", kind="output")
    one.artifacts.put(PACKAGE, kind="package")
    one.artifacts.put(b"", kind="package")
    backup(one, folder / "small.tar")
    return one


def test_a_state_that_outgrew_its_machine_goes_on_in_a_database(
    empty: PostgresDatabase, postgres: Postgres, tmp_path: Path
) -> None:
    old = small(tmp_path)
    made = restore(tmp_path / "small.tar", tmp_path / "new", database=empty)
    assert (made.state, made.records, made.in_flight) == (old.state.id, 2, ())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["anchor.jsonl", "ledger.key"]
    again = reopened(postgres, empty, tmp_path / "new")
    again.guard()
    assert again.ledger.verify() == []
    assert list(again.ledger.entries()) == list(old.ledger.entries())
    assert again.state.runs() == old.state.runs()
    for run in ("r1", "r2"):
        assert again.state.parts(run) == old.state.parts(run)
        assert again.state.notes(run) == old.state.notes(run)
        assert again.state.outcomes(run) == old.state.outcomes(run)
    assert again.state.sightings("debian") == old.state.sightings("debian")
    assert again.state.blocked("a", "d") == "r1"
    for kind in ("output", "package", "json"):
        assert list(again.artifacts.hashes(kind)) == list(old.artifacts.hashes(kind))
        for name in again.artifacts.hashes(kind):
            assert again.artifacts.read(name) == old.artifacts.read(name)
    again.state.add_run(RunRow(id="r3", kind="patch", plan="p", state="running", request={}, started_at="s"))
    assert again.ledger.seal("r3", {}).seq == 3
    again.close()
    old.close()


def test_a_run_in_flight_does_not_move(empty: PostgresDatabase, tmp_path: Path) -> None:
    small(tmp_path, in_flight=True).close()
    with pytest.raises(UsageError, match="run r1 was in flight"):
        restore(tmp_path / "small.tar", tmp_path / "new", database=empty)
    assert not (tmp_path / "new").exists()
    with empty.read() as of:
        assert not empty.has_table(of, "run")


def repacked(archive: Path, change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(archive) as tar:
        held = {info.name: (info, reader.read()) for info in tar if (reader := tar.extractfile(info)) is not None}
    change(held)
    with tarfile.open(archive, "w") as tar:
        for info, data in held.values():
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


RUNS = "tables/mainstay.run.copy"


def rename(held: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
    held["x"] = (tarfile.TarInfo("tables/pg_catalog.pg_authid.copy"), b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop(RUNS),
        lambda held: held.__setitem__(RUNS, (held[RUNS][0], held[RUNS][1][:-1] + b"!")),
        lambda held: held.pop("ledger.key"),
        lambda held: held.pop("manifest.json"),
        rename,
    ],
)
def test_what_is_no_whole_backup_makes_nothing(
    archive: Path,
    empty: PostgresDatabase,
    tmp_path: Path,
    change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None],
) -> None:
    repacked(archive, change)
    with pytest.raises(ArchiveDamaged):
        restore(archive, tmp_path / "new", database=empty)
    assert not (tmp_path / "new").exists()
    with empty.read() as of:
        assert not empty.has_table(of, "run")


def test_the_rows_of_a_newer_version_are_refused_before_anything_is_made(
    empty: PostgresDatabase, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="revision 9999"):
        load(empty, tmp_path, Dumped("9999", {}), leap=1, before_commit=lambda loaded: None)
    assert revision(empty) is None

"""A state in PostgreSQL that several machines share: each has the key and its own memory, and none begins in silence what
another lost."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import address, opened, with_tables

from mainstay.inventory.errors import UsageError
from mainstay.inventory.secrets import Secret
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.runner.state.adapters.migrating import migrate
from mainstay.runner.state.adapters.rights import grant, rights, script
from mainstay.runner.state.adapters.stores import Stores, open_state
from mainstay.runner.state.contract import RunRow

Machine = Callable[..., Stores]


@pytest.fixture
def name(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def machine(postgres: Postgres, name: str, tmp_path: Path) -> Machine:
    """Opens the one state as a machine that has its folder in `tmp_path`; with_key: a copy of the first machine's."""

    def open_there(folder: str, *, with_key: bool = True, database: str = name) -> Stores:
        made = tmp_path / "a" / "ledger.key"
        if with_key and made.exists() and not (tmp_path / folder).exists():
            (tmp_path / folder).mkdir()
            shutil.copy(made, tmp_path / folder)
        password = Secret(postgres.PASSWORD)
        return open_state(postgres.url(database), tmp_path, directory=tmp_path / folder, password=password)

    return open_there


def row(id: str, state: str = "running") -> RunRow:
    data = {"id": id, "kind": "patch", "plan": "p", "state": state, "request": {}, "started_at": "s"}
    return RunRow.model_validate(data)


def test_two_machines_work_on_one_state(machine: Machine) -> None:
    first = machine("a")
    first.ledger.seal("r1", {"n": 1})
    hash = first.artifacts.put(b"deb", kind="package")
    second = machine("b")
    assert second.state.id == first.state.id
    assert first.notices == ()
    assert "its 1 record is sound" in second.notices[0]
    second.ledger.seal("r2", {"n": 2})
    assert [entry.id for entry in first.ledger.entries()] == ["r1", "r2"]
    assert second.artifacts.path(hash).read_bytes() == b"deb"
    for stores in (first, second):
        stores.guard()
        assert stores.ledger.verify() == []
        stores.close()
    again = machine("b")
    assert again.notices == ()
    again.close()


def test_a_machine_that_has_seen_nothing_yet_begins_with_what_others_sealed_meanwhile(
    machine: Machine, tmp_path: Path
) -> None:
    first, second = machine("a"), machine("b")
    assert second.notices == ()
    first.ledger.seal("r1", {"n": 1})
    second.close()
    second = machine("b")
    assert "its 1 record is sound" in second.notices[0]
    second.guard()
    assert second.ledger.verify() == []
    second.close()
    (tmp_path / "b" / "anchor.jsonl").write_text("")
    with pytest.raises(LedgerBehind, match="anchor is empty"):
        machine("b").guard()
    first.close()


def test_everything_on_a_machine_is_for_its_owner_alone(machine: Machine, postgres: Postgres) -> None:
    stores = machine("a")
    stores.ledger.seal("r1", {})
    stores.artifacts.path(stores.artifacts.put(b"deb", kind="package"))
    for path in [stores.directory, *stores.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        assert path.is_dir() or postgres.PASSWORD.encode() not in path.read_bytes()
    assert postgres.PASSWORD in stores.engine_url
    assert postgres.PASSWORD not in repr(stores)
    stores.close()


def test_a_machine_without_the_key_is_told_where_it_is(machine: Machine, tmp_path: Path) -> None:
    machine("a").close()
    with pytest.raises(LedgerBehind, match="no key of the ledger") as caught:
        machine("b", with_key=False)
    assert caught.value.hint is not None
    assert str(tmp_path / "a" / "ledger.key") in caught.value.hint
    assert "ledger_key:" in caught.value.hint
    assert not (tmp_path / "b" / "ledger.key").exists()


def test_a_machine_with_another_key_is_refused(machine: Machine, tmp_path: Path) -> None:
    machine("a").close()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "ledger.key").write_text("00" * 32 + "\n")
    with pytest.raises(LedgerBehind, match="another one"):
        machine("b")


@pytest.mark.parametrize("lost", ["ledger.key", "anchor.jsonl"])
def test_what_a_machine_lost_is_not_made_again(machine: Machine, tmp_path: Path, lost: str) -> None:
    stores = machine("a")
    stores.ledger.seal("r1", {})
    (tmp_path / "a" / lost).unlink()
    with pytest.raises(LedgerBehind):
        stores.guard()
    stores.close()
    with pytest.raises(LedgerBehind, match=lost):
        machine("a")
    assert not (tmp_path / "a" / lost).exists()


def test_a_database_that_lost_its_state_is_not_begun_anew(machine: Machine, postgres: Postgres) -> None:
    machine("a").close()
    with pytest.raises(LedgerBehind, match="holds no state"):
        machine("a", database=postgres.database())


def test_another_state_than_this_folders_is_refused(machine: Machine, postgres: Postgres) -> None:
    machine("a").close()
    other = postgres.database()
    machine("b", with_key=False, database=other).close()
    with pytest.raises(LedgerBehind, match="another one than this state's"):
        machine("a", database=other)


def test_a_machine_does_not_begin_with_a_ledger_that_is_not_sound(
    machine: Machine, postgres: Postgres, name: str
) -> None:
    first = machine("a")
    for number in range(3):
        first.ledger.seal(f"r{number}", {"n": number})
    first.close()
    postgres.execute("ALTER TABLE mainstay.maintenance_record DISABLE TRIGGER ALL", database=name)
    postgres.execute("UPDATE mainstay.maintenance_record SET body = '{}' WHERE seq = 2", database=name)
    with pytest.raises(LedgerBehind, match="not sound"):
        machine("b")


def test_a_shortened_ledger_is_seen_by_whoever_saw_more(machine: Machine, postgres: Postgres, name: str) -> None:
    first = machine("a")
    for number in range(3):
        first.ledger.seal(f"r{number}", {"n": number})
    table = "mainstay.maintenance_record"
    postgres.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL", database=name)
    postgres.execute(f"DELETE FROM {table} WHERE seq = 3", database=name)
    for guard in ("record_no_update", "record_no_delete", "record_no_truncate", "record_chain"):
        postgres.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {guard}", database=name)
    with pytest.raises(LedgerBehind, match="2 records of 3"):
        first.guard()
    first.close()


def test_runs_in_flight_without_their_engine_are_refused(machine: Machine, postgres: Postgres, name: str) -> None:
    stores = machine("a")
    stores.guard()
    stores.state.add_run(row("r1"))
    with pytest.raises(LedgerBehind, match="schema dbos"):
        stores.guard()
    postgres.execute("CREATE SCHEMA dbos", database=name)
    postgres.execute("CREATE TABLE dbos.workflow_status (id text)", database=name)
    stores.guard()
    stores.close()


def start(argv: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_many_first_uses_on_one_machine_make_one_state(postgres: Postgres, name: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mainstay.inventory.secrets import Secret\n"
        "from mainstay.runner.state.adapters.stores import open_state\n"
        "opened = open_state(sys.argv[1], Path(sys.argv[2]), password=Secret(sys.stdin.read())); print(opened.state.id)"
    )
    argv = [sys.executable, "-c", program, postgres.url(name), str(tmp_path)]
    started = [start(argv) for _ in range(2)]
    ids = {process.communicate(postgres.PASSWORD, timeout=120)[0].strip() for process in started}
    assert all(process.returncode == 0 for process in started)
    assert len(ids) == 1


def test_of_first_uses_on_two_machines_one_makes_the_state(postgres: Postgres, name: str, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mainstay.inventory.secrets import Secret\n"
        "from mainstay.runner.ledger.contract import LedgerBehind\n"
        "from mainstay.runner.state.adapters.stores import open_state\n"
        "try: print(open_state(sys.argv[1], Path(sys.argv[2]), password=Secret(sys.stdin.read())).state.id)\n"
        "except LedgerBehind as error: print('refused:', error.message)"
    )
    argv = [sys.executable, "-c", program, postgres.url(name)]
    started = [start([*argv, str(tmp_path / each)]) for each in "ab"]
    said = sorted(process.communicate(postgres.PASSWORD, timeout=120)[0].strip() for process in started)
    assert said[0][:8] != "refused:"
    assert said[1].startswith("refused: this machine has no key of the ledger")
    assert len(list(tmp_path.glob("*/state/ledger.key"))) == 1


# Roles.


def test_the_role_that_works_can_not_change_a_record(postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.database()
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
    for line in script(address(postgres, name), "owner").splitlines():
        if line.startswith(("CREATE SCHEMA", "GRANT")):
            postgres.execute(line, database=name)
    owner = opened(postgres, name, user="owner")
    migrate(owner)
    grant(owner, "mainstay")
    grant(owner, "mainstay")
    assert rights(owner).weakness() is not None
    stores = open_state(postgres.url(name), tmp_path, password=Secret(postgres.PASSWORD))
    assert rights(stores.database).weakness() is None
    stores.state.add_run(row("r1", "ended"))
    stores.state.wish("r1", "pause", by="a", reason="")
    stores.ledger.seal("r1", {})
    stores.artifacts.read(stores.artifacts.put(b"x", kind="json"))
    assert stores.artifacts.prune(kind="json", older_than=0, keep=frozenset(), cap=0) != []
    stores.guard()
    table = "mainstay.maintenance_record"
    for statement in (
        f"UPDATE {table} SET body = ''",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"DROP TABLE {table}",
        "DROP FUNCTION mainstay.record_refuse() CASCADE",
        "UPDATE mainstay.alembic_version SET version_num = '0001'",
        "CREATE TABLE mainstay.other (id text)",
    ):
        with pytest.raises(StateUnusable) as caught, stores.database.write() as to:
            to.exec_driver_sql(statement)
        assert caught.value.hint and "rights" in caught.value.hint
    stores.close()
    owner.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT 1", "owns the ledger's table"),
        ("ALTER TABLE mainstay.maintenance_record OWNER TO owner", "adds"),
        ("ALTER ROLE mainstay SUPERUSER", "a superuser"),
    ],
)
def test_what_one_role_for_all_means_is_said(postgres: Postgres, statement: str, words: str) -> None:
    name = with_tables(postgres)
    database = opened(postgres, name)
    postgres.execute(statement, database=name)
    try:
        said = rights(database).weakness() or "adds"
    finally:
        postgres.execute("ALTER ROLE mainstay NOSUPERUSER", database=name)
        database.close()
    assert words in said


# What a database can be that is none.


def test_a_wrong_password_is_told_without_it_and_at_once(postgres: Postgres, name: str, tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="password authentication failed") as caught:
        open_state(postgres.url(name), tmp_path, password=Secret("hunter2"))
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__!r}"
    assert caught.value.hint and "state_password" in caught.value.hint


def test_a_database_that_is_not_there_is_told_with_a_hint(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="does not exist") as caught:
        open_state(postgres.url("nowhere"), tmp_path, password=Secret(postgres.PASSWORD))
    assert caught.value.hint and "mainstay state sql" in caught.value.hint


def test_a_database_in_another_encoding_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    name = f"latin_{postgres.made()}"
    postgres.execute(f"CREATE DATABASE {name} OWNER mainstay ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StateUnusable, match="LATIN1"):
        open_state(postgres.url(name), tmp_path, password=Secret(postgres.PASSWORD))


def test_a_role_that_may_make_nothing_is_told_who_does(postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.database()
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
    with pytest.raises(StateUnusable, match="permission denied") as caught:
        open_state(postgres.url(name), tmp_path, password=Secret(postgres.PASSWORD))
    assert caught.value.hint and "migrate --as" in caught.value.hint


@pytest.mark.parametrize("url", ["postgresql://m:hunter2@db/x", "postgresql://m@db"])
def test_a_url_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_state(url, tmp_path)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_runs_that_ended_long_ago_are_asked_for_again_where_the_connection_broke(
    machine: Machine, postgres: Postgres
) -> None:
    stores = machine("a")
    assert stores.state.ended_before("2026-01-01T00:00:00Z") == []
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mainstay'")
    assert stores.state.ended_before("2026-01-01T00:00:00Z") == []
    stores.close()

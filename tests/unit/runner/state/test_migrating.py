"""A state of an older version is brought up whole or stays as it was, its guards stand afterwards, and one of a newer
version is left alone."""

from __future__ import annotations

import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.servers.postgres import Postgres
from tests.servers.state import opened, with_tables

from mainstay.inventory.secrets import Secret
from mainstay.runner.ledger.adapters import guards
from mainstay.runner.ledger.adapters.sql import metadata as ledger_metadata
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.state.adapters import migrating, tables
from mainstay.runner.state.adapters.database import Database, StateUnusable
from mainstay.runner.state.adapters.migrating import VERSIONS, migrate, ready, revision
from mainstay.runner.state.adapters.migrations import REVISIONS
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.state.adapters.stores import open_state

BEFORE = Path(__file__).parents[3] / "cases" / "states" / "schema-1"
"""A state as the last version without migrations left it: two runs, one sealed, one paused in its midst."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for name in ("ledger.key", "anchor.jsonl"):
        shutil.copy(BEFORE / name, folder)
    (folder / "engine.db").touch()
    with closing(sqlite3.connect(folder / "mainstay.db")) as database:
        database.executescript((BEFORE / "mainstay.sql").read_text())
    return folder / "mainstay.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Empty."""
    if request.param == "sqlite":
        one: Database = SqliteDatabase(tmp_path / "new.db")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        one = opened(server, server.database())
    yield one
    one.close()


def planted(folder: Path, body: str, after: str = REVISIONS[-1]) -> list[Path]:
    """Our revisions, and one more."""
    folder.mkdir()
    head = f"from alembic import op\nimport sqlalchemy as sa\nrevision = '9999'\ndown_revision = '{after}'\n"
    (folder / "r9999_planted.py").write_text(f"{head}\ndef upgrade():\n    {body}\n")
    return [VERSIONS, folder]


def raw(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def shape(path: Path) -> dict[str, str]:
    """What the file is made of, whatever spaces it was written with."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {f"{kind} {name}": " ".join(text.split()) for kind, name, text in rows}


def test_a_state_from_before_is_brought_up_and_loses_nothing(old: Path, tmp_path: Path) -> None:
    stores = open_state("sqlite:///state/mainstay.db", tmp_path)
    stores.guard()
    assert stores.ledger.verify() == []
    assert stores.state.id == "01M81DW7XYC7RJXTDS02NHKDQM"
    assert stores.state.next_fence() == 4
    assert [(run.id, run.state, run.wish) for run in stores.state.runs()] == [
        ("r1", "ended", ""),
        ("r2", "running", "pause"),
    ]
    assert [part.host for part in stores.state.parts("r1")] == ["a"]
    assert stores.state.undos(host="a")[0].undo == {"x": "1"}
    stores.state.wish("r2", "", by="ben@ops2", reason="")
    assert [said.by for said in stores.state.interventions("r2")] == ["ben@ops2"]
    assert stores.ledger.seal("r2", {}).seq == 2
    stores.close()


def test_it_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.db"):
        database = SqliteDatabase(path)
        ready(database)
        database.close()
    assert shape(old) == shape(tmp_path / "new.db")


def test_a_copy_of_what_was_there_is_kept(old: Path) -> None:
    before = shape(old)
    database = SqliteDatabase(old)
    ready(database)
    database.close()
    kept = old.with_name(f"mainstay.db.before-{REVISIONS[-1]}")
    assert shape(kept) == before
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with closing(sqlite3.connect(kept)) as copy:
        assert copy.execute("SELECT count(*) FROM maintenance_record").fetchone() == (1,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(path.name for path in old.parent.glob("*before*")) == [kept.name]


def test_a_version_without_migrations_refuses_what_was_brought_up(old: Path) -> None:
    database = SqliteDatabase(old)
    ready(database)
    with database.read() as of:
        found = of.execute(sa.select(tables.meta.c.value).where(tables.meta.c.name == "schema_version")).scalar_one()
    assert int(found) == tables.SCHEMA_VERSION > 1
    database.close()


@pytest.mark.thorough
def test_many_who_open_an_old_one_at_once_bring_it_up_once(old: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mainstay.runner.state.adapters.stores import open_state\n"
        "opened = open_state('sqlite:///state/mainstay.db', Path(sys.argv[1])); opened.guard(); print(opened.state.id)"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=120)[0].strip() for process in started}
    assert said == {"01M81DW7XYC7RJXTDS02NHKDQM"}


def test_many_who_begin_in_one_database_make_its_tables_once(postgres: Postgres) -> None:
    name = postgres.database()
    program = (
        "import sys; from mainstay.inventory.postgres import postgres_address\n"
        "from mainstay.inventory.secrets import Secret\n"
        "from mainstay.runner.state.adapters.postgres import PostgresDatabase\n"
        "from mainstay.runner.state.adapters.sql import SqlState\n"
        "print(SqlState(PostgresDatabase(postgres_address(sys.argv[1]), Secret(sys.stdin.read()))).id)"
    )
    argv = [sys.executable, "-c", program, postgres.url(name)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    said = {process.communicate(postgres.PASSWORD, timeout=120)[0].strip() for process in started}
    assert len(said) == 1 and "" not in said


def test_the_tables_are_those_that_the_program_means(database: Database) -> None:
    ready(database)
    meant = sa.MetaData()
    for part in (tables.metadata, ledger_metadata, *([tables.shared] if database.dialect == "postgresql" else [])):
        for table in part.tables.values():
            table.to_metadata(meant)
    with database.read() as of:
        context = MigrationContext.configure(of, opts={"compare_type": True})
        assert compare_metadata(context, meant) == []


def test_the_revisions_are_those_in_the_folder() -> None:
    assert tuple(migrating._revisions([VERSIONS])) == REVISIONS


def test_again_is_nothing(database: Database) -> None:
    assert migrate(database) == (None, REVISIONS[-1])
    assert migrate(database) == (REVISIONS[-1], REVISIONS[-1])
    ready(database)
    assert revision(database) == REVISIONS[-1]


def test_what_a_newer_version_made_is_refused(database: Database) -> None:
    ready(database)
    with database.write() as to:
        to.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    for attempt in (ready, migrate):
        with pytest.raises(StateUnusable, match="newer mainstay") as caught:
            attempt(database)
        assert caught.value.hint


def test_an_older_one_that_is_shared_is_brought_up_on_purpose_alone(postgres: Postgres) -> None:
    database = opened(postgres, postgres.database())
    migrate(database, to=REVISIONS[0])
    with pytest.raises(StateUnusable, match="older mainstay") as caught:
        ready(database)
    assert caught.value.hint and "mainstay state migrate" in caught.value.hint
    assert migrate(database) == (REVISIONS[0], REVISIONS[-1])
    ready(database)
    database.close()


# The guards of the ledger's table.

COPIES = (
    "with op.batch_alter_table('maintenance_record', recreate='always') as table: "
    "table.add_column(sa.Column('more', sa.Text))"
)


def test_a_copied_table_has_its_guards_again(old: Path, tmp_path: Path) -> None:
    """Batch mode on SQLite copies the table and renames the copy, which has no trigger."""
    database = SqliteDatabase(old)
    migrate(database, versions=planted(tmp_path / "more", COPIES))
    with database.read() as of:
        assert guards.missing(of) == []
        assert "more" in {row.name for row in of.exec_driver_sql("PRAGMA table_info(maintenance_record)")}
    for statement in ("UPDATE maintenance_record SET body = '{}'", "DELETE FROM maintenance_record"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw(old, statement)
    database.close()


def test_the_copy_would_have_had_none(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what makes them anew the check after the migration refuses it, and everything stays as it was."""
    before = shape(old)
    monkeypatch.setattr(guards, "make", lambda to: None)
    database = SqliteDatabase(old)
    with pytest.raises(LedgerBehind, match="record_no_update"):
        migrate(database, versions=planted(tmp_path / "more", COPIES))
    database.close()
    assert shape(old) == before


def test_disabled_guards_stand_again_after_a_migration(postgres: Postgres, tmp_path: Path) -> None:
    database = opened(postgres, with_tables(postgres))
    body = "op.execute('ALTER TABLE maintenance_record DISABLE TRIGGER ALL')"
    migrate(database, versions=planted(tmp_path / "more", body))
    with database.read() as of:
        assert guards.missing(of) == []
    database.close()


@pytest.mark.parametrize("harm", [lambda path: raw(path, "DROP TRIGGER record_no_update")])
def test_a_guard_that_was_missing_before_is_not_made_good_in_silence(old: Path, harm: Callable[[Path], None]) -> None:
    harm(old)
    before = shape(old)
    with pytest.raises(LedgerBehind, match="record_no_update"):
        open_state("sqlite:///state/mainstay.db", old.parent.parent)
    assert shape(old) == before


@pytest.mark.parametrize("body", ["op.create_table('more', sa.Column('id', sa.Text)); raise RuntimeError('broke off')"])
def test_a_migration_that_breaks_off_leaves_everything_as_it_was(database: Database, tmp_path: Path, body: str) -> None:
    ready(database)
    with pytest.raises(RuntimeError, match="broke off"):
        migrate(database, versions=planted(tmp_path / "more", body))
    assert revision(database) == REVISIONS[-1]
    with database.read() as of:
        assert not database.has_table(of, "more")
    ready(database)


def test_the_password_is_in_no_error_of_a_migration(postgres: Postgres, tmp_path: Path) -> None:
    database = opened(postgres, with_tables(postgres))
    body = "op.execute(sa.text('SELECT no_such_thing'))"
    with pytest.raises(StateUnusable) as caught:
        migrate(database, versions=planted(tmp_path / "more", body))
    told = f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r} {caught.value.__cause__}"
    assert postgres.PASSWORD not in told
    assert str(Secret(postgres.PASSWORD)) == "***"
    database.close()

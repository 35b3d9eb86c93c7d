"""What a superuser of PostgreSQL can do to the ledger's table, and what is seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.ledgers import OnPostgres, filled, kinds
from tests.servers.postgres import Postgres
from tests.servers.state import with_tables

from mainstay.runner.ledger.contract import LedgerBehind


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: Postgres) -> Iterator[OnPostgres]:
    one = OnPostgres(tmp_path / "state", lambda run: [], postgres, with_tables(postgres))
    yield one
    one.close()


def test_emptying_is_refused_as_well_on_postgres(on_postgres: OnPostgres) -> None:
    ledger = filled(on_postgres.open())
    with pytest.raises(on_postgres.refusal, match="append-only"):
        on_postgres.raw("TRUNCATE maintenance_record", without_triggers=False)
    assert ledger.verify() == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE maintenance_record SET body = '{}'", "DELETE FROM maintenance_record", "TRUNCATE maintenance_record"],
)
def test_a_session_that_says_it_replicates_is_guarded_against_too(on_postgres: OnPostgres, statement: str) -> None:
    ledger = filled(on_postgres.open())
    with pytest.raises(on_postgres.refusal, match="append-only"):
        on_postgres.raw("SET session_replication_role = replica", statement, without_triggers=False)
    assert ledger.verify() == []


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE maintenance_record DISABLE TRIGGER record_chain",
        "ALTER TABLE maintenance_record ENABLE TRIGGER record_chain",
        "ALTER TABLE maintenance_record ENABLE REPLICA TRIGGER record_chain",
        "CREATE OR REPLACE FUNCTION record_follow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
        "ALTER FUNCTION record_follow() SET search_path = public",
        "DROP TRIGGER record_chain ON maintenance_record; CREATE TRIGGER record_chain BEFORE INSERT ON maintenance_record "
        "FOR EACH ROW WHEN (NEW.seq = 0) EXECUTE FUNCTION record_follow(); "
        "ALTER TABLE maintenance_record ENABLE ALWAYS TRIGGER record_chain",
        "CREATE RULE away AS ON DELETE TO maintenance_record DO INSTEAD NOTHING",
    ],
)
def test_a_guard_that_was_taken_out_of_use_is_found_and_refused(on_postgres: OnPostgres, harm: str) -> None:
    ledger = filled(on_postgres.open(), 2)
    on_postgres.raw(harm, without_triggers=False)
    assert ("triggers-missing", None) in kinds(ledger)
    with pytest.raises(LedgerBehind, match="record_"):
        ledger.guard()


@pytest.mark.parametrize("change", ["body = 'x'", "body = '[]'", "body = repeat('[', 100000)", "hash = 'ü'", "id = ''"])
def test_on_postgres_too(on_postgres: OnPostgres, change: str) -> None:
    ledger = filled(on_postgres.open())
    on_postgres.raw(f"UPDATE maintenance_record SET {change} WHERE seq = 3")
    assert ("edited", 3) in kinds(ledger) or ("forged", 3) in kinds(ledger)

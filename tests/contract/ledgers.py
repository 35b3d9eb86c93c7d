"""Real ledgers on both databases, and what somebody who can write these can do to them."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
from tests.servers.postgres import USER, Postgres
from tests.servers.state import opened, with_tables

from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.contract import Ledger
from mainstay.runner.ledger.seals import Anchor, make_key
from mainstay.runner.record import HostPart, hosts_digest
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.sqlite import SqliteDatabase


class Real(ABC):
    """A ledger in a database, and the ways of somebody who can write that."""

    refusal: type[Exception]

    def __init__(self, directory: Path, parts: Callable[[str], list[HostPart]]) -> None:
        self.directory, self.hosts = directory, lambda run: hosts_digest(parts(run))
        self.anchor, self.key = directory / "anchor.jsonl", directory / "ledger.key"
        directory.mkdir(exist_ok=True)
        make_key(self.key)
        Anchor(self.anchor).make()
        self._opened: list[Database] = []

    def open(self) -> SqlLedger:
        self._opened.append(self.database())
        return SqlLedger(self._opened[-1], self.key, self.anchor, self.hosts)

    @abstractmethod
    def database(self) -> Database: ...

    @abstractmethod
    def raw(self, *statements: str, without_triggers: bool = True) -> None: ...

    @abstractmethod
    def another(self, directory: Path) -> Real:
        """With a key of its own."""

    @abstractmethod
    def forget_database(self) -> None:
        """The next one that is opened is empty."""

    @abstractmethod
    def drop_guard(self, name: str) -> None: ...

    @abstractmethod
    def hollow_guard(self) -> None:
        """One that has the name of a guard and does nothing."""

    def close(self) -> None:
        for database in self._opened:
            database.close()


class OnSqlite(Real):
    refusal = sqlite3.IntegrityError

    def database(self) -> Database:
        return SqliteDatabase(self.directory / "mainstay.db")

    def raw(self, *statements: str, without_triggers: bool = True) -> None:
        with closing(sqlite3.connect(self.directory / "mainstay.db")) as database:
            kept = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in kept if without_triggers else ():
                database.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                database.execute(statement)
            for _, text in kept if without_triggers else ():
                database.execute(text)
            database.commit()

    def another(self, directory: Path) -> Real:
        return OnSqlite(directory, lambda run: [])

    def forget_database(self) -> None:
        (self.directory / "mainstay.db").rename(self.directory / "old.db")

    def drop_guard(self, name: str) -> None:
        self.raw(f"DROP TRIGGER {name}", without_triggers=False)

    def hollow_guard(self) -> None:
        hollow = "CREATE TRIGGER record_no_update BEFORE UPDATE ON maintenance_record BEGIN SELECT 1; END"
        self.raw("DROP TRIGGER record_no_update", hollow, without_triggers=False)


class OnPostgres(Real):
    refusal = psycopg.errors.IntegrityConstraintViolation

    def __init__(self, directory: Path, parts: Callable[[str], list[HostPart]], server: Postgres, name: str) -> None:
        super().__init__(directory, parts)
        self.server, self.name = server, name

    def database(self) -> Database:
        return opened(self.server, self.name)

    def raw(self, *statements: str, without_triggers: bool = True) -> None:
        """As superuser, who can do what the owner of the table can, and more."""
        table = "ALTER TABLE maintenance_record"
        names = ("record_no_update", "record_no_delete", "record_no_truncate", "record_chain")
        with psycopg.connect(host=str(self.server.folder), port=self.server.port, user=USER, dbname=self.name) as to:
            to.execute("SET search_path = mainstay")
            if without_triggers:
                to.execute(f"{table} DISABLE TRIGGER ALL".encode())
            for statement in statements:
                to.execute(statement.encode())
            for name in names if without_triggers else ():
                to.execute(f"{table} ENABLE ALWAYS TRIGGER {name}".encode())

    def another(self, directory: Path) -> Real:
        return OnPostgres(directory, lambda run: [], self.server, with_tables(self.server))

    def forget_database(self) -> None:
        self.name = with_tables(self.server)

    def drop_guard(self, name: str) -> None:
        self.raw(f"DROP TRIGGER {name} ON maintenance_record", without_triggers=False)

    def hollow_guard(self) -> None:
        create = "CREATE FUNCTION hollow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$"
        trigger = (
            "CREATE TRIGGER record_no_update BEFORE UPDATE ON maintenance_record FOR EACH ROW EXECUTE FUNCTION hollow()"
        )
        always = "ALTER TABLE maintenance_record ENABLE ALWAYS TRIGGER record_no_update"
        drop = "DROP TRIGGER record_no_update ON maintenance_record"
        self.raw(drop, create, trigger, always, without_triggers=False)


def filled(ledger: Ledger, count: int = 5) -> Ledger:
    for number in range(1, count + 1):
        ledger.seal(f"r{number}", {"plan": "p", "n": number})
    return ledger


def kinds(ledger: Ledger) -> list[tuple[str, int | None]]:
    return [(finding.kind, finding.seq) for finding in ledger.verify()]

"""The ledger in `mainstay.db`, guarded by triggers, chained with a key that is not in it, anchored outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mainstay.inventory.value import Json, canonical
from mainstay.runner.ledger.chain import Hosts, examine, make_entry
from mainstay.runner.ledger.contract import Entry, Finding, LedgerBehind, RecordDamaged, SealConflict
from mainstay.runner.ledger.seals import Anchor, missing, read_key
from mainstay.runner.state.adapters.database import Database

metadata = sa.MetaData()

record = sa.Table(
    "maintenance_record",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("prev", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("body", sa.Text, nullable=False),
)

TRIGGERS = {
    "record_no_update": (
        "CREATE TRIGGER record_no_update BEFORE UPDATE ON maintenance_record "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    ),
    "record_no_delete": (
        "CREATE TRIGGER record_no_delete BEFORE DELETE ON maintenance_record "
        "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    ),
    # INSERT OR REPLACE deletes without firing the delete trigger on a connection with SQLite's defaults.
    "record_chain": (
        "CREATE TRIGGER record_chain BEFORE INSERT ON maintenance_record BEGIN SELECT CASE "
        "WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM maintenance_record) "
        "OR NEW.prev IS NOT coalesce((SELECT hash FROM maintenance_record ORDER BY seq DESC LIMIT 1), '') "
        "THEN RAISE(ABORT, 'broken chain') END; END"
    ),
}


class SqlLedger:
    """Implements Ledger. hosts: the digest over what is kept of a run's hosts, which `verify` holds each record against.

    Raises LedgerBehind where the key is missing.
    """

    def __init__(self, database: Database, key: Path, anchor: Path, hosts: Hosts | None = None) -> None:
        self._database = database
        self._key = read_key(key)
        self._anchor = Anchor(anchor)
        self._hosts = hosts
        self._set_up()

    def _set_up(self) -> None:
        with self._database.write() as to:
            there = to.execute(sa.text("SELECT 1 FROM sqlite_master WHERE name = 'maintenance_record'")).first()
            if there is None:
                metadata.create_all(to)
                for trigger in TRIGGERS.values():
                    to.exec_driver_sql(trigger)

    def seal(self, id: str, body: Json) -> Entry:
        with self._database.write() as to:
            row = to.execute(sa.select(record).where(record.c.id == id)).mappings().one_or_none()
            if row is not None:
                entry = _entry(row)
                if canonical(entry.body) != canonical(body):
                    raise SealConflict(f"{id} is sealed already (seq {entry.seq}), and says something else")
            else:
                entry = make_entry(self._key, self._head(to), id, body)
                to.execute(sa.insert(record).values(**entry.to_json() | {"body": canonical(body).decode()}))
        # After the commit: an anchor ahead of its ledger would look like a loss. One that lags is caught up here.
        self._anchor.note(*((entry.seq, entry.hash) if row is None else self.head()))
        return entry

    def get(self, id: str) -> Entry | None:
        with self._database.read() as of:
            row = of.execute(sa.select(record).where(record.c.id == id)).mappings().one_or_none()
        return None if row is None else _entry(row)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        query = sa.select(record).where(record.c.seq > after).order_by(record.c.seq)
        with self._database.read() as of:
            for row in of.execution_options(yield_per=500).execute(query).mappings():
                yield _entry(row)

    def head(self) -> tuple[int, str]:
        with self._database.read() as of:
            return self._head(of)

    def _head(self, of: sa.Connection) -> tuple[int, str]:
        query = sa.select(record.c.seq, record.c.hash).order_by(record.c.seq.desc()).limit(1)
        row = of.execute(query).one_or_none()
        return (row.seq, row.hash) if row is not None else (0, "")

    def verify(self) -> list[Finding]:
        lost = ""
        try:
            anchor = {seal.seq: seal.hash for seal in self._anchor.seals()}
        except LedgerBehind as error:
            anchor, lost = {}, error.message
        found = examine(self._rows(), self._key, anchor, self._hosts)
        if not self._anchor.exists() or (not anchor and self.head()[0] > 0):
            text = lost or f"the anchor is missing or empty: {self._anchor.path}"
            found.append(Finding(kind="anchor-missing", message=text))
        return found + self._triggers()

    def _rows(self) -> Iterator[Entry]:
        """Every row as it lies there, also what no writer of ours would have left."""
        texts = [
            sa.cast(column, sa.LargeBinary).label(column.name) for column in record.c if column is not record.c.seq
        ]
        with self._database.read() as of:
            query = sa.select(record.c.seq, *texts).order_by(record.c.seq)
            for row in of.execution_options(yield_per=500).execute(query).mappings():
                yield _as_it_lies(row)

    def _triggers(self) -> list[Finding]:
        with self._database.read() as of:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            there: dict[str, str] = {row.name: row.sql for row in of.execute(sa.text(query))}
        gone = [name for name, text in TRIGGERS.items() if there.get(name) != text]
        text = "the table's guard {} is missing or another: records could have been changed or removed"
        return [Finding(kind="triggers-missing", message=text.format(name)) for name in gone]

    def guard(self) -> None:
        """Before work starts. Raises LedgerBehind where the anchor has seen more than the ledger holds, or another
        entry in its place, and where a guard of the table is gone."""
        hint = "`mainstay records verify` says what is wrong; bring the state back from its backup."
        if not self._anchor.exists():
            raise missing(self._anchor.path)
        for finding in self._triggers():
            raise LedgerBehind(finding.message, hint=hint)
        last, head = self._anchor.last(), self.head()
        if last is None:
            if head[0] > 0:
                raise LedgerBehind(f"the ledger's anchor is empty: {self._anchor.path}", hint=hint)
            return
        if last.seq > head[0]:
            text = f"the ledger is behind its anchor: {head[0]} records of {last.seq} are left"
            raise LedgerBehind(text, hint=hint)
        with self._database.read() as of:
            kept = of.execute(sa.select(record.c.hash).where(record.c.seq == last.seq)).scalar_one_or_none()
        if kept != last.hash:
            raise LedgerBehind(f"record {last.seq} is not the one that its anchor has seen", hint=hint)


def _entry(row: Any) -> Entry:
    """Raises RecordDamaged."""
    try:
        return Entry(seq=row["seq"], id=row["id"], prev=row["prev"], hash=row["hash"], body=json.loads(row["body"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordDamaged(
            f"record {row['seq']} can't be read: it is not what was sealed",
            hint="`mainstay records verify` says what is wrong; bring the state back from its backup.",
        ) from error


def _as_it_lies(row: Any) -> Entry:
    """A body that can't be read, or is spelled in another way than `canonical`, becomes one that nobody has sealed."""
    id, prev, hash = (row[name].decode("utf-8", "backslashreplace") for name in ("id", "prev", "hash"))
    raw: bytes = row["body"]
    try:
        body = json.loads(raw)
        if not isinstance(body, dict) or canonical(body) != raw:
            body = None
    except (ValueError, RecursionError):
        body = None
    unread = {"unread": raw.decode("utf-8", "backslashreplace")}
    return Entry(seq=row["seq"], id=id, prev=prev, hash=hash, body=unread if body is None else body)

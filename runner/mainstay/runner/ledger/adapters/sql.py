"""The ledger in a database: guarded by triggers, chained with a key that is not in it, anchored outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mainstay.inventory.value import Json, canonical
from mainstay.runner.ledger.adapters import guards
from mainstay.runner.ledger.chain import Hosts, examine, make_entry
from mainstay.runner.ledger.contract import Entry, Finding, LedgerBehind, RecordDamaged, SealConflict
from mainstay.runner.ledger.seals import Anchor, missing, read_key
from mainstay.runner.state.adapters.database import Database, persistent
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.adapters.tables import NUMBER, TEXT

metadata = sa.MetaData()

record = sa.Table(
    "maintenance_record",
    metadata,
    sa.Column("seq", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("prev", TEXT, nullable=False),
    sa.Column("hash", TEXT, nullable=False, unique=True),
    sa.Column("body", TEXT, nullable=False),
)

PAGE = 500
"""Entries that are read at once."""


class SqlLedger:
    """Implements Ledger. hosts: the digest over what is kept of a run's hosts, which `verify` holds each record against.

    Raises LedgerBehind where the key is missing.
    """

    def __init__(self, database: Database, key: Path, anchor: Path, hosts: Hosts | None = None) -> None:
        self._database = database
        self._key = read_key(key)
        self._anchor = Anchor(anchor)
        self._hosts = hosts
        ready(database)

    def seal(self, id: str, body: Json) -> Entry:
        entry, new = self._seal(id, body)
        # After the commit: an anchor ahead of its ledger would look like a loss. One that lags is caught up here.
        self._anchor.note(*((entry.seq, entry.hash) if new else self.head()))
        return entry

    @persistent
    def _seal(self, id: str, body: Json) -> tuple[Entry, bool]:
        with self._database.write() as to:
            row = to.execute(sa.select(record).where(record.c.id == id)).mappings().one_or_none()
            if row is not None:
                entry = _entry(row)
                if canonical(entry.body) != canonical(body):
                    raise SealConflict(f"{id} is sealed already (seq {entry.seq}), and says something else")
            else:
                entry = make_entry(self._key, self._head(to), id, body)
                to.execute(sa.insert(record).values(**entry.to_json() | {"body": canonical(body).decode()}))
        return entry, row is None

    @persistent
    def get(self, id: str) -> Entry | None:
        with self._database.read() as of:
            row = of.execute(sa.select(record).where(record.c.id == id)).mappings().one_or_none()
        return None if row is None else _entry(row)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        for row in self._pages(list(record.c), after):
            yield _entry(row)

    def _pages(self, columns: list[Any], after: int | None) -> Iterator[Any]:
        """Rows in the order of their seq, a page at a time: no connection is held while somebody looks at them."""
        while page := self._page(columns, after):
            yield from page
            after = page[-1]["seq"]

    @persistent
    def _page(self, columns: list[Any], after: int | None) -> Sequence[Any]:
        query = sa.select(*columns).order_by(record.c.seq).limit(PAGE)
        with self._database.read() as of:
            return of.execute(query if after is None else query.where(record.c.seq > after)).mappings().all()

    @persistent
    def head(self) -> tuple[int, str]:
        with self._database.read() as of:
            return self._head(of)

    def _head(self, of: sa.Connection) -> tuple[int, str]:
        query = sa.select(record.c.seq, record.c.hash).order_by(record.c.seq.desc()).limit(1)
        row = of.execute(query).one_or_none()
        return (row.seq, row.hash) if row is not None else (0, "")

    @persistent
    def index(self) -> dict[int, tuple[str, str]]:
        id, hash = (self._database.bytes_of(column).label(column.name) for column in (record.c.id, record.c.hash))
        with self._database.read() as of:
            rows = of.execute(sa.select(record.c.seq, id, hash).order_by(record.c.seq))
            return {row.seq: (_lax(row.id), _lax(row.hash)) for row in rows}

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
        return found + self._guards()

    def _rows(self) -> Iterator[Entry]:
        """Every row as it lies there, also what no writer of ours would have left."""
        texts = [
            self._database.bytes_of(column).label(column.name) for column in record.c if column is not record.c.seq
        ]
        for row in self._pages([record.c.seq, *texts], None):
            yield _as_it_lies(row)

    @persistent
    def _guards(self) -> list[Finding]:
        text = "the table's guard {} is missing or another: records could have been changed or removed"
        with self._database.read() as of:
            return [Finding(kind="triggers-missing", message=text.format(name)) for name in guards.missing(of)]

    def guard(self) -> None:
        """Before work starts. Raises LedgerBehind where the anchor has seen more than the ledger holds, or another
        entry in its place, and where a guard of the table is gone."""
        hint = "`mainstay records verify` says what is wrong; bring the state back from its backup."
        if not self._anchor.exists():
            raise missing(self._anchor.path)
        for finding in self._guards():
            raise LedgerBehind(finding.message, hint=hint)
        last, head = self._anchor.last(), self.head()
        if last is None:
            if head[0] > 0:
                raise LedgerBehind(f"the ledger's anchor is empty: {self._anchor.path}", hint=hint)
            return
        if last.seq > head[0]:
            text = f"the ledger is behind its anchor: {head[0]} records of {last.seq} are left"
            raise LedgerBehind(text, hint=hint)
        if self._hash_of(last.seq) != last.hash:
            raise LedgerBehind(f"record {last.seq} is not the one that its anchor has seen", hint=hint)

    @persistent
    def _hash_of(self, seq: int) -> str | None:
        with self._database.read() as of:
            return of.execute(sa.select(record.c.hash).where(record.c.seq == seq)).scalar_one_or_none()


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
    id, prev, hash = (_lax(row[name]) for name in ("id", "prev", "hash"))
    raw: bytes = row["body"]
    try:
        body = json.loads(raw)
        if not isinstance(body, dict) or canonical(body) != raw:
            body = None
    except (ValueError, RecursionError):
        body = None
    unread = {"unread": _lax(raw)}
    return Entry(seq=row["seq"], id=id, prev=prev, hash=hash, body=unread if body is None else body)


def _lax(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")

"""One machine's part of a state that several share: the ledger's key, which is the same everywhere and in no database, and
what this machine itself has seen, which nobody who writes the database can make it forget.

The database holds a check value of the key (an HMAC of a fixed text), so that another key is noticed before anything is
sealed with it. What a machine finds when it opens a state for the first time it can only verify against the key; from
then on it holds the ledger against its own anchor.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
from pathlib import Path

import sqlalchemy as sa

from mainstay.runner.ledger.adapters.sql import SqlLedger
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.ledger.seals import Anchor, make_key, read_key
from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.tables import meta

ID_FILE = "state.id"
"""Which state this folder belongs to: written when the machine has opened it once."""
_EMPTY = "empty"
"""Beside the id, as long as this machine has seen no record: an anchor that is empty is not one that was emptied then."""
KEY_CHECK = "key_check"
MADE_BY = "made_by"
_CHECKED = b"mainstay ledger key"


def claim(database: Database, directory: Path, key: Path, anchor: Anchor) -> None:
    """The key is this state's; made here where nobody has made the state yet. Raises LedgerBehind."""

    def settle() -> None:
        with database.write() as to:
            known = _known(to)
            if KEY_CHECK in known:
                return
            if "state_id" in known:
                read_key(key)  # its records were sealed with one: another would not do
            elif (directory / ID_FILE).exists() or anchor.last() is not None:
                raise LedgerBehind(
                    f"{database.name} holds no state, but this machine has opened one there",
                    hint=f"Bring it back with `mainstay state restore`, or move {directory} away to begin a new one.",
                )
            else:
                make_key(key)
            made_by = f"{socket.gethostname()}:{key.absolute()}"
            values = {KEY_CHECK: _check_of(read_key(key)), MADE_BY: made_by}
            to.execute(sa.insert(meta), [{"name": name, "value": value} for name, value in values.items()])

    if KEY_CHECK not in _read(database):
        database.persist(settle)
    check(database, key)


def check(database: Database, key: Path) -> None:
    """Raises LedgerBehind where this machine's key is missing or another one."""
    known = _read(database)
    made_by = known.get(MADE_BY, "another machine")
    hint = f"Copy the key from the machine that made the state ({made_by}), or say where it is: ledger_key: file:PATH"
    if not key.exists():
        raise LedgerBehind(f"this machine has no key of the ledger: {key}", hint=hint)
    if not hmac.compare_digest(_check_of(read_key(key)), known.get(KEY_CHECK, "")):
        raise LedgerBehind(f"the ledger's key is another one than this state's: {key}", hint=hint)


def settle(name: str, state: str, directory: Path, ledger: SqlLedger, anchor: Anchor) -> tuple[str, ...]:
    """What this machine has seen is there, or begins now. Returns what somebody should be told. Raises LedgerBehind."""
    mark = directory / ID_FILE
    words = mark.read_text().split() if mark.exists() else []
    if mark.exists():
        if words[:1] != [state]:
            raise LedgerBehind(
                f"{directory} belongs to another state than the one in {name}",
                hint="Is `state:` right? Name another folder for this one: state_dir: PATH",
            )
        if not anchor.exists():
            raise lost(anchor.path)
        if words[1:] != [_EMPTY]:
            return ()
    # It has seen nothing yet: where other machines have sealed since, it begins with that.
    told: tuple[str, ...] = ()
    if anchor.last() is None:
        told = _begin(name, ledger, anchor)
    empty = f" {_EMPTY}" if anchor.last() is None else ""
    draft = mark.with_name(f".{ID_FILE}.{os.getpid()}")
    draft.write_text(f"{state}{empty}\n")
    draft.chmod(0o600)
    draft.rename(mark)
    return told


def _begin(name: str, ledger: SqlLedger, anchor: Anchor) -> tuple[str, ...]:
    seq, hash = ledger.head()
    for finding in ledger.verify() if seq else ():
        if finding.kind != "anchor-missing":
            raise LedgerBehind(
                f"the ledger in {name} is not sound: {finding.message}",
                hint="This machine has not seen it before, and does not begin with it. `mainstay records verify` on one "
                "that has says more.",
            )
    anchor.make()
    if not seq:
        return ()
    anchor.note(seq, hash)
    told = "its 1 record is sound" if seq == 1 else f"its {seq} records hang together"
    return (
        f"This machine opens the state in {name} for the first time: {told} under the ledger's key. It goes by that from "
        "now on. That none is missing at the end, only another machine's anchor can tell.",
    )


def lost(path: Path) -> LedgerBehind:
    return LedgerBehind(
        f"a part of the state is missing: {path}",
        hint="Going on would hide what is lost. Bring the state back with `mainstay state restore`, "
        "or move its folder away to begin a new one.",
    )


def _check_of(key: bytes) -> str:
    return hmac.new(key, _CHECKED, hashlib.sha256).hexdigest()


def _read(database: Database) -> dict[str, str]:
    def look() -> dict[str, str]:
        with database.read() as of:
            return _known(of)

    return database.persist(look)


def _known(of: sa.Connection) -> dict[str, str]:
    return {row.name: row.value for row in of.execute(sa.select(meta))}

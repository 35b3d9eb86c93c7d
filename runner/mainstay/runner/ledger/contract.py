"""The ledger's port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.value import Json, Value
from mainstay.runner.engine.contract import Unkept


class Entry(Value):
    """One sealed row. hash: HMAC-SHA-256 over the canonical [seq, id, prev, body]."""

    seq: int
    id: str
    prev: str
    hash: str
    body: Json


class Finding(Value):
    """One thing that `verify` found wrong."""

    kind: Literal[
        "edited",
        "missing",
        "reordered",
        "truncated",
        "forged",
        "hosts-differ",
        "triggers-missing",
        "anchor-missing",
        "unsealed",  # a run that ended, and has no record
        "run-missing",  # a record, and nothing is known of its run
    ]
    seq: int | None = None
    message: str


class Ledger(Protocol):
    def seal(self, id: str, body: Json) -> Entry:
        """Append. The same id with the same body returns the entry that is there; with another body: SealConflict."""

    def get(self, id: str) -> Entry | None: ...

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """In order of seq."""

    def head(self) -> tuple[int, str]:
        """(seq, hash) of the last entry; (0, "") when empty."""

    def index(self) -> dict[int, tuple[str, str]]:
        """seq → (id, hash) of every entry as it lies there, also where its body can't be read."""

    def verify(self) -> list[Finding]:
        """Everything that is wrong between the first entry, the last, and the anchor. Empty: nothing found."""

    def guard(self) -> None:
        """Asked before any work starts: raises LedgerBehind where starting would hide a loss."""


class SealConflict(MainstayError):
    kind = "ledger"


class RecordDamaged(MainstayError):
    """A record can't be read any more."""

    kind = "ledger"


class LedgerUnusable(Unkept):
    """What lies beside the database can't be read or written: the disk is full, or failing."""

    kind = "ledger"


class LedgerBehind(MainstayError):
    """The ledger is behind its anchor, or one of the stores is missing: starting work would hide a loss."""

    kind = "ledger"
    exit_code = 2

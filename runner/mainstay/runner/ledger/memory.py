"""The ledger without a database, held to the suite that the real one passes."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator

from mainstay.inventory.value import Json, canonical
from mainstay.runner.ledger.chain import Hosts, examine, make_entry
from mainstay.runner.ledger.contract import Entry, Finding, LedgerBehind, SealConflict
from mainstay.runner.record import HostPart, hosts_digest

Parts = Callable[[str], list[HostPart]]
"""The hosts' parts of a run, by its id."""


class MemoryLedger:
    """Implements Ledger. `rows` and `anchor` lie open, so that a test can do to them what an intruder would."""

    def __init__(self, parts: Parts | None = None) -> None:
        self.rows: list[Entry] = []
        self.anchor: dict[int, str] | None = {}
        self._key = secrets.token_bytes(32)
        self._hosts: Hosts | None = None if parts is None else lambda run: hosts_digest(parts(run))
        self._lock = threading.Lock()

    def seal(self, id: str, body: Json) -> Entry:
        with self._lock:
            entry = self.get(id)
            if entry is not None:
                if canonical(entry.body) != canonical(body):
                    raise SealConflict(f"{id} is sealed already (seq {entry.seq}), and says something else")
                return entry
            entry = make_entry(self._key, self.head(), id, body)
            self.rows.append(entry)
            if self.anchor is not None:
                self.anchor[entry.seq] = entry.hash
            return entry

    def get(self, id: str) -> Entry | None:
        return next((entry for entry in self.rows if entry.id == id), None)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        yield from (entry for entry in sorted(self.rows, key=lambda entry: entry.seq) if entry.seq > after)

    def head(self) -> tuple[int, str]:
        last = max(self.rows, key=lambda entry: entry.seq, default=None)
        return (last.seq, last.hash) if last else (0, "")

    def index(self) -> dict[int, tuple[str, str]]:
        return {entry.seq: (entry.id, entry.hash) for entry in self.entries()}

    def verify(self) -> list[Finding]:
        found = examine(self.entries(), self._key, self.anchor or {}, self._hosts)
        if not self.anchor and self.rows:
            found.append(Finding(kind="anchor-missing", message="the anchor is missing or empty"))
        return found

    def guard(self) -> None:
        head, anchor = self.head(), self.anchor
        if not anchor and (self.rows or anchor is None):
            raise LedgerBehind("the ledger's anchor is missing or empty")
        last = max(anchor or {}, default=0)
        if last > head[0] or any(entry.seq == last and entry.hash != (anchor or {})[last] for entry in self.rows):
            raise LedgerBehind(f"the ledger is behind its anchor: {head[0]} records of {last} are left")

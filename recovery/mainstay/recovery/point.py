"""Recovery points and their proofs: what can be restored, and what a restore has shown to be so. Frozen, plain JSON."""

from __future__ import annotations

from typing import Any

from mainstay.inventory.value import Value
from mainstay.runner.verdict import Verdict

ADOPTED = "adopted"
"""Name of the measure of a point that another controller's state has made: the run that has taken it over."""


class RecoveryPoint(Value):
    """A restorable state: one snapshot of one source of one host in one repository. Times are RFC 3339 UTC."""

    id: str
    """restic's full id of the snapshot (64 hexadecimal digits)."""
    host: str
    plan: str
    source: str
    """Name of the source in its plan."""
    item: str = ""
    """Of a source with several snapshots: the database, the file. What counts together (history, retention, freshness) is what
    has the same `unit`."""
    repository: str
    """Name of the declaration."""
    run: str
    """The run that made it."""
    at: str
    """The moment whose data it holds: when the backup began."""
    made_at: str
    """When it was complete."""
    verdict: Verdict
    """succeeded or degraded; nothing else becomes a point."""
    files: int = 0
    bytes: int = 0
    """Of the data, not of what was sent."""
    added: int = 0
    """Bytes that were new to the repository."""
    changed: int = 0
    """Files that were new or had changed."""
    paths: tuple[str, ...] = ()
    """What restic was given; of a stream, its name in the snapshot."""
    unreadable: int = 0
    anomalies: tuple[str, ...] = ()
    """In words; while there is one that nobody has acknowledged, retention leaves this host's source alone."""
    copy_of: str | None = None
    """The point in another repository that this one was copied from."""
    removed_at: str | None = None
    """When retention took it away; it can't be restored any more."""
    removed_by: str | None = None
    """The run that did; empty where it was found gone from the repository. While there is no removed_at: the run that is about
    to, or was broken off in it."""
    measures: dict[str, Any] = {}

    @property
    def unit(self) -> str:
        """`files`, `db/orders`."""
        return f"{self.source}/{self.item}" if self.item else self.source


class Proof(Value):
    """A restore of (part of) a point, compared and asserted."""

    point: str
    host: str
    plan: str
    source: str
    item: str = ""
    repository: str
    run: str
    """The drill."""
    at: str
    """When the drill ended, RFC 3339 UTC."""
    verdict: Verdict
    """succeeded: what was tried is proved. degraded: it is, and something is to be looked at. Anything else proves nothing."""
    reason: str = ""
    scope: str = ""
    """What was restored, in words: `20 of 1,240 files, 3.2 MB`."""
    left_out: tuple[str, ...] = ()
    """What was not tried because of a limit, in words: it is not proved."""
    seconds: float = 0.0
    """From the beginning of the restore to the last assertion."""
    machine: str = "controller"
    """Which restored it: the controller, or the host of that name."""
    measures: dict[str, Any] = {}

"""Where the engine's store is: what differs between a file of this machine and a database that many share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from mainstay.runner.engine.contract import EngineUnusable
from mainstay.runner.engine.liveness import Liveness, Timing

UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")
ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
TAKEN_OVER = "taken-over-by-"
"""Prefix of the queue that a takeover by one process goes through; the rest is that process's executor id."""
ROOTS = "submitted"
"""What was put down for whoever serves."""
CHILDREN = "children"
"""What parents leave to any process that serves; only where processes of several machines share the store."""

SCHEMA = "dbos"
"""Where the engine's tables are in PostgreSQL."""
TABLE = "workflow_status"

ROWS = (
    "SELECT workflow_uuid, name, status, queue_name, executor_id, application_version, owner_xid FROM workflow_status "
    "WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED') ORDER BY created_at, workflow_uuid"
)
# What DBOS's own resume does, and only where the row still is as it was seen: two that take over at once, or an owner
# that has begun meanwhile, can't be overruled. DBOS claims it from the queue, under a token that outdates the old one.
TAKE_OVER = (
    "UPDATE workflow_status SET status = 'ENQUEUED', owner_xid = NULL, queue_name = :to, recovery_attempts = 0, "
    "started_at_epoch_ms = NULL, completed_at = NULL, updated_at = :now "
    "WHERE workflow_uuid = :id AND status = :status AND COALESCE(executor_id, '') = :executor "
    "AND COALESCE(queue_name, '') = :queue AND COALESCE(owner_xid, '') = :token"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A workflow that has not ended, as DBOS keeps it."""

    id: str
    name: str
    status: str
    queue: str | None
    executor: str | None
    version: str
    token: str | None
    """Of the claim under which it is worked on."""

    @property
    def owner(self) -> str:
        """The executor that it belongs to; one that waits to be taken over belongs to whoever takes it over, one that
        waits for whoever serves to nobody ("")."""
        if self.status != "PENDING" and self.queue is not None:
            if self.queue in (ROOTS, CHILDREN):
                return ""
            if self.queue.startswith(TAKEN_OVER):
                return self.queue.removeprefix(TAKEN_OVER)
        return self.executor or ""

    def seen(self) -> dict[str, str]:
        """What TAKE_OVER compares."""
        return {
            "id": self.id,
            "status": self.status,
            "executor": self.executor or "",
            "queue": self.queue or "",
            "token": self.token or "",
        }


class Place(Protocol):
    url: str
    """For DBOS."""
    shared: bool
    """Children may be worked on by any process that serves."""

    def exists(self) -> bool:
        """Whether anything has ever been run here."""

    def prepare(self) -> None:
        """Raises EngineUnusable."""

    def starting(self) -> AbstractContextManager[None]:
        """One process at a time makes what DBOS needs."""

    def settings(self) -> dict[str, Any]:
        """More of DBOS's configuration."""

    def liveness(self, timing: Timing) -> Liveness: ...

    def rows(self) -> list[Row]:
        """What has not ended, the oldest first. Raises EngineUnusable."""

    def take_over(self, rows: Sequence[Row], queue: Callable[[Row], str]) -> list[str]:
        """Put those that are still as seen into the queue. Returns their ids. Raises EngineUnusable."""

    def close(self) -> None:
        """Let go of what was held for questions; another question opens it again."""

    def unusable(self, error: BaseException) -> EngineUnusable | None:
        """In words, where the store is what failed."""


def owners(rows: Collection[Row]) -> dict[str, str]:
    """id → executor id."""
    return {row.id: row.owner for row in rows}

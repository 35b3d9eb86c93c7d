"""What backups leave behind, kept in the state: points, proofs, what was done with each repository, who looked at what.

All moments are RFC 3339; they are compared as moments, to the millisecond, however they are written. Every write may be done
again with the same content; no point is ever deleted but by `tidy`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mainstay.recovery.point import Proof, RecoveryPoint

Tending = Literal["init", "retention", "prune", "check", "copy", "prove", "lock", "rename"]
"""What is done with a repository or its points beside backups; each is due at its own time."""


@dataclass(frozen=True, slots=True)
class Vault:
    """One repository of one host (host is empty where it is shared by declaration), as mainstay knows it."""

    repository: str
    host: str
    id: str = ""
    """restic's id of it; another one than before means that it was exchanged. Empty: not yet seen."""
    made_at: str = ""
    made_by: str = ""
    """The run that made it; empty where it was there before."""
    escrow_at: str = ""
    """When somebody confirmed that its password is kept elsewhere; empty: not yet, and that is an alarm."""
    escrow_by: str = ""


@dataclass(frozen=True, slots=True)
class Tended:
    """The last time that something was done (or tried, or called off) there. subject: a plan for retention, prove and copy,
    otherwise empty; part: `3/28` of a check, and how it ended where it was not done."""

    repository: str
    host: str
    what: Tending
    subject: str
    part: str
    run: str
    at: str
    verdict: str
    detail: str = ""
    fault: str = ""
    """Of what went wrong, the kind of its error: `locked`."""
    tries: int = 0
    """How often in a row it has gone wrong by then; 0 where that was not counted."""


@dataclass(frozen=True, slots=True)
class Ack:
    """Somebody has looked. item: id of a run or of a point; host, source: empty for all of them."""

    item: str
    host: str
    source: str
    by: str
    at: str
    reason: str


class PointStore(Protocol):
    """Raises Unkept where the state can't be written."""

    def add_point(self, point: RecoveryPoint) -> None:
        """Again with the same id and repository is success, and changes nothing."""

    def points(
        self,
        *,
        hosts: Collection[str] | None = None,
        plan: str | None = None,
        source: str | None = None,
        repository: str | None = None,
        run: str | None = None,
        removed: bool = False,
        anomalous: bool = False,
    ) -> list[RecoveryPoint]:
        """Oldest first by `at`, then id. removed: also those that retention took away. anomalous: only those with an anomaly."""

    # Of a large fleet it would take too long to read every point; what follows is what most questions need of it.

    def newest(
        self, *, hosts: Collection[str] | None = None, plan: str | None = None, until: str | None = None
    ) -> list[RecoveryPoint]:
        """Of each (host, plan, unit, repository, verdict) the newest that is still there and not dated after `until`; oldest
        first."""

    def proved(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[RecoveryPoint]:
        """Of each (host, plan, unit, repository), of the points that are still there and that a proof which succeeded or is
        degraded is about, the newest and the one that was proved last; oldest first."""

    def newest_proofs(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[Proof]:
        """Of each (host, plan, unit, repository, verdict) the newest; oldest first. The proof of a point that is gone is
        among them."""

    def find(self, prefix: str) -> list[RecoveryPoint]:
        """Whose id begins so, in whichever repository, removed ones too; none for an empty prefix."""

    def mark_going(self, repository: str, ids: Sequence[str], run: str) -> None:
        """Written down before they are removed: that the run is about to, so that what is missing afterwards was ours. They are
        there still. Those that are removed already stay as they are. run: empty: nobody is about to any more."""

    def mark_removed(self, repository: str, ids: Sequence[str], run: str, at: str) -> None:
        """Those that are removed already keep who did it. run: empty for those that were found gone."""

    def hand_over(self, old: str, new: str, mine: Callable[[str], bool] = lambda run: True) -> None:
        """What is known of the plan `old` (points, removed ones too, proofs, what was done with them) is known of the plan `new`
        from now on. Of what was done under both names the last stands. mine: whether what this run has left is meant."""

    def add_proof(self, proof: Proof) -> None:
        """One for each point, repository and run; the first one stands."""

    def proofs(
        self, *, hosts: Collection[str] | None = None, source: str | None = None, points: Collection[str] | None = None
    ) -> list[Proof]:
        """Oldest first by `at`. Also those that failed."""

    def vault(self, repository: str, host: str) -> Vault | None: ...

    def vaults(self) -> list[Vault]: ...

    def note_vault(self, vault: Vault) -> None:
        """Written over as a whole."""

    def tended(
        self, *, repository: str | None = None, host: str | None = None, part: str | None = None
    ) -> list[Tended]:
        """The last of each (repository, host, what, subject, part)."""

    def note_tended(self, tended: Tended) -> None:
        """The last one that is written stands, whatever its moment: one of a clock that was ahead must not keep those after it
        out until that time has come."""

    def acknowledge(self, ack: Ack) -> None: ...

    def acks(self) -> list[Ack]:
        """Oldest first."""

    def tidy(self, before: str) -> int:
        """Delete points removed before that moment with their proofs. Returns how many."""

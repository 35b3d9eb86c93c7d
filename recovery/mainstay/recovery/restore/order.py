"""What a restore is to do, as it was asked for: frozen with the run, plain JSON."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.inventory.amounts import Share
from mainstay.inventory.host import Host
from mainstay.inventory.value import Value
from mainstay.recovery.plan import Source
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.repository import Repository
from mainstay.runner.plan import Carefulness, WaveSpec
from mainstay.runner.record import Links
from mainstay.runner.request import Asking, RunRequest, new_run_id

CONTROLLER = "controller"
"""In the place of a host's name: mainstay's own machine."""
RESTORE = "restore"


class Piece(Value):
    """One point, and what of it is wanted."""

    point: RecoveryPoint
    paths: tuple[str, ...] = ()
    """Absolute, as they are in the snapshot; empty: all of it."""
    files: int = 0
    """Of them in the snapshot, when it was asked for."""
    bytes: int = 0


class RestoreOrder(Value):
    version: int = 1
    host: str
    """Whose data it is. It may have left the inventory."""
    on: str
    """Name of the host that it is written to, or CONTROLLER."""
    to: str = ""
    """Absolute folder: /etc/x of the snapshot becomes TO/etc/x. Empty where a database is the target."""
    pieces: tuple[Piece, ...]
    repositories: dict[str, Repository]
    """Those that the pieces are in."""
    confirmed: bool = False
    """Somebody has said the name of the machine: what is there already may be overwritten."""
    into: str = ""
    """Name of the database that is made."""
    source: Source | None = None
    """Of a database: how its server is reached."""
    account: str = ""
    """Of a database: who reads the dump instead of the source's own account; it owns the new database."""
    keep_restic: bool = True
    """A host without restic, or with one that is too old, gets the controller's."""

    @property
    def name_to_confirm(self) -> str:
        """Of the host that is written to; on the controller, of the host whose data it is."""
        return self.host if self.on == CONTROLLER else self.on

    @property
    def files(self) -> int:
        return sum(piece.files for piece in self.pieces)

    @property
    def bytes(self) -> int:
        return sum(piece.bytes for piece in self.pieces)


def restore_request(order: RestoreOrder, host: Host, asking: Asking) -> RunRequest:
    """host: the one that is written to; on the controller, the one whose data it is (its address does not matter)."""
    careful = Carefulness(
        waves=(WaveSpec(size=Share(percent=100)),),
        prove_first=False,
        restart="none",
        reboot="never",
        other_updaters="report",
        apply_timeout=86400.0,
        lost_after=900.0,
    )
    return RunRequest(
        id=new_run_id(),
        kind=RESTORE,
        plan=order.pieces[0].point.plan,
        maintenance_type="corrective",
        operation=order.to_json(),
        careful=careful,
        hosts=(host,),
        errand=order.on == CONTROLLER,
        trigger=asking.trigger,
        requested_by=asking.requested_by,
        asked_at=asking.asked_at,
        reason=asking.reason,
        site=asking.site,
        site_name=asking.site_name,
        limits=asking.limits,
        mainstay_version=asking.mainstay_version,
        links=Links(relies_on=_runs(order.pieces)),
    )


def _runs(pieces: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(sorted({piece.point.run for piece in pieces}))

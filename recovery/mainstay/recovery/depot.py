"""What everything in this room works with, put together in one place (console)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mainstay.inventory.secrets import Secret
from mainstay.recovery.points.contract import PointStore
from mainstay.recovery.repository import Access, Purpose, Repository, access
from mainstay.runner.ports import Clock

if TYPE_CHECKING:
    from mainstay.recovery.gateway.contract import Gateway
    from mainstay.recovery.restic.contract import Restic


@dataclass(frozen=True, slots=True)
class Depot:
    """restic: opens what the controller does with one repository. resolve: reference → secret, raises SecretError.
    place: a path of the site → absolute. zone: of the site; what days, weeks and months are counted in."""

    points: PointStore
    restic: Callable[[Access], Restic]
    gateway: Gateway
    resolve: Callable[[str], Secret]
    place: Callable[[str], str]
    clock: Clock
    zone: ZoneInfo

    def access(self, repository: Repository, host: str, purpose: Purpose) -> Access:
        """Raises SecretError."""
        return access(repository, host, purpose, self.resolve, self.place)

    def open(self, repository: Repository, host: str, purpose: Purpose = "maintain") -> Restic:
        return self.restic(self.access(repository, host, purpose))

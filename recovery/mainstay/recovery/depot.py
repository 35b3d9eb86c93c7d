"""What everything in this room works with, put together in one place (console)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mainstay.inventory.secrets import Secret
from mainstay.recovery.identities import Identities
from mainstay.recovery.listings import Listings
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
    identities: Identities = field(default_factory=Identities, repr=False, compare=False)
    listings: Listings = field(default_factory=Listings, repr=False, compare=False)

    def access(self, repository: Repository, host: str, purpose: Purpose) -> Access:
        """Raises SecretError."""
        return access(repository, host, purpose, self.resolve, self.place)

    def open(self, repository: Repository, host: str, purpose: Purpose = "maintain") -> Restic:
        return self.restic(self.access(repository, host, purpose))

    def ask_ahead(self, repository: Repository, host: str) -> None:
        """Begin to ask for the repository's id, beside other work; how that ends is heard from `identity`."""
        self.identities.begin((repository.name, host), self.clock.now(), lambda: self.open(repository, host).identity())

    def identity(self, repository: Repository, host: str, *, last: bool = False) -> str | None:
        """As `Restic.identity`; what was answered moments ago counts too, until somebody has asked as the last one who needs
        that answer. Raises SecretError too."""
        where, now = (repository.name, host), self.clock.now()
        return self.identities.answer(where, now, lambda: self.open(repository, host).identity(), last=last)

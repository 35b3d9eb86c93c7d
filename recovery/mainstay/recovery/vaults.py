"""Whether a repository is the one that it was."""

from __future__ import annotations

from mainstay.inventory.errors import Refused
from mainstay.recovery.points.contract import PointStore
from mainstay.recovery.repository import Repository


def not_the_same(
    points: PointStore, repository: Repository, plan: str, host: str, identity: str | None
) -> Refused | None:
    """Why this is no repository to work with; None where it is as ever, or seen for the first time.

    identity: restic's id of what is at its address now, None where there is nothing."""
    known = points.vault(repository.name, repository.vault(host))
    before = known.id if known is not None else ""
    lost = f"Find out what became of it (exchanged, a disk not mounted?). For good: mainstay repo init {plan} --replace"
    if identity is None and before:
        message = (
            f"repository {repository.name} is gone: {repository.address(host)} was {before[:8]}, and there is none now"
        )
        return Refused(message, hint=lost)
    if identity is None:
        hint = f"mainstay repo init {plan} makes it"
        return Refused(f"there is no repository {repository.name} yet", hint=hint)
    if before and before != identity:
        message = f"repository {repository.name} is another one than before ({identity[:8]}, it was {before[:8]})"
        return Refused(message, hint=lost)
    return None

"""Every kind of plan that a site may hold."""

from __future__ import annotations

from mainstay.recovery.loading import backup_kind
from mainstay.recovery.repositories import Repositories
from mainstay.runner.plans import PATCH, Kinds


def kinds(repositories: Repositories) -> Kinds:
    """repositories: those that the site declares."""
    return {**PATCH, "backup": backup_kind(repositories)}

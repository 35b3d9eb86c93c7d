"""Every repository that a site's backup plans use, host by host, with what the state knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.console.tending import backup_plans
from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Tended, Vault
from mainstay.recovery.repository import Repository

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


@dataclass(frozen=True, slots=True)
class Known:
    """host: whose it is; where several share it, the first of them, to ask in its name. vault: None: nobody has made or seen it."""

    repository: Repository
    host: str
    plans: tuple[str, ...]
    vault: Vault | None
    tended: tuple[Tended, ...]


def places(plan: BackupPlan) -> list[str]:
    """The repositories that it uses: its own first."""
    return [plan.repository, *(one.to for one in plan.copies)]


def vaults_of(plan: BackupPlan, hosts: Sequence[Host]) -> list[tuple[Repository, str]]:
    """(repository, host to ask in the name of), each vault once."""
    found: dict[tuple[str, str], tuple[Repository, str]] = {}
    for name in places(plan):
        for host in hosts:
            repository = plan.repositories[name]
            found.setdefault((name, repository.vault(host.name)), (repository, host.name))
    return list(found.values())


def absent(app: Application) -> list[str]:
    """Folders that are known to hold a repository, and that this machine has not: another machine's, or not mounted.
    Looks at files alone."""
    return [
        one.repository.address(one.host)
        for one in vaults(app)
        if one.repository.kind == "path"
        and one.vault is not None
        and one.vault.id
        # That others may not look into it is not that it is not there.
        and not _there(Path(app.depot.place(one.repository.address(one.host))))
    ]


def _there(folder: Path) -> bool:
    try:
        return (folder / "config").exists()
    except OSError:
        return True


def vaults(app: Application) -> list[Known]:
    users: dict[tuple[str, str], list[str]] = {}
    asked: dict[tuple[str, str], tuple[Repository, str]] = {}
    for plan in backup_plans(app):
        for repository, host in vaults_of(plan, app.targets(plan)):
            key = repository.name, repository.vault(host)
            users.setdefault(key, []).append(plan.name)
            asked.setdefault(key, (repository, host))
    kept = {(vault.repository, vault.host): vault for vault in app.points.vaults()}
    tended: dict[tuple[str, str], list[Tended]] = {}
    for one in app.points.tended():
        tended.setdefault((one.repository, one.host), []).append(one)
    return [
        Known(repository, host, tuple(sorted(users[key])), kept.get(key), tuple(tended.get(key, ())))
        for key, (repository, host) in asked.items()
    ]

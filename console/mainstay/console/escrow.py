"""The passwords of repositories, written into a file that is kept elsewhere, and read back from there as the proof of it."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.console.vaults import vaults_of
from mainstay.inventory.errors import MainstayError, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secret
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Vault
from mainstay.runner.steps import rfc3339

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

LARGEST = 16 * 1024 * 1024


def write(app: Application, plan: BackupPlan, hosts: Sequence[Host], path: Path) -> int:
    """Returns how many passwords. Raises UsageError where the file is there already, SecretError."""
    entries = [
        {
            "repository": repository.name,
            "host": repository.vault(host),
            "url": repository.address(host),
            "password": app.depot.access(repository, host, "maintain").password.reveal(),
        }
        for repository, host in vaults_of(plan, hosts)
    ]
    body = {"site": app.site.name, "made_at": rfc3339(app.clock.now()), "passwords": entries}
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        hint = "An export never writes over a file." if isinstance(error, FileExistsError) else None
        raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    with os.fdopen(file, "w", encoding="utf-8") as out:
        json.dump(body, out, indent=2)
        out.write("\n")
        out.flush()
        os.fsync(out.fileno())
    return len(entries)


def confirmed(app: Application, plan: BackupPlan, hosts: Sequence[Host], path: Path) -> tuple[int, list[str]]:
    """(how many are confirmed now, those that are not and why). A password counts when it is the one in use and opens the
    repository. Raises UsageError for a file that is no export."""
    given = _read(path)
    done, missing = 0, []
    for repository, host in vaults_of(plan, hosts):
        vault = repository.vault(host)
        name = f"{repository.name} of {vault}" if vault else repository.name
        password = given.get((repository.name, vault))
        if why := _wrong(app, plan, repository.name, host, password):
            missing.append(f"{name}: {why}")
            continue
        known = app.points.vault(repository.name, vault) or Vault(repository.name, vault)
        by, now = app.requested_by, rfc3339(app.clock.now())
        app.points.note_vault(replace(known, escrow_at=now, escrow_by=by))
        done += 1
    return done, missing


def _wrong(app: Application, plan: BackupPlan, name: str, host: str, password: str | None) -> str:
    """Why this password is not confirmed; empty where it is."""
    if password is None:
        return "it is not in the file"
    access = app.depot.access(plan.repositories[name], host, "maintain")
    if not hmac.compare_digest(access.password.reveal().encode(), password.encode()):
        return "the file has another password than the one in use"
    try:
        there = app.depot.restic(replace(access, password=Secret(password))).identity()
    except MainstayError as error:
        return error.message
    return "" if there else "there is no such repository yet"


def _read(path: Path) -> dict[tuple[str, str], str]:
    hint = "It takes the file that mainstay repo key export has written."
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(LARGEST))
        return {(one["repository"], one["host"]): one["password"] for one in data["passwords"]}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no export of passwords.", hint=hint) from error

"""What a backup would do on a host: read without rights, and without making anything."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from mainstay.inventory.errors import MainstayError
from mainstay.recovery.backup import sending
from mainstay.recovery.backup.change import Program
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.repository import HOST
from mainstay.recovery.restic.contract import Unreachable
from mainstay.recovery.vaults import not_the_same
from mainstay.recovery.words import sized, span
from mainstay.runner.operation import Forecast, Look
from mainstay.runner.shell.contract import Command

_THERE = r"""
for p in "$@"; do
  if [ -e "$p" ] || [ -L "$p" ]; then echo yes; continue; fi
  up=$p
  while up=${up%/*}; [ -n "$up" ] && [ ! -e "$up" ]; do :; done
  # Below a folder that may not be entered nobody can tell.
  if [ -x "${up:-/}" ]; then echo no; else echo unknown; fi
done
"""
"""absolute paths → for each a line: yes, no, unknown."""


def forecast(plan: BackupPlan, depot: Depot, look: Look, find: sending.Find) -> Forecast:
    repository = plan.repositories[plan.repository]
    seen = sending.look(look.shell)
    program, why = sending.choose(seen, plan.send_restic, find)
    notes = _absent(plan, look)
    refused = why or _refused(plan, depot, look.host.name, notes)
    points = depot.points.points(hosts=[look.host.name], plan=plan.name, repository=plan.repository)
    if program is not None:
        notes.append(_program(program))
    notes += _newest(points)
    if repository.vault(look.host.name) == "" or HOST not in repository.password:
        notes.append(f"whoever gets into a host that writes to {plan.repository} can read what all of them keep there")
    after = f"restic to {plan.repository}"
    elsewhere = plan.prove.on if plan.prove else look.host.name
    if elsewhere not in ("controller", "host", look.host.name):
        notes.append(f"{elsewhere} proves its points, and is given the password of its repository meanwhile")
    return Forecast(
        change={"machine": seen.machine},
        count=len(plan.sources),
        reversible=0,
        items=tuple((name, _age(points, name, look.now), after) for name in plan.sources),
        reboot="no",
        notes=tuple(notes),
        refused=refused,
    )


def _refused(plan: BackupPlan, depot: Depot, host: str, notes: list[str]) -> str:
    repository = plan.repositories[plan.repository]
    try:
        identity = depot.identity(repository, host)
    except Unreachable as error:
        if repository.through == "controller":
            return error.message
        notes.append(f"the controller can't reach repository {plan.repository} now")
        return ""
    except MainstayError as error:
        return error.message
    refusal = not_the_same(depot.points, repository, plan.name, host, identity)
    return f"{refusal.message} ({refusal.hint})" if refusal else ""


def _absent(plan: BackupPlan, look: Look) -> list[str]:
    paths = [(name, path) for name, source in plan.sources.items() for path in (*source.paths, *source.sqlite)]
    if not paths:
        return []
    said = look.shell.run(Command(("sh", "-c", _THERE, "mainstay", *(path for _, path in paths)))).text.split()
    return [f"{name}: {path} is not there" for (name, path), word in zip(paths, said, strict=False) if word == "no"]


def _program(program: Program) -> str:
    return "sends the controller's restic" if program.sha256 else f"restic {program.version} is there"


def _newest(points: Iterable[RecoveryPoint]) -> list[str]:
    newest: dict[str, RecoveryPoint] = {point.unit: point for point in points}
    if not newest:
        return ["nothing of it is kept there yet"]
    return [f"the last one was {sized(sum(point.bytes for point in newest.values()))}"]


def _age(points: Iterable[RecoveryPoint], source: str, now: float) -> str:
    moments = [datetime.fromisoformat(point.at).timestamp() for point in points if point.source == source]
    return f"{span(max(0.0, now - max(moments)))} old" if moments else ""

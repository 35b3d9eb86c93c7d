"""What is particular to each kind of source: what it is made of on a host, and the shell that hands it to restic.

Each module has `find(name, source, ask)`, the items that there are now, and `step(item, source)`, the job's part for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources import commands, files, mysql, postgresql, sqlite
from mainstay.recovery.backup.sources.asking import Ask
from mainstay.recovery.plan import Source

_KINDS: Mapping[str, ModuleType] = {
    "paths": files,
    "files_from": files,
    "postgresql": postgresql,
    "mysql": mysql,
    "sqlite": sqlite,
    "command": commands,
}


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    """The items of a source as they are on the host now, sorted. Raises Unasked where the host can't tell."""
    found: tuple[Item, ...] = _KINDS[source.kind].find(name, source, ask)
    return found


def step(item: Item, source: Source) -> Step:
    """The job's part for one of its items."""
    made: Step = _KINDS[source.kind].step(item, source)
    return made

"""SQLite files: copied in a transaction by sqlite3 itself, looked at, and read from the copy."""

from __future__ import annotations

from pathlib import PurePosixPath

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources.asking import Ask
from mainstay.recovery.plan import Source
from mainstay.runner.shell.quote import quote


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    return tuple(
        Item(source=name, name=path.lstrip("/"), kind="sqlite", filename=PurePosixPath(path).name)
        for path in source.sqlite
    )


def step(item: Item, source: Source) -> Step:
    path = next(path for path in source.sqlite if path.lstrip("/") == item.name)
    return Step(item, f"sqlite {quote([path, item.filename])}", source.max_time)

"""The standard output of any command."""

from __future__ import annotations

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources.asking import Ask
from mainstay.recovery.backup.sources.files import NOBODY
from mainstay.recovery.plan import Source
from mainstay.runner.shell.quote import quote


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    return (Item(source=name, kind="command", filename=source.filename or name),)


def step(item: Item, source: Source) -> Step:
    words = [item.filename, source.trailer or "", source.user or NOBODY, *(source.command or ())]
    return Step(item, f"stream {quote(words)}", source.max_time)

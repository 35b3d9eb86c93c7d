"""Paths, and paths that a command names."""

from __future__ import annotations

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources.asking import Ask
from mainstay.recovery.plan import Source
from mainstay.runner.shell.quote import quote

NOBODY = "nobody"


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    kind = "paths" if source.paths else "files_from"
    return (Item(source=name, kind=kind, snapshot="" if source.snapshot == "none" else source.snapshot),)


def step(item: Item, source: Source) -> Step:
    options = [f"--exclude={pattern}" for pattern in source.exclude]
    options += [f"--exclude-if-present={name}" for name in source.exclude_if_present]
    options += ["--one-file-system"] if source.one_file_system else []
    if source.paths:
        text = f"files {quote(source.paths)}"
        if item.snapshot:
            words = [item.snapshot, str(source.snapshot_size), "yes" if source.one_file_system else "no", *source.paths]
            # Where none could be taken, that has been said, and nothing is read.
            text = f"if frozen {quote(words)}; then {text}; else thaw; fi"
    else:
        text = f"listed {quote([source.user or NOBODY, *(source.files_from or ())])}"
    return Step(item, text, source.max_time, tuple(options))

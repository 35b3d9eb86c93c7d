"""What is kept for going back is not kept for ever: after a run, captured packages that no way back needs are removed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox

KEEP_FOR = 30 * 86400.0
"""Seconds that a captured package stays without a way back that needs it: a later run may still find it useful."""

_HASH = re.compile(r"[0-9a-f]{64}")


def tidy(tools: Toolbox) -> int:
    """Remove captured packages that are old or too many, except those that a way back still needs. Returns how many."""
    now = rfc3339(tools.clock.now())
    needed = {
        word
        for row in tools.state.undos()
        if row.undone_by is None and row.keep_until > now
        for word in _words(row.undo)
        if _HASH.fullmatch(word)
    }
    gone = tools.artifacts.prune(
        kind="package", older_than=KEEP_FOR, keep=frozenset(needed), cap=tools.captures_max_size
    )
    return len(gone)


def _words(data: Any) -> Iterator[str]:
    """Every text in a JSON value: only the operation knows which of them name artifacts, and a digest looks like one."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for value in data.values():
            yield from _words(value)
    elif isinstance(data, list):
        for value in data:
            yield from _words(value)

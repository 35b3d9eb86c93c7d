"""What is not kept for ever: captured packages that no way back needs, and the engine's checkpoints of runs long ended. The
ledger, with every record in it, is never pruned."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from mainstay.runner.engine.contract import Engine
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox

KEEP_FOR = 30 * 86400.0
"""Seconds that a captured package stays without a way back that needs it: a later run may still find it useful."""

_HASH = re.compile(r"[0-9a-f]{64}")


def tidy(tools: Toolbox) -> int:
    """Remove captured packages that are old or too many, except those that a way back still needs. Returns how many.

    Which of them a run in flight needs (its later waves get what its first one captured) is known to that run alone: as long
    as there is one, they may be too many, and the last run to end sees to it."""
    now = rfc3339(tools.clock.now())
    needed = {word for row in tools.state.undos(needed_at=now) for word in _words(row.undo) if _HASH.fullmatch(word)}
    cap = sys.maxsize if tools.state.runs(in_flight=True) else tools.captures_max_size
    gone = tools.artifacts.prune(kind="package", older_than=KEEP_FOR, keep=frozenset(needed), cap=cap)
    return len(gone)


BATCH = 200
"""Runs that the engine is asked to forget at once."""


def forget(tools: Toolbox, engine: Engine, most: int | None = None) -> int:
    """Delete what the engine keeps of runs that ended longer ago than `tools.keep_engine`. most: stop after about so many
    workflows, the rest is for the next time. Returns how many were deleted."""
    ended = tools.state.ended_before(rfc3339(tools.clock.now() - timedelta(seconds=tools.keep_engine)))
    gone = 0
    for at in range(0, len(ended), BATCH):
        if most is not None and gone >= most:
            break
        gone += engine.forget(ended[at : at + BATCH])
    return gone


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

"""What somebody else changed on a host while a run was at work there."""

from __future__ import annotations

from collections.abc import Iterable

from mainstay.runner.patching.change import Change
from mainstay.runner.patching.contract import LogEntry


def foreign(entries: Iterable[LogEntry], change: Change) -> tuple[str, ...]:
    """Entries that neither the change nor the way back from it explains, in words: `upgrade curl 7.1 → 7.2`."""
    ours = {item.name.split(":")[0]: {item.before, item.after} for item in change.items}
    lines = []
    for entry in entries:
        known = ours.get(entry.name.split(":")[0])
        reached = None if entry.action in ("remove", "purge") else entry.after
        if known is not None and reached in known:
            continue
        lines.append(f"{entry.action} {entry.name} {entry.before or ''} → {reached or 'gone'}")
    return tuple(dict.fromkeys(" ".join(line.split()) for line in lines))

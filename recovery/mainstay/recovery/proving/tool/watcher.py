"""How much is written while restic restores; it is told to end where that is too much."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.proving.waiting import until
from mainstay.recovery.proving.watching import Watch


def watch(place: Place, listed: int, noted: Path) -> int:
    """Until it had to end what is noted there, or is told to end itself."""
    look = Watch(place, listed)
    until(lambda: bool(look.found()), lambda: 1.0)
    print(json.dumps(look.found()), flush=True)
    # It may not be so far yet, and goes on writing then.
    until(lambda: _told_to_end(noted), lambda: 1.0)
    return 0


def _told_to_end(noted: Path) -> bool:
    with suppress(OSError, ValueError, IndexError):
        pid, then = noted.read_text().split("\n")[:2]
        now = Path(f"/proc/{int(pid)}/stat").read_text()
        if _since(now) == _since(then):
            os.kill(int(pid), signal.SIGINT)
            return True
    return False


def _since(stat: str) -> str:
    """When a process began: field 22; its name, which may hold anything, is field 2."""
    return stat.rsplit(") ", 1)[1].split()[19]

"""What restic's exit status means.

Source: https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes, and what was measured (docs/reference/
backup-verdicts.md). New codes will be added, it says, and one that is not known has to be taken for a failure.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Literal

from mainstay.recovery.restic.version import Version

Meaning = Literal["done", "partial", "failed", "no-repository", "locked", "wrong-password", "interrupted"]
"""done: nothing more than that restic says so. partial: something could not be read, or not be removed."""

_SINCE: Mapping[int, tuple[Meaning, Version]] = {
    10: ("no-repository", (0, 17, 0)),
    11: ("locked", (0, 17, 0)),
    12: ("wrong-password", (0, 17, 1)),
    130: ("interrupted", (0, 10, 0)),
}
_PARTIAL: Mapping[str, Version] = {"backup": (0, 10, 0), "forget": (0, 19, 0)}
_STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGPIPE)


def meaning(status: int, version: Version, command: str = "backup") -> Meaning:
    """status: as a shell or Python gives it (143 and -15 both stand for SIGTERM). command: restic's, `backup`.

    0.18 ends with 1 after a SIGTERM, as after everything else: who sent one has to remember it.
    """
    if status == 0:
        return "done"
    if status == 3 and version >= _PARTIAL.get(command, (1 << 30, 0, 0)):
        return "partial"
    if -status in _STOPPING or status - 128 in _STOPPING:
        return "interrupted"
    known, since = _SINCE.get(status, ("failed", (0, 0, 0)))
    return known if version >= since else "failed"

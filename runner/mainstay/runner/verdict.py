"""How a host's work and a run end, and how the one follows from the other."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Verdict(StrEnum):
    """The words for an end. What can't be known is `unknown`, never green."""

    SUCCEEDED = "succeeded"
    DEGRADED = "degraded"
    """Done, with something to look at."""
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    """Policy said no, or the host could not be reached before anything was sent; nothing was touched."""
    MISSED = "missed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """Contact was lost and the host has not been asked since."""


WORST_FIRST = (
    Verdict.UNKNOWN,
    Verdict.FAILED,
    Verdict.ROLLED_BACK,
    Verdict.CANCELLED,
    Verdict.DEGRADED,
    Verdict.SUCCEEDED,
)

EXIT_CODES = {
    Verdict.SUCCEEDED: 0,
    Verdict.FAILED: 1,
    Verdict.ROLLED_BACK: 1,
    Verdict.CANCELLED: 1,
    Verdict.DEGRADED: 3,
    Verdict.REFUSED: 4,
    Verdict.MISSED: 4,
    Verdict.UNKNOWN: 5,
}
"""The command line's contract: 0 well, 1 failed, 3 degraded, 4 refused or missed, 5 unknown."""


def of_run(hosts: Sequence[Verdict]) -> Verdict:
    """The verdict of a run from those of its hosts.

    All missed: missed. All refused (or no host at all): refused. Some refused: at best degraded. Otherwise the worst of
    them.
    """
    touched = [verdict for verdict in hosts if verdict not in (Verdict.REFUSED, Verdict.MISSED)]
    if not touched:
        return Verdict.MISSED if hosts and set(hosts) == {Verdict.MISSED} else Verdict.REFUSED
    worst = min(touched, key=WORST_FIRST.index)
    if len(touched) < len(hosts) and worst is Verdict.SUCCEEDED:
        return Verdict.DEGRADED
    return worst

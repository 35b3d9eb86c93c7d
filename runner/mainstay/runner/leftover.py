"""What an earlier run has left in the middle on a host: nothing is built upon it before somebody has looked."""

from __future__ import annotations

from mainstay.inventory.errors import Refused
from mainstay.runner.record import STAGE
from mainstay.runner.state.contract import State
from mainstay.runner.verdict import Verdict


def refuse_unknown(state: State, run: str, host: str) -> None:
    """run: whose lock the host still carries. Raises Refused where that run has ended with the host as unknown."""
    row = state.run(run) if run else None
    if row is None or row.state != "ended" or row.kind == STAGE:
        return
    left = next((part for part in state.parts(run) if part.host == host), None)
    if left is not None and left.verdict is Verdict.UNKNOWN:
        raise Refused(
            f"run {run} was broken off here, and nobody has looked since at what became of it",
            hint=f"mainstay runs reconcile {run}",
        )

"""What a rollout works with, put together in one place (console.bootstrap)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.inventory.host import Host
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.hands import Hands
from mainstay.runner.ledger.contract import Ledger
from mainstay.runner.ports import AlwaysOpen, Clock, Gate, Listener, Quiet, SystemClock
from mainstay.runner.record import Said
from mainstay.runner.request import RunRequest
from mainstay.runner.shell.contract import Shells
from mainstay.runner.state.contract import State
from mainstay.runner.upkeep import Upkeep


class Leaving(BaseException):
    """This process is to end: who only waits leaves its step as it is, and the next process waits again.

    No Exception, so that it can't be taken for a step's own failure and kept as its result."""


REQUESTS_KEPT = 20
"""Of the runs of this process that were asked for last."""

OperationFactory = Callable[[RunRequest], Any]
"""The run's Operation (whose C and U are its own), or its Errand."""


@dataclass(slots=True)
class Toolbox:
    """gates: run id → the gate that was put together when the run was asked for; AlwaysOpen where none was."""

    state: State
    ledger: Ledger
    artifacts: Artifacts
    shells: Shells
    upkeep: Upkeep
    operations: Mapping[str, OperationFactory]
    matches: Callable[[str, Host], bool]
    clock: Clock = field(default_factory=SystemClock)
    listener: Listener = field(default_factory=Quiet)
    gate: Callable[[RunRequest], Gate] = lambda request: AlwaysOpen()
    said: Callable[[RunRequest], Sequence[Said]] = lambda request: ()
    """Who approved the run, and who did not, for its record."""
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    captures_max_size: int = 20 * 2**30
    """Bytes that captured packages may take, beside those that a way back needs."""
    keep_engine: float = 30 * 86400.0
    """Seconds that the engine keeps the checkpoints of a run which has ended."""
    site_name: str = ""
    """Of the site folder that this process works from; empty where nobody is to compare it."""

    hands: Hands = field(default_factory=Hands)
    able: Callable[[RunRequest, Host], str] = lambda request, host: ""
    """Why this process must not begin with the host (a secret or a pin that its machine lacks); empty where it may."""
    rest: Callable[[float], None] | None = None
    """In the place of `sleep` where nothing is in hand: may raise Leaving."""
    _requests: dict[str, RunRequest] = field(default_factory=dict, init=False)

    def request(self, run: str) -> RunRequest:
        """As the run was asked for, which never changes. Read once for all its hosts: it is as long as they are many."""
        if run not in self._requests:
            row = self.state.run(run)
            assert row is not None, "a run's row is written before it starts"
            for other in list(self._requests)[:-REQUESTS_KEPT]:
                self._requests.pop(other, None)
            self._requests[run] = RunRequest.from_json(row.request)
        return self._requests[run]

    def doze(self, seconds: float) -> None:
        """Sleep while waiting for what is to begin. Raises Leaving where the process is to end meanwhile."""
        (self.rest or self.sleep)(seconds)

    def operation(self, request: RunRequest) -> Any:
        """See OperationFactory. Of a run that reconciles another: that one's."""
        while request.kind == "reconcile":
            of = request.operation["of"]
            request = request.model_copy(update={"kind": of["kind"], "operation": of["operation"]})
        return self.operations[request.kind](request)

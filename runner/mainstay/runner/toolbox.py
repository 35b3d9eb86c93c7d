"""What a rollout works with, put together in one place (console.bootstrap)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mainstay.inventory.host import Host
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.ledger.contract import Ledger
from mainstay.runner.operation import Operation
from mainstay.runner.ports import AlwaysOpen, Clock, Gate, Listener, Quiet, SystemClock
from mainstay.runner.request import RunRequest
from mainstay.runner.shell.contract import Shells
from mainstay.runner.state.contract import State
from mainstay.runner.upkeep import Upkeep

OperationFactory = Callable[[RunRequest], Operation]  # type: ignore[type-arg]  # C and U are each operation's own


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
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    captures_max_size: int = 20 * 2**30
    """Bytes that captured packages may take, beside those that a way back needs."""
    patience: float = 120.0
    """Seconds without contact to a host that works for us, after which it is called unknown."""

    def operation(self, request: RunRequest) -> Operation:  # type: ignore[type-arg]  # see OperationFactory
        return self.operations[request.kind](request)

"""What the runner asks of the rooms above it. It owns the questions; they bring the answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Protocol

from mainstay.inventory.value import Json, Value
from mainstay.runner.record import HostPart, MaintenanceRecord, Step


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class Permission(Value):
    """A gate's answer. reason: for people, always given unless start."""

    answer: Literal["start", "wait", "refuse"]
    verdict: Literal["refused", "missed"] = "refused"
    """With `refuse`: what the run or the host is put on record as."""
    until: str | None = None
    """RFC 3339 UTC. With `wait`: when the answer will be another one, as far as known. With `start`: the end of the window
    in which it starts, None where none ends."""
    reason: str = ""
    gate: str = ""
    relies_on: tuple[str, ...] = ()
    """With `start` for a host: the runs whose backups allow it."""


class Gate(Protocol):
    """Windows, freezes, approvals, required backups. Asked as a checkpointed step before the run, each wave, each
    host and each disruptive step; the answer is the step's result, so a restart does not ask twice.

    step: `survey` (of each host before the waves are laid out: who is refused comes last in them, and is asked again), `run`,
    `wave` and `soaked` (a wave after a soak; host is None), `host` (before anything is sent to it), `before` (its hooks),
    `apply`, `restart`, `reboot`. `wait` is an answer to `run`, `wave`, `soaked` and `host` alone: a host in hand does not
    wait."""

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        """estimate: seconds that the work is expected to take, None where not known."""


class AlwaysOpen:
    """The gate of a plan without a window."""

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        return Permission(answer="start")


class Evidence(Protocol):
    """What is proved about a host (a backup, a drill); implemented by recovery."""

    def about(self, host: str) -> Json: ...


class Listener(Protocol):
    """Is told what happens, as it happens; must not raise, and may be told the same thing twice after a restart. The record
    that a run ends with is told without its hosts."""

    def run_started(self, run: str, plan: str, waves: list[list[str]]) -> None: ...
    def wave_started(self, run: str, number: int, hosts: list[str]) -> None: ...
    def step_started(self, run: str, host: str, step: str) -> None: ...
    def step_progress(self, run: str, host: str, step: str, detail: str) -> None: ...
    def step_finished(self, run: str, host: str, step: Step) -> None: ...
    def host_finished(self, run: str, part: HostPart) -> None: ...
    def run_finished(self, record: MaintenanceRecord) -> None: ...


class Quiet:
    """A listener that does nothing; the base of those that care about some moments only."""

    def run_started(self, run: str, plan: str, waves: list[list[str]]) -> None: ...
    def wave_started(self, run: str, number: int, hosts: list[str]) -> None: ...
    def step_started(self, run: str, host: str, step: str) -> None: ...
    def step_progress(self, run: str, host: str, step: str, detail: str) -> None: ...
    def step_finished(self, run: str, host: str, step: Step) -> None: ...
    def host_finished(self, run: str, part: HostPart) -> None: ...
    def run_finished(self, record: MaintenanceRecord) -> None: ...

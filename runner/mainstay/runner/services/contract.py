"""What runs replaced code."""

from __future__ import annotations

from typing import Literal

from mainstay.inventory.value import Value

KernelState = Literal["unknown", "current", "replaced", "behind"]
"""replaced: the same release, built anew since the boot. behind: a newer release is installed."""


class StaleUnit(Value):
    """unit: a unit's name, or `program (pid)` for what belongs to none. files: some of the replaced ones it holds."""

    unit: str
    files: tuple[str, ...] = ()


class Stale(Value):
    """One look at a host. Names are the host's text: clean them before a person sees them."""

    services: tuple[StaleUnit, ...] = ()
    sessions: tuple[StaleUnit, ...] = ()
    """People's logins, and what they left running."""
    others: tuple[StaleUnit, ...] = ()
    """Processes of no service."""
    containers: int = 0
    """Processes inside containers: they run their image's code, and are left alone."""
    init: bool = False
    """PID 1."""
    kernel_current: str = ""
    kernel_expected: str = ""
    kernel_state: KernelState = "unknown"
    unknown: bool = False
    """It could not be looked at: nothing here says that all is well."""

    def names(self) -> tuple[str, ...]:
        """Everything that runs replaced code and is the host's own."""
        init = ("systemd (PID 1)",) if self.init else ()
        return (*init, *(unit.unit for unit in (*self.services, *self.sessions, *self.others)))


class LeftStale(Value):
    unit: str
    why: str

    def __str__(self) -> str:
        return f"{self.unit} ({self.why})"


class RestartReport(Value):
    restarted: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    """Did not come up again."""
    left: tuple[LeftStale, ...] = ()
    """Still runs replaced code, found by looking again."""

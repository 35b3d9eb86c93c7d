"""Upkeep: everything a rollout does on a host around the operation. The real one is put together in `host_upkeep`;
rollout tests bring a calm one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Carefulness, Check, Hook
from mainstay.runner.shell.contract import Shell, Shells


@dataclass(frozen=True, slots=True)
class Judgement:
    """Preflight's word. refusals: why nothing may be touched here; notes: what people should know."""

    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wellness:
    """ok: every check passed and no service was lost. detail: what is not well, or how well it is."""

    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """restarted: units. failed: units that did not come up. stale: what still runs replaced code, each with why."""

    restarted: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RebootNeed:
    """needed: None where it can't be known."""

    needed: bool | None
    reasons: tuple[str, ...] = ()


class Upkeep(Protocol):
    """Each method is safe to call again after a crash. All but probe, judge, well, stale and reboot_need change the host, and
    carry the work's fence."""

    def probe(self, shell: Shell) -> Facts: ...

    def judge(self, facts: Facts, plan: Carefulness, *, packages: bool = True) -> Judgement: ...

    def well(self, work: HostWork, checks: Sequence[Check]) -> Wellness:
        """The health checks, asked once."""

    def until_well(self, work: HostWork, checks: Sequence[Check], before: Facts) -> Wellness:
        """The health checks with their retries; services that were up before must be up."""

    def hook(self, work: HostWork, hook: Hook) -> Outcome: ...

    def fence_updaters(self, work: HostWork, seconds: float, wait: float) -> tuple[str, ...]:
        """Keep other updaters quiet for at most so long, over a reboot too; wait up to `wait` seconds for one that is
        at work. Returns the units. Raises Refused."""

    def release_updaters(self, work: HostWork) -> tuple[str, ...]:
        """Take that back. Returns what is left of it, found by looking: empty when all is gone."""

    def stale(self, work: HostWork) -> tuple[str, ...]:
        """What runs replaced code now."""

    def restart(self, work: HostWork, plan: Carefulness) -> Restarted: ...

    def reboot_need(self, work: HostWork) -> RebootNeed: ...

    def reboot_start(self, work: HostWork, name: str, boot_id: str) -> None:
        """End the boot with that id; where it has ended already nothing is done."""

    def reboot_wait(self, shells: Shells, host: Host, boot_id: str, deadline: float) -> Facts:
        """Wait until the host is up with another boot id than that. Raises ContactLost after `deadline` seconds."""

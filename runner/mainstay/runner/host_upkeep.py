"""Upkeep on real hosts: everything a rollout does around the operation, put together from its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner import preflight, probing, reboot, updaters
from mainstay.runner.health import checking, lost
from mainstay.runner.health.contract import CheckResult
from mainstay.runner.hooks import run_hook
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Carefulness, Check, Hook
from mainstay.runner.services import finding, restarting
from mainstay.runner.shell.contract import Command, Shell, Shells
from mainstay.runner.upkeep import Judgement, RebootNeed, Restarted, Wellness

COME_BACK = 30.0
"""Seconds in which a service that was up before may still come up: after a reboot, what depends on the network is late."""


@dataclass(slots=True)
class HostUpkeep:
    """Implements mainstay.runner.upkeep.Upkeep. clock: monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    come_back: float = COME_BACK
    root: Path | None = None
    """The site's folder: hooks on the controller run there. None: where mainstay was started."""

    def probe(self, shell: Shell) -> Facts:
        return probing.gather(shell)

    def judge(self, facts: Facts, plan: Carefulness, *, packages: bool = True) -> Judgement:
        return preflight.judge(facts, plan, packages=packages)

    def well(self, work: HostWork, checks: Sequence[Check]) -> Wellness:
        return _wellness(checking.check_all(checks, work.host, work.shell, clock=self.clock))

    def until_well(self, work: HostWork, checks: Sequence[Check], before: Facts) -> Wellness:
        results = checking.until_well(
            checks, work.host, work.shell, clock=self.clock, sleep=self.sleep, progress=work.progress
        )
        checked = _wellness(results)
        # A host that is not well by its own checks need not be waited for: what is gone is named as it is now.
        missing = self._missing(work, before, self.come_back if checked.ok else 0.0)
        if checked.ok and not missing:
            return checked
        services = [
            check.service for check, result in zip(checks, results, strict=True) if check.service and not result.ok
        ]
        said = last_words(work, services) if services else ""
        detail = "; ".join(part for part in (checked.detail if not checked.ok else "", missing, said) if part)
        return Wellness(ok=False, detail=detail)

    def _missing(self, work: HostWork, before: Facts, patience: float) -> str:
        """Services that were up before and are not within `patience` seconds; empty where all are there."""
        until = self.clock() + patience
        while True:
            after = probing.gather(work.shell)
            if "units" in after.unknown and "units" not in before.unknown:
                return "its services could not be listed, so that one that is lost would not be seen"
            gone = lost.services_lost(before, after)
            if not gone or self.clock() >= until:
                break
            work.progress(f"waiting for {', '.join(gone)}")
            self.sleep(1.0)
        if failed := lost.newly_failed(before, after):
            work.notes.append(f"failed since the run began: {', '.join(failed)}")
        return f"was up before and is not now: {', '.join(gone)}" if gone else ""

    def hook(self, work: HostWork, hook: Hook) -> Outcome:
        return run_hook(hook, work, folder=self.root, clock=self.clock, sleep=self.sleep)

    def fence_updaters(self, work: HostWork, seconds: float, wait: float) -> tuple[str, ...]:
        return updaters.fence_on(
            work.shell,
            work.fence,
            updaters.services(work.facts),
            seconds,
            wait=wait,
            clock=self.clock,
            sleep=self.sleep,
            progress=work.progress,
        )

    def release_updaters(self, work: HostWork) -> tuple[str, ...]:
        return updaters.fence_off(work.shell, work.fence)

    def stale(self, work: HostWork) -> tuple[str, ...]:
        seen = finding.find(work.shell)
        return (*seen.names(), "unknown: it could not be found out") if seen.unknown else seen.names()

    def restart(self, work: HostWork, plan: Carefulness) -> Restarted:
        stale = finding.find(work.shell)
        report = restarting.restart(work.shell, work.fence, stale, plan.restart, plan.restart_never, output=work.output)
        return Restarted(report.restarted, report.failed, tuple(str(left) for left in report.left))

    def reboot_need(self, work: HostWork) -> RebootNeed:
        facts = probing.gather(work.shell)
        return reboot.need(facts, finding.with_kernels(finding.find(work.shell), facts))

    def reboot_start(self, work: HostWork, name: str, boot_id: str) -> None:
        reboot.start(work.shell, work.fence, name, boot_id)

    def reboot_wait(self, shells: Shells, host: Host, boot_id: str, deadline: float) -> Facts:
        reboot.wait(shells, host, boot_id, deadline, clock=self.clock, sleep=self.sleep)
        shell = shells.open(host)
        try:
            return probing.gather(shell)
        finally:
            shell.close()


_LAST_WORDS = r"""
for unit in "$@"; do
  # its own words since it was last started, without systemd's about it
  id=$(systemctl show -p InvocationID --value -- "$unit")
  journalctl -q --no-pager -o cat -n 1 "_SYSTEMD_INVOCATION_ID=${id:-none}" 2>/dev/null | cut -c 1-200
done
"""


def last_words(work: HostWork, services: Sequence[str]) -> str:
    """What services that are down printed last: the reason is often there. Empty where nothing can be had."""
    units = [service if "." in service else f"{service}.service" for service in services]
    command = Command(("sh", "-c", _LAST_WORDS, "mainstay", *units), sudo=True, deadline=20.0, limit=4096)
    try:
        output = work.shell.run(command)
    except MainstayError:
        return ""  # the failure itself is known; this would only have explained it
    work.output(output.stdout)
    lines = [line.strip() for line in output.text.splitlines() if line.strip()]
    return "; ".join(f'it said: "{line}"' for line in lines)


def _wellness(results: Sequence[CheckResult]) -> Wellness:
    wrong = [result for result in results if not result.ok]
    told = [f"{result.name}: {result.detail}" if result.detail else result.name for result in wrong or results]
    return Wellness(ok=not wrong, detail="; ".join(told))

"""The real upkeep: the probe, preflight, health, hooks, services, other updaters and reboots, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner import hooks, preflight, probing, reboot, updaters
from mainstay.runner.health import checking
from mainstay.runner.health.contract import CheckResult
from mainstay.runner.health.lost import services_lost
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Carefulness, Check, Hook
from mainstay.runner.services import finding, restarting
from mainstay.runner.services.contract import Stale
from mainstay.runner.shell.contract import Shell, Shells
from mainstay.runner.upkeep import Judgement, RebootNeed, Restarted, Wellness

SERVICES_COME_BACK = 60.0
"""Seconds that a service which was up before gets to be up again: longer than most need after a reboot."""


class HostUpkeep:
    """Implements Upkeep on real hosts."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep

    def probe(self, shell: Shell) -> Facts:
        return probing.gather(shell)

    def judge(self, facts: Facts, plan: Carefulness) -> Judgement:
        return preflight.judge(facts, plan)

    def well(self, work: HostWork, checks: Sequence[Check]) -> Wellness:
        return _wellness(checking.check_all(checks, work.host, work.shell), [])

    def until_well(self, work: HostWork, checks: Sequence[Check], before: Facts) -> Wellness:
        results = checking.until_well(
            checks, work.host, work.shell, clock=self._clock, sleep=self._sleep, progress=work.progress
        )
        lost = self._lost(work, before) if all(result.ok for result in results) else []
        return _wellness(results, lost)

    def _lost(self, work: HostWork, before: Facts) -> list[str]:
        until, pause = self._clock() + SERVICES_COME_BACK, 0.5
        while lost := services_lost(before, self.probe(work.shell)):
            if self._clock() >= until:
                break
            work.progress(f"waiting for {', '.join(lost)}")
            self._sleep(pause)
            pause = min(5.0, pause * 2)
        return lost

    def hook(self, work: HostWork, hook: Hook) -> Outcome:
        return hooks.run_hook(hook, work)

    def fence_updaters(self, work: HostWork, seconds: float, wait: float) -> tuple[str, ...]:
        units = updaters.services(work.facts)
        return updaters.fence_on(
            work.shell,
            work.fence,
            units,
            seconds,
            wait=wait,
            clock=self._clock,
            sleep=self._sleep,
            progress=work.progress,
        )

    def release_updaters(self, work: HostWork) -> tuple[str, ...]:
        return updaters.fence_off(work.shell, work.fence)

    def stale(self, work: HostWork) -> tuple[str, ...]:
        return finding.find(work.shell).names()

    def restart(self, work: HostWork, plan: Carefulness) -> Restarted:
        stale = finding.find(work.shell)
        report = restarting.restart(work.shell, work.fence, stale, plan.restart, plan.restart_never, output=work.output)
        left = tuple(str(one) for one in report.left)
        return Restarted(restarted=report.restarted, failed=report.failed, stale=left)

    def reboot_need(self, work: HostWork) -> RebootNeed:
        facts: Facts = self.probe(work.shell)
        stale: Stale = finding.with_kernels(finding.find(work.shell), facts)
        return reboot.need(facts, stale)

    def reboot_start(self, work: HostWork, name: str, boot_id: str) -> None:
        reboot.start(work.shell, work.fence, name, boot_id)

    def reboot_wait(self, shells: Shells, host: Host, boot_id: str, deadline: float) -> Facts:
        reboot.wait(shells, host, boot_id, deadline, clock=self._clock, sleep=self._sleep)
        shell = shells.open(host)
        try:
            return self.probe(shell)
        finally:
            shell.close()


def _wellness(results: Sequence[CheckResult], lost: Sequence[str]) -> Wellness:
    bad = [f"{result.name}: {result.detail}" for result in results if not result.ok]
    bad += [f"{unit} was up before and is not now" for unit in lost]
    if bad:
        return Wellness(ok=False, detail="; ".join(bad))
    good = [f"{result.name} {result.detail}".strip() for result in results]
    return Wellness(ok=True, detail="; ".join(good) or "no service was lost")

"""All checks of a host: once before the change, and with patience after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mainstay.inventory.host import Host
from mainstay.runner.health import network, on_host
from mainstay.runner.health.contract import CheckResult, Look, Looker
from mainstay.runner.plan import Check
from mainstay.runner.shell.contract import Shell

STABLE = 2.0
"""Seconds between two looks at a service that have to find the same one up: a unit that crashes at its start comes up
again after 100 ms (systemd's RestartSec) and is up at almost any moment that one looks."""

STABLE_AFTER_CRASH = 10.0
"""The same for a service that has been seen to fall over: it has to prove more."""

LOOKERS: dict[str, Looker] = {
    "service": on_host.service,
    "command": on_host.command,
    "tcp": network.tcp,
    "http": network.get,
}


def kind_of(check: Check) -> str:
    return next(kind for kind in LOOKERS if getattr(check, kind) is not None)


def named(check: Check, host: Host) -> str:
    """What people read: the check's own name, or `http http://10.0.3.11/healthz`."""
    return check.label.replace("{address}", host.address).replace("{name}", host.name)


def look(check: Check, host: Host, shell: Shell) -> Look:
    return LOOKERS[kind_of(check)](check, host, shell)


def check_all(
    checks: Sequence[Check], host: Host, shell: Shell, *, clock: Callable[[], float] = time.monotonic
) -> list[CheckResult]:
    """Each check asked once, in their order: the baseline. Raises HostKeyRefused."""
    results = []
    for check in checks:
        started = clock()
        seen = look(check, host, shell)
        seconds = round(clock() - started, 3)
        results.append(CheckResult(name=named(check, host), ok=seen.ok, detail=seen.detail, seconds=seconds))
    return results


def until_well(
    checks: Sequence[Check],
    host: Host,
    shell: Shell,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[str], None] = lambda line: None,
) -> list[CheckResult]:
    """Each check until it is well, at most `retries` times again, `every` seconds apart; in their order.

    The checks wait side by side, so that the slowest one says how long it takes. A service has to be the same one,
    up, on two looks at least STABLE seconds apart. Raises HostKeyRefused.
    """
    began = clock()
    trials = [
        _Trial(check=check, name=named(check, host), service=kind_of(check) == "service", due=began) for check in checks
    ]
    while open_trials := [trial for trial in trials if trial.result is None]:
        trial = min(open_trials, key=lambda trial: trial.due)
        wait = trial.due - clock()
        if wait > 0:
            sleep(wait)
        seen = look(trial.check, host, shell)
        trial.take(seen, clock(), began)
        progress(f"{trial.name}: {seen.detail}")
    return [trial.result for trial in trials if trial.result is not None]


@dataclass(slots=True)
class _Trial:
    """One check on its way."""

    check: Check
    name: str
    service: bool
    due: float
    looks: int = 0
    """Looks that found it not well."""
    up_since: float | None = None
    identity: str = ""
    crashed: bool = False
    result: CheckResult | None = field(default=None)

    def take(self, seen: Look, now: float, began: float) -> None:
        if seen.ok and not self.service:
            self._end(True, seen.detail, now, began)
            return
        self.crashed = self.crashed or seen.crashed
        if seen.ok and self.up_since is not None and seen.identity == self.identity:
            up_for = now - self.up_since
            need = STABLE_AFTER_CRASH if self.crashed else STABLE
            if up_for >= need:
                self._end(True, seen.detail, now, began)
            else:
                self.due = now + need - up_for
            return
        anew = seen.ok and self.up_since is not None
        # up, but another one than before: it fell over in between
        self.crashed = self.crashed or anew
        if not seen.ok or anew:
            self.looks += 1
            if self.looks > self.check.retries:
                detail = f"{seen.detail}; it does not stay up" if self.crashed and seen.ok else seen.detail
                self._end(False, detail, now, began)
                return
        self.up_since, self.identity = (now, seen.identity) if seen.ok else (None, "")
        self.due = now + (STABLE if seen.ok else self.check.every)

    def _end(self, ok: bool, detail: str, now: float, began: float) -> None:
        self.result = CheckResult(name=self.name, ok=ok, detail=detail, seconds=round(now - began, 3))

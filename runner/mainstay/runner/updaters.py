"""Other updaters on a host (unattended-upgrades, dnf-automatic…): kept quiet while a run works there.

The fence is a condition in each updater's service that compares the host's clock with the moment at which the fence ends.
It holds over a reboot, and ends by itself: past that moment the condition is met whether anybody took the fence away or
not. A persistent timer then takes its files away too. What is skipped meanwhile is done at the updater's next turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.inventory.facts import Facts
from mainstay.runner.shell.contract import Command, Fence, Output, Shell

_SCRIPT = Path(__file__).with_name("updaters.sh").read_bytes()
DEADLINE = 120.0
"""Seconds; daemon-reload takes some on a large host."""

PAUSE = 2.0
"""Seconds between two looks at an updater that is still working."""


class FenceFailed(MainstayError):
    """Other updaters could not be fenced. What was done of it was taken back where that was possible."""

    kind = "updaters"


def services(facts: Facts) -> tuple[str, ...]:
    """The services behind the updaters that are switched on: a timer's own service. Cron files have none."""
    live = [updater.unit for updater in facts.updaters if (updater.active or updater.enabled) and not updater.cron]
    return tuple(
        sorted({unit.removesuffix(".timer") + ".service" if unit.endswith(".timer") else unit for unit in live})
    )


def fence_on(
    shell: Shell,
    fence: Fence,
    units: Sequence[str],
    seconds: float,
    *,
    wait: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[str, ...]:
    """Keep these services from starting for `seconds`, then wait up to `wait` seconds for one that is at work already.

    Again, with another end, is success. Returns the fenced services. Raises FenceFailed; Refused where one is still at
    work (the fence is taken back first); and what Shell raises.
    """
    if not units:
        return ()
    output = _run(shell, ("on", fence.run, str(max(1, round(seconds))), *units), fence=fence)
    told = _told(output)
    if "end" not in output.text.split() or any(word != "fenced" for word, _ in told):
        fence_off(shell, fence)
        raise FenceFailed(f"{shell.host.name}: other updaters can't be fenced: {_why(output, told)}")
    until = clock() + wait
    while busy := [unit for word, unit in _told(_run(shell, ("busy", *units))) if word == "busy"]:
        if clock() >= until:
            fence_off(shell, fence)
            raise Refused(
                f"{', '.join(busy)} is still installing updates after {wait:g} s", hint="Run again when it has ended."
            )
        progress(f"waiting for {', '.join(busy)}")
        sleep(PAUSE)
    return tuple(unit for _, unit in told)


def fence_off(shell: Shell, fence: Fence) -> tuple[str, ...]:
    """Take the fence away, whoever set it. Returns what is left of it, found by looking: empty when all is gone."""
    _run(shell, ("off",), fence=fence)
    return fence_left(shell)


def fence_left(shell: Shell) -> tuple[str, ...]:
    """What there is of a fence: files, and what systemd still has in memory. Needs no root and changes nothing."""
    output = _run(shell, ("left",), sudo=False)
    if "end" not in output.text.split():
        return ("unknown: the host could not be asked",)
    return tuple(what for word, what in _told(output) if word == "left")


def _run(shell: Shell, argv: tuple[str, ...], *, fence: Fence | None = None, sudo: bool = True) -> Output:
    command = ("sh", "-s", "--", *argv)
    return shell.run(Command(argv=command, stdin=_SCRIPT, sudo=sudo, fence=fence, deadline=DEADLINE, limit=1 << 20))


def _told(output: Output) -> list[tuple[str, str]]:
    pairs = (line.split("\t", 1) for line in output.text.splitlines() if "\t" in line)
    return [(pair[0], pair[1]) for pair in pairs if pair[0] in ("fenced", "open", "left", "busy", "old", "failed")]


def _why(output: Output, told: list[tuple[str, str]]) -> str:
    for word, what in told:
        if word == "old":
            return f"systemd {what or 'of unknown age'} is too old for it (243 is needed); say other_updaters: report"
        if word == "open":
            return f"{what} does not take its condition"
    lines = [line.strip() for line in output.error_text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"status {output.status}"

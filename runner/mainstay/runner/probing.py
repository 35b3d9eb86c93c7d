"""Facts of a host, asked through its shell."""

from __future__ import annotations

import time
from collections.abc import Callable

from mainstay.inventory.facts import Facts
from mainstay.inventory.probe import OUTPUT_LIMIT, PROBE, ProbeGarbled, parse
from mainstay.runner.shell.contract import Command, Shell

DEADLINE = 60.0
"""Seconds. The script takes some 25 ms; a host under load or with a hung systemd (10 s each) still answers."""


def probe_command() -> Command:
    """The probe as one read-only command, without root. The script goes over standard input: no login shell quotes it."""
    return Command(argv=("sh", "-s"), stdin=PROBE, deadline=DEADLINE, limit=OUTPUT_LIMIT)


def gather(shell: Shell, *, now: Callable[[], float] = time.time) -> Facts:
    """All facts of the shell's host in one round trip. Raises what Shell raises, and ProbeGarbled."""
    sent = now()
    output = shell.run(probe_command())
    try:
        if output.dropped:
            raise ProbeGarbled(f"the probe's answer is {output.dropped} bytes too long")
        return parse(output.stdout, sent=sent, received=now())
    except ProbeGarbled as garbled:
        raise ProbeGarbled(f"{shell.host.name}: {garbled.message}", hint=garbled.hint) from garbled

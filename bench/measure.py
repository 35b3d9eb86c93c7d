"""What a command costs: wall clock, processor time and memory of its whole process tree.

As a program (`python -IS measure.py RESULT COMMAND…`) it runs one command in a process that is small and used once: what
the kernel reports of ended children is a sum for time and a maximum for memory since the process began, and a child's
memory is never reported as less than its parent's.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


@dataclass(frozen=True, slots=True)
class Cost:
    """wall, cpu (user and system time of all its processes): seconds. peak: MB, of its largest single process.
    began: Unix seconds."""

    wall: float
    cpu: float
    peak: float
    began: float = 0.0
    status: int = 0


class Failed(Exception):
    """A command that is measured did not do its work, so that its figures would mean nothing."""


def measure(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    ends: Callable[[int], bool] = lambda status: status == 0,
    env: Mapping[str, str] | None = None,
) -> Cost:
    """Runs the command to its end. What it prints is in `cwd`/out and `cwd`/err. Raises Failed."""
    result = cwd / "cost.json"
    program = [sys.executable, "-IS", __file__, str(result), *map(str, argv)]
    with (cwd / "out").open("wb") as out, (cwd / "err").open("wb") as err:
        subprocess.run(
            program,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **(env or {})},
            check=True,
        )
    cost = Cost(**json.loads(result.read_text()))
    if not ends(cost.status):
        said = (cwd / "err").read_text(errors="replace")[-1500:] + (cwd / "out").read_text(errors="replace")[-1500:]
        raise Failed(f"{argv[0]} ended with {cost.status}: {said}")
    return cost


def alternate(cases: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """Each case once per round, A B C A B C …, so that the machine's moods meet all of them; then the medians."""
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            cost = case()
            costs[name].append(cost)
            told = f"round {number + 1}, {name}: {cost.wall:.2f} s wall, {cost.cpu:.2f} s cpu, {cost.peak:.0f} MB"
            print(told, file=sys.stderr, flush=True)
    return {name: middle(of) for name, of in costs.items()}


def middle(costs: Sequence[Cost]) -> Cost:
    return Cost(median(c.wall for c in costs), median(c.cpu for c in costs), median(c.peak for c in costs))


def main(result: str, *argv: str) -> None:
    # What the command leaves behind (ansible's ssh masters) comes back to this process, and its time is counted too.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    at, began = time.time(), time.monotonic()
    status = subprocess.run(argv, check=False).returncode
    wall = time.monotonic() - began
    for left in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        os.kill(int(left), signal.SIGTERM)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}
    Path(result).write_text(json.dumps({**cost, "began": at, "status": status}))


if __name__ == "__main__":
    main(*sys.argv[1:])

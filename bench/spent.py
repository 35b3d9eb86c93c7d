"""Where a rollout's wall clock went, from the times of the steps in its record. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WORK = frozenset({"stage", "apply.launch", "apply", "restart", "reboot.launch", "reboot", "health", "before", "after"})
"""Steps in which a host is being maintained: it fetches and installs packages, restarts, reboots, comes up, or has to show
that it stays well. Without mainstay this time would pass as well."""

NOT_ON_A_HOST = frozenset({"admit", "note"})
"""Steps that ask nothing of a host. All others (lock, probe, preflight, resolve, capture, verify…) run commands there, for
mainstay's sake."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds. wall: of the whole command. maintained: at least one host was in a step of WORK. asked: none was, but at
    least one ran a command in another step. start: from the command's start to the first host's first step (its start-up
    and the survey). between: no host in any step after that, until the last host's end. end: after it.
    steps: name → (seconds in which at least one host was in it, seconds over all hosts)."""

    wall: float
    maintained: float
    asked: float
    start: float
    between: float
    end: float
    steps: dict[str, tuple[float, float]]

    @property
    def own(self) -> float:
        """mainstay's own share of the wall: everything but hosts being maintained."""
        return 1 - self.maintained / self.wall

    @property
    def idle(self) -> float:
        """The share in which no host did anything at all for mainstay, the survey counted in."""
        return (self.start + self.between + self.end) / self.wall


def spent(record: dict[str, Any], wall: float, began: float) -> Spent:
    """record: what `mainstay run --json` prints. began: when the command was started, Unix seconds."""
    named = [
        (step["name"].removeprefix("undo."), (_moment(step["started_at"]), _moment(step["finished_at"])))
        for host in record["hosts"]
        for step in host["steps"]
    ]
    on_hosts = [interval for name, interval in named if name not in NOT_ON_A_HOST]
    maintained = length(interval for name, interval in named if name in WORK)
    busy = length(on_hosts)
    first, last = min(start for start, _ in on_hosts), max(end for _, end in on_hosts)
    steps = {
        name: (length(i for n, i in named if n == name), sum(b - a for n, (a, b) in named if n == name))
        for name in dict.fromkeys(name for name, _ in named)
    }
    return Spent(
        wall=wall,
        maintained=maintained,
        asked=busy - maintained,
        start=first - began,
        between=last - first - busy,
        end=began + wall - last,
        steps=steps,
    )


def length(intervals: Iterable[Interval]) -> float:
    """Of their union."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

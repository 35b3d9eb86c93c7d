"""What a rollout takes and what an opening has room for, reckoned from counts alone. Pure; seconds everywhere.

A forecast for people and for warnings. Whether a host is begun is decided host by host, when its turn comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mainstay.inventory.host import Host
from mainstay.inventory.limits import Limits, reach
from mainstay.runner.plan import Carefulness, WaveSpec

QUICK = 300.0
"""Seconds a host: what is warned of beforehand is what would not fit even if every host took no longer."""

Matches = Callable[[str, Host], bool]
"""(selector, host) → whether it picks it."""


@dataclass(frozen=True, slots=True)
class Work:
    """waves: sizes, in their order. at_once: hosts in flight together. pace: seconds that a host takes. soak: between waves."""

    waves: tuple[int, ...]
    at_once: int
    pace: float
    soak: float = 0.0
    told_by: Literal["history", "default"] = "default"
    """Where the pace is from: earlier runs of the plan, or what is assumed before there are any."""

    @property
    def hosts(self) -> int:
        return sum(self.waves)

    @property
    def seconds(self) -> float:
        """From its start to its end, if nothing goes wrong."""
        rounds = sum(-(-size // self.at_once) for size in self.waves)
        return rounds * self.pace + max(0, len(self.waves) - 1) * self.soak

    def fits(self, room: float, length: float) -> bool:
        """room: seconds from the start to the cutoff; length: to the end."""
        return self.begun_within(room, length) >= self.hosts

    def begun_within(self, room: float, length: float) -> int:
        """How many hosts have their turn: they begin before the cutoff, and end before the opening does."""
        spent, done = 0.0, 0
        for number, size in enumerate(self.waves):
            spent += self.soak if number else 0.0
            whole = -(-size // self.at_once)
            rounds = self._rounds(room - spent, length - spent)
            if rounds < whole:
                return done + min(size, rounds * self.at_once)
            done += size
            spent += whole * self.pace
        return done

    def _rounds(self, room: float, length: float) -> int:
        if not self.pace:
            return self.hosts if room >= 0 else 0
        return max(0, min(math.ceil(room / self.pace), int(length / self.pace)))


def work_of(
    plan: Carefulness, hosts: Sequence[Host], matches: Matches, *, limits: Limits, pace: float | None, default: float
) -> Work:
    """hosts: its targets. pace: seconds a host took in earlier runs, None where there are none."""
    at_once = min(plan.parallel, limits.parallel or plan.parallel, len(hosts) or 1)
    for spread in (limits.spread, plan.spread):
        if spread:
            at_once = min(at_once, reach(hosts, [{tag: most} for tag, most in spread.items()]))
    return Work(
        waves=wave_sizes(plan.waves, hosts, matches),
        at_once=max(1, at_once),
        pace=default if pace is None else pace,
        soak=plan.soak,
        told_by="default" if pace is None else "history",
    )


def wave_sizes(specs: Sequence[WaveSpec], hosts: Sequence[Host], matches: Matches) -> tuple[int, ...]:
    """As `mainstay.runner.waves.arrange` lays them out, before anything is known of cohorts, jump hosts and what there is
    to do: the last spec with a size goes on until nobody is left, and the controller's own machine comes last, alone."""
    rest = [host for host in hosts if not host.controller]
    last = [1] * (len(hosts) - len(rest))
    total, left, sizes = len(rest), len(rest), list[int]()
    for spec in specs:
        if spec.select is not None:
            picked = {host.name for host in rest if matches(spec.select, host)}
            rest = [host for host in rest if host.name not in picked]
            size = min(left, len(picked))
        else:
            size = _size(spec, total, left)
            rest = rest[size:]
        left -= size
        if size:
            sizes.append(size)
    tail = next((spec for spec in reversed(specs) if spec.size is not None), None)
    each = _size(tail, total, left) if tail is not None and left else left
    while left:
        sizes.append(min(each, left))
        left -= sizes[-1]
    return (*sizes, *last)


def _size(spec: WaveSpec, total: int, left: int) -> int:
    assert spec.size is not None
    return left if spec.size.percent == 100 else min(left, max(1, spec.size.of(total)))

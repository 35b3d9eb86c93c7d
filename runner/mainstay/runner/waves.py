"""Which hosts are taken together, and in which order. Pure: the same hosts and facts give the same waves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mainstay.inventory.host import Host
from mainstay.runner.plan import WaveSpec


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that will be worked on. machine: its machine id and boot id together (clones share the first alone); ""
    where they are not known."""

    host: Host
    cohort: str
    machine: str = ""


@dataclass(frozen=True, slots=True)
class PlannedWave:
    """number counts from 1. Hosts of one batch may be in flight together; batches follow each other."""

    number: int
    batches: tuple[tuple[str, ...], ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(name for batch in self.batches for name in batch)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """web2 before web10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part)


def arrange(
    candidates: Sequence[Candidate], specs: Sequence[WaveSpec], matches: Callable[[str, Host], bool]
) -> list[PlannedWave]:
    """Lay the hosts out in waves.

    Each spec takes that many hosts (or that share of all, rounded up; 100 % is the rest) or those its selector picks;
    the last one goes on until nobody is left. The first wave gets at least one host of each cohort. The controller's
    own machine comes last, alone. matches: (selector, host) → whether it picks it.
    """
    order = sorted(candidates, key=lambda candidate: natural(candidate.host.name))
    rest = [candidate for candidate in order if not candidate.host.controller]
    last = [candidate for candidate in order if candidate.host.controller]
    total = len(rest)
    chosen: list[list[Candidate]] = []
    for spec in _endless(specs):
        if not rest:
            break
        if spec.select is not None:
            taken = [candidate for candidate in rest if matches(spec.select, candidate.host)]
        else:
            taken = _take(rest, spec, total, first=not chosen)
        if not chosen and taken:
            taken = _one_of_each_cohort(taken, rest)
        if taken:
            chosen.append(taken)
            rest = [candidate for candidate in rest if candidate not in taken]
    chosen += [[candidate] for candidate in last]
    return [PlannedWave(number, _batches(wave)) for number, wave in enumerate(chosen, 1)]


def _endless(specs: Sequence[WaveSpec]) -> list[WaveSpec]:
    # A last wave given by a selector can't go on for ever: whoever it does not pick comes after it.
    tail = [spec for spec in specs if spec.size is not None][-1:] or [WaveSpec.model_validate({"size": "100%"})]
    return [*specs, *(tail * 10_000)]


def _take(rest: Sequence[Candidate], spec: WaveSpec, total: int, *, first: bool) -> list[Candidate]:
    assert spec.size is not None
    size = len(rest) if spec.size.percent == 100 else max(1, spec.size.of(total))
    if not first:
        return list(rest[:size])
    # One of each cohort first, then by name: a wave of one host per cohort is as small as the plan wants it.
    leaders = _leaders(rest)
    others = [candidate for candidate in rest if candidate not in leaders]
    return sorted((leaders + others)[: max(size, len(leaders))], key=lambda c: natural(c.host.name))


def _leaders(rest: Sequence[Candidate]) -> list[Candidate]:
    seen: dict[str, Candidate] = {}
    for candidate in rest:
        seen.setdefault(candidate.cohort, candidate)
    return list(seen.values())


def _one_of_each_cohort(taken: list[Candidate], rest: Sequence[Candidate]) -> list[Candidate]:
    here = {candidate.cohort for candidate in taken}
    return taken + [leader for leader in _leaders(rest) if leader.cohort not in here]


def _batches(wave: Sequence[Candidate]) -> tuple[tuple[str, ...], ...]:
    """Never together: a jump host and those behind it (they go first), two names of one machine."""
    by_name = {candidate.host.name: candidate for candidate in wave}
    depth = {name: _hosts_behind(name, by_name) for name in by_name}
    batches: list[list[Candidate]] = []
    for candidate in sorted(wave, key=lambda c: (depth[c.host.name], natural(c.host.name))):
        earliest = 0
        for number, batch in enumerate(batches):
            for other in batch:
                if _behind(other, candidate, by_name) or same_machine(other, candidate):
                    earliest = number + 1
        while len(batches) <= earliest:
            batches.append([])
        batches[earliest].append(candidate)
    return tuple(tuple(candidate.host.name for candidate in batch) for batch in batches)


def same_machine(one: Candidate, other: Candidate) -> bool:
    same_address = (one.host.address, one.host.ssh.port) == (other.host.address, other.host.ssh.port)
    return same_address or bool(one.machine and one.machine == other.machine)


def _behind(inner: Candidate, jump: Candidate, by_name: Mapping[str, Candidate]) -> bool:
    name, hops = inner.host.ssh.jump, 0
    while name and hops < len(by_name) + 1:
        if name == jump.host.name:
            return True
        name = by_name[name].host.ssh.jump if name in by_name else None
        hops += 1
    return False


def _hosts_behind(name: str, by_name: Mapping[str, Candidate]) -> int:
    """How many links of jump hosts end at this host: those behind come first."""
    longest = 0
    for candidate in by_name.values():
        hops, jump = 0, candidate.host.ssh.jump
        while jump and hops <= len(by_name):
            hops += 1
            if jump == name:
                longest = max(longest, hops)
            jump = by_name[jump].host.ssh.jump if jump in by_name else None
    return longest

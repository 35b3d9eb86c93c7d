"""Which hosts are taken together, and in which order. Pure: the same hosts and facts give the same waves."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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
    candidates: Sequence[Candidate],
    specs: Sequence[WaveSpec],
    matches: Callable[[str, Host], bool],
    hosts: Iterable[Host] = (),
    spread: Sequence[str] = (),
    first: Sequence[str] = (),
) -> list[PlannedWave]:
    """Lay the hosts out in waves.

    Each spec takes that many hosts (or that share of all, rounded up; 100 % is the rest) or those its selector picks;
    the last one goes on until nobody is left. The first wave gets at least one host of each cohort. The controller's
    own machine comes last, alone. matches: (selector, host) → whether it picks it. hosts: all that a chain of jump hosts
    may lead over, also those that have nothing to do. spread: tags whose values take turns within a batch. first: names
    that come before all others, in this order.
    """
    place = partial(_place, {name: number for number, name in enumerate(first)})
    jumps = {host.name: host.ssh.jump for host in [*hosts, *(candidate.host for candidate in candidates)]}
    order = sorted(candidates, key=place)
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
            taken = sorted(_take(rest, spec, total, first=not chosen), key=place)
        if not chosen and taken:
            taken = _one_of_each_cohort(taken, rest)
        if taken:
            chosen.append(taken)
            gone = _names(taken)
            rest = [candidate for candidate in rest if candidate.host.name not in gone]
    chosen += [[candidate] for candidate in last]
    return [PlannedWave(number, _batches(wave, jumps, spread, place)) for number, wave in enumerate(chosen, 1)]


def behind(hosts: Iterable[Host], first: Sequence[str], last: Collection[str]) -> tuple[str, ...]:
    """For `arrange`: those in `first`, then all others, and those in `last` after them."""
    if not last:
        return tuple(first)
    named, late = frozenset(first), frozenset(last)
    others = sorted((host.name for host in hosts if host.name not in named), key=natural)
    return tuple(name for name in (*first, *others) if name not in late)


_Key = Callable[[Candidate], tuple[int, tuple[tuple[int, str], ...]]]


def _place(ranks: Mapping[str, int], candidate: Candidate) -> tuple[int, tuple[tuple[int, str], ...]]:
    return ranks.get(candidate.host.name, len(ranks)), natural(candidate.host.name)


def _endless(specs: Sequence[WaveSpec]) -> list[WaveSpec]:
    # A last wave given by a selector can't go on for ever: whoever it does not pick comes after it.
    tail = [spec for spec in specs if spec.size is not None][-1:] or [WaveSpec.model_validate({"size": "100%"})]
    return [*specs, *(tail * 10_000)]


def _take(rest: Sequence[Candidate], spec: WaveSpec, total: int, *, first: bool) -> list[Candidate]:
    assert spec.size is not None
    size = len(rest) if spec.size.percent == 100 else max(1, spec.size.of(total))
    if not first:
        return list(rest[:size])
    # One of each cohort first, then in order: a wave of one host per cohort is as small as the plan wants it.
    leaders = _leaders(rest)
    first_ones = _names(leaders)
    others = [candidate for candidate in rest if candidate.host.name not in first_ones]
    return (leaders + others)[: max(size, len(leaders))]


def _names(candidates: Iterable[Candidate]) -> frozenset[str]:
    return frozenset(candidate.host.name for candidate in candidates)


def _leaders(rest: Sequence[Candidate]) -> list[Candidate]:
    seen: dict[str, Candidate] = {}
    for candidate in rest:
        seen.setdefault(candidate.cohort, candidate)
    return list(seen.values())


def _one_of_each_cohort(taken: list[Candidate], rest: Sequence[Candidate]) -> list[Candidate]:
    here = {candidate.cohort for candidate in taken}
    return taken + [leader for leader in _leaders(rest) if leader.cohort not in here]


def _batches(
    wave: Sequence[Candidate], jumps: Mapping[str, str | None], spread: Sequence[str], place: _Key
) -> tuple[tuple[str, ...], ...]:
    """Never together: a jump host and those behind it (they go first), two names of one machine."""
    over = {candidate.host.name: _jumped_over(candidate.host, jumps) for candidate in wave}
    depth: dict[str, int] = {}
    for chain in over.values():
        for hops, name in enumerate(chain, 1):
            depth[name] = max(hops, depth.get(name, 0))
    batches: list[list[Candidate]] = []
    latest: dict[Hashable, int] = {}
    """What a candidate may meet, → number of the last batch with a host that it must not be together with."""
    for candidate in sorted(wave, key=lambda c: (depth.get(c.host.name, 0), place(c))):
        number = 1 + max(latest.get(key, -1) for key in [candidate.host.name, *_places(candidate)])
        while len(batches) <= number:
            batches.append([])
        batches[number].append(candidate)
        for key in [*over[candidate.host.name], *_places(candidate)]:
            latest[key] = max(number, latest.get(key, -1))
    return tuple(tuple(candidate.host.name for candidate in _in_turn(batch, spread)) for batch in batches)


def _in_turn(batch: Sequence[Candidate], spread: Sequence[str]) -> Sequence[Candidate]:
    """The values of these tags evenly mixed, so that hosts which may not be in flight together are far from each other;
    among those with the same ones the order stays."""
    if not spread:
        return batch
    domains: dict[tuple[str | None, ...], list[Candidate]] = {}
    for candidate in batch:
        domains.setdefault(tuple(candidate.host.tags.get(tag) for tag in spread), []).append(candidate)
    places = [((n + 0.5) / len(domain), c) for domain in domains.values() for n, c in enumerate(domain)]
    return [candidate for _, candidate in sorted(places, key=lambda place: place[0])]


def _jumped_over(host: Host, jumps: Mapping[str, str | None]) -> list[str]:
    """The jump hosts on the way to a host, the nearest to it first."""
    chain: list[str] = []
    name = host.ssh.jump
    while name and name not in chain:
        chain.append(name)
        name = jumps.get(name)
    return chain


def _places(candidate: Candidate) -> list[Hashable]:
    """Two candidates that share one of these are one machine."""
    host = candidate.host
    found: list[Hashable] = [(host.address, host.ssh.port)]
    return [*found, ("machine", candidate.machine)] if candidate.machine else found

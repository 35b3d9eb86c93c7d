"""From what the plan would take to the exact set: simulated on the host, and refused where it would do what it may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mainstay.runner.operation import LeftOut
from mainstay.runner.patching.contract import Planned, Rights, Simulation, Want
from mainstay.runner.patching.selection import Choice, matches
from mainstay.runner.plan import Updates

_BARRED = frozenset({"held", "excluded", "too-young", "phased", "pinned"})
"""Reasons for which a package may not come along as a dependency either."""


@dataclass(frozen=True, slots=True)
class Settled:
    planned: tuple[Planned, ...]
    left_out: tuple[LeftOut, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may happen beside what was chosen. barred: package → (reason, version that is left out)."""

    updates: Updates
    barred: Mapping[str, LeftOut]
    compare: Callable[[str, str], int]

    @classmethod
    def of(cls, updates: Updates, left_out: Sequence[LeftOut], compare: Callable[[str, str], int]) -> Bounds:
        return cls(updates, {one.item: one for one in left_out if one.reason in _BARRED}, compare)

    def objection(self, planned: Sequence[Planned], chosen: Mapping[str, str]) -> str:
        """What of a plan is not allowed; empty: all is."""
        for one in planned:
            if one.after is None:
                if not matches(one.name, self.updates.allow_remove):
                    return f"it would remove {one.name}"
            elif one.before is None:
                if not self.updates.allow_new:
                    return f"it needs {one.name}, which is new"
                if matches(one.name, self.updates.exclude):
                    return f"it needs {one.name}, which the plan excludes"
            elif self.compare(one.after, one.before) < 0:
                return f"it would bring {one.name} back to {one.after}"
            elif one.name in chosen:
                if one.after != chosen[one.name]:
                    return f"{one.name} would become {one.after} instead of {chosen[one.name]}"
            elif (left := self.barred.get(one.name)) and left.version == one.after:
                return f"it needs {one.name} {one.after}, which is left out: {left.detail or left.reason}"
        return ""


Simulate = Callable[[Sequence[Want], Rights], Simulation]
SimulateEach = Callable[[Sequence[Want], Rights], list[Simulation]]


def settle(choices: Sequence[Choice], bounds: Bounds, simulate: Simulate, each: SimulateEach) -> Settled:
    """The closure of the choices. Where the whole is not possible, the choices that can't be had within the bounds are
    found one by one and left out; what is still not possible then is refused."""
    chosen = {choice.name: choice.version for choice in choices}
    if not chosen:
        return Settled(())
    # Without the right to remove, apt looks for a way that removes nothing.
    rights = Rights(remove=bool(bounds.updates.allow_remove))
    whole = simulate(_wants(chosen), rights)
    problem = _problem(whole, bounds, chosen)
    if not problem:
        return Settled(whole.planned)
    left = []
    single = each(_wants(chosen), rights)
    for (name, version), one in zip(sorted(chosen.items()), single, strict=True):
        if trouble := _problem(one, bounds, {name: version}, alone=True):
            left.append(LeftOut(item=name, version=version, reason="kept-back", detail=trouble))
    if not left:
        return Settled((), refused=problem)
    chosen = {name: version for name, version in chosen.items() if name not in {one.item for one in left}}
    if not chosen:
        return Settled((), tuple(left))
    rest = simulate(_wants(chosen), rights)
    return Settled(rest.planned, tuple(left), _problem(rest, bounds, chosen))


def _wants(chosen: Mapping[str, str]) -> list[Want]:
    return [Want(name, version) for name, version in sorted(chosen.items())]


def _problem(found: Simulation, bounds: Bounds, chosen: Mapping[str, str], *, alone: bool = False) -> str:
    if not found.ok:
        return found.problem
    if objection := bounds.objection(found.planned, chosen):
        return objection
    planned = {one.name for one in found.planned}
    lost = sorted(name for name in chosen if name not in planned)
    return "" if alone or not lost else f"the package manager would not take {', '.join(lost)}"

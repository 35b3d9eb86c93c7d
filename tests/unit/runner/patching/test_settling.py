"""The exact set within its bounds: what may come along, and what is left where it may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mainstay.runner.operation import LeftOut
from mainstay.runner.patching.apt.version import compare
from mainstay.runner.patching.contract import Planned, Rights, Simulation, Want
from mainstay.runner.patching.selection import Choice
from mainstay.runner.patching.settling import Bounds, Settled, settle
from mainstay.runner.plan import Updates


class Solver:
    """brings: package → everything that a simulation with it does."""

    def __init__(self, **brings: list[tuple[str, str | None, str | None]]) -> None:
        self.brings = brings
        self.asked: list[list[str]] = []
        self.rights: list[Rights] = []

    def __call__(self, wants: Sequence[Want], rights: Rights) -> Simulation:
        self.asked.append([want.name for want in wants])
        self.rights.append(rights)
        planned = {step[0]: step for want in wants for step in self.brings[want.name]}
        if "impossible" in planned:
            return Simulation(ok=False, problem="held broken packages")
        return Simulation(ok=True, planned=tuple(Planned(name=n, before=b, after=a) for n, b, a in planned.values()))

    def each(self, wants: Sequence[Want], rights: Rights) -> list[Simulation]:
        return [self([want], rights) for want in wants]


A = ("a", "1", "2")
B = ("b", "1", "2")


def ask(solver: Solver, *names: str, barred: Sequence[LeftOut] = (), **updates: Any) -> Settled:
    bounds = Bounds.of(Updates.model_validate(updates), barred, compare)
    return settle([Choice(name=name, version="2") for name in names], bounds, solver, solver.each)


def names(found: Settled) -> list[str]:
    return [one.name for one in found.planned]


def test_nothing_chosen_asks_nothing() -> None:
    solver = Solver()

    assert ask(solver) == Settled(()) and solver.asked == []


def test_the_closure_is_the_set() -> None:
    assert names(ask(Solver(a=[A, ("new", None, "1"), ("dep", "1", "3")]), "a")) == ["a", "new", "dep"]


BARRED = LeftOut(item="dep", version="3", reason="too-young", detail="1 d old, plan asks 3 d")


@pytest.mark.parametrize(
    ("brings", "updates", "barred", "because"),
    [
        ([A, ("old", "1", None)], {}, [], "it would remove old"),
        ([A, ("new", None, "1")], {"allow_new": False}, [], "it needs new, which is new"),
        ([A, ("new", None, "1")], {"exclude": ["new"]}, [], "it needs new, which the plan excludes"),
        ([A, ("dep", "1", "3")], {}, [BARRED], "it needs dep 3, which is left out: 1 d old, plan asks 3 d"),
        ([A, ("dep", "4", "3")], {}, [], "it would bring dep back to 3"),
        ([("a", "1", "5")], {}, [], "a would become 5 instead of 2"),
        ([("impossible", None, None)], {}, [], "held broken packages"),
    ],
)
def test_what_brings_what_it_may_not_is_left_and_the_rest_is_taken(
    brings: list[tuple[str, str | None, str | None]], updates: dict[str, Any], barred: list[LeftOut], because: str
) -> None:
    found = ask(Solver(a=brings, b=[B]), "a", "b", barred=barred, **updates)

    assert (names(found), found.refused) == (["b"], "")
    assert [(one.item, one.version, one.reason, one.detail) for one in found.left_out] == [
        ("a", "2", "kept-back", because)
    ]


def test_a_removal_that_is_allowed_needs_its_right() -> None:
    solver = Solver(a=[A, ("old-1", "1", None)])

    assert names(ask(solver, "a", allow_remove=["old-*"])) == ["a", "old-1"]
    assert solver.rights == [Rights(remove=True)]


def test_what_is_impossible_only_together_is_refused() -> None:
    class Together(Solver):
        def __call__(self, wants: Sequence[Want], rights: Rights) -> Simulation:
            found = super().__call__(wants, rights)
            return found if len(wants) == 1 else Simulation(ok=False, problem="a conflicts with b")

    found = ask(Together(a=[A], b=[B]), "a", "b")

    assert (found.planned, found.refused) == ((), "a conflicts with b")


def test_a_choice_that_the_package_manager_does_not_take_is_no_silence() -> None:
    assert "would not take a" in ask(Solver(a=[]), "a").refused

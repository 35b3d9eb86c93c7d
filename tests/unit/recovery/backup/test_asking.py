"""How the repository is asked after a backup: each question is a restic of its own, which derives its key anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.recovery.backup.test_judged import SEEN, Case, look, taken
from tests.unit.recovery.points import NOW

from mainstay.inventory.facts import Facts
from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.forecasting import forecast
from mainstay.runner.shell.contract import Unreachable
from mainstay.runner.shell.fake import FakeShells


class Both:
    """A restic that answers either question once the other one is being asked too."""

    def __init__(self, restic: Any, met: threading.Barrier) -> None:
        self._restic, self._met = restic, met

    def snapshots(self, **more: Any) -> Any:
        self._met.wait(60)
        return self._restic.snapshots(**more)

    def locks(self) -> Any:
        self._met.wait(60)
        return self._restic.locks()


class Counted:
    """A restic that is asked for its repository's id once something else goes on too. answers: one for each time it was asked."""

    def __init__(self, restic: Any, answers: list[str | None], before: Callable[[], object]) -> None:
        self._restic, self._answers, self._before = restic, answers, before

    def identity(self) -> str | None:
        self._before()
        self._answers.append(self._restic.identity())
        return self._answers[-1]


def watched(case: Case, before: Callable[[], object] = lambda: None) -> list[str | None]:
    answers: list[str | None] = []
    opened = case.operation.depot.restic
    depot = replace(case.operation.depot, restic=lambda access: cast(Any, Counted(opened(access), answers, before)))
    case.operation.depot = depot
    return answers


def test_what_it_has_and_who_locks_it_are_asked_at_once() -> None:
    case, met = Case(), threading.Barrier(2)
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    opened = case.operation.depot.restic
    case.operation.depot = replace(case.operation.depot, restic=lambda access: Both(opened(access), met))  # type: ignore[arg-type,return-value]  # only these two are asked
    assert len(case.verify()) == 2
    assert not met.broken and not case.work.concerns


def test_a_survey_asks_it_while_it_connects_to_the_host() -> None:
    case, met = Case(), threading.Barrier(2)
    watched(case, lambda: met.wait(60))

    def away(shell: object) -> Facts:
        met.wait(60)
        raise Unreachable("web1", "no route")

    upkeep, state = cast(Any, SimpleNamespace(probe=away)), cast(Any, None)  # it does not come so far
    shells = FakeShells([case.there])
    found = forecast([case.there.host()], case.plan, case.operation, shells, upkeep, state, FakeClock(NOW))
    assert found["web1"].unreachable and not met.broken


def test_what_was_asked_ahead_is_not_asked_again() -> None:
    case = Case()
    id = case.world.repository().id
    answers = watched(case)
    case.operation.look_ahead(case.there.host())
    seen = look(case, SEEN + "path /usr/bin/restic\nrestic restic 0.18.0 compiled\n")
    assert case.operation.preview(seen).refused == ""
    assert case.operation.prepare(case.work, wait=0) == []
    assert answers == [id]

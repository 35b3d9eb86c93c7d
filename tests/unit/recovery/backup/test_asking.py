"""How the repository is asked after a backup: each question is a restic of its own, which derives its key anew."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from tests.unit.recovery.backup.test_judged import Case, taken


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


def test_what_it_has_and_who_locks_it_are_asked_at_once() -> None:
    case, met = Case(), threading.Barrier(2)
    case.held("etc", "db")
    case.told(taken("etc"), taken("db"))
    opened = case.operation.depot.restic
    case.operation.depot = replace(case.operation.depot, restic=lambda access: Both(opened(access), met))  # type: ignore[arg-type,return-value]  # only these two are asked
    assert len(case.verify()) == 2
    assert not met.broken and not case.work.concerns

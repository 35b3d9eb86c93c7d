"""Retention in a process that dies at a write of its: before it, after it, and in the midst of removing snapshots."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.recovery.tending.desk import World

from mainstay.recovery.depot import Depot
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import Restic
from mainstay.runner.steps import StepIO

WRITES = ("mark_going", "mark_removed", "note_tended")


class Died(BaseException):
    """Nothing in the product catches it."""


@dataclass
class Fate:
    at: str = ""
    """The moment to die at, as in `met`; empty: never."""
    met: list[str] = field(default_factory=list)

    def meet(self, name: str) -> None:
        name = f"{name} {sum(one.startswith(name) for one in self.met) + 1}"
        self.met.append(name)
        if name == self.at:
            raise Died(name)


class Watched:
    """A store, or a restic, whose writes are moments to die at."""

    def __init__(self, inner: Any, fate: Fate, writes: Sequence[str]) -> None:
        self._inner, self._fate, self._writes = inner, fate, writes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._writes:
            return found

        def write(*given: Any) -> Any:
            self._fate.meet(f"before {name}")
            done = found(*given)
            self._fate.meet(f"after {name}")
            return done

        return write

    def forget(self, ids: Sequence[str]) -> Any:
        self._fate.meet("before forget")
        self._inner.forget(ids[: len(ids) // 2])
        self._fate.meet("within forget")
        done = self._inner.forget(ids)
        self._fate.meet("after forget")
        return done


@dataclass
class Dying(World):
    fate: Fate = field(default_factory=Fate)
    kept: dict[str, str] | None = None
    """Checkpoints: name of a step → what it returned; None: nothing is kept of a run."""
    opener: Callable[[Access], Restic] | None = None
    """Of repositories that are real."""

    @property
    def depot(self) -> Depot:
        made = super().depot
        store: Any = Watched(self.points, self.fate, WRITES)
        opened = self.opener or self.memory.open
        restic: Any = lambda access: Watched(opened(access), self.fate, ())  # noqa: E731 - one field of it
        return Depot(store, restic, made.gateway, made.resolve, made.place, made.clock, made.zone)

    def _step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        if self.kept is None:
            return super()._step(name, work)
        if name not in self.kept:
            self.kept[name] = json.dumps(super()._step(name, work))
        return json.loads(self.kept[name])

"""Whose turn it is. One task runs at a time, in simulated time; where several could, the seed chooses.

A task gives its turn away in `pause` and `wait` and nowhere else: whatever lies between two of them happens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]  # it comes without types


class Killed(BaseException):
    """The process of this task died here. No code that it unwinds through may do anything any more."""


class Owner(Protocol):
    """What a task lives and dies with."""

    dead: bool
    frozen_until: float


class Task:
    __slots__ = ("about", "due", "green", "name", "naps", "owner", "waits_for")

    def __init__(self, name: str, owner: Owner | None, due: float, green: greenlet, about: str) -> None:
        self.name = name
        self.owner = owner
        self.due = due
        self.green = green
        self.about = about
        """The workflow that it works on."""
        self.waits_for: Callable[[], bool] | None = None
        self.naps = 0
        """Sleeps since the step began: the later ones are longer, so that an idle hour is few events."""

    def ready_at(self) -> float:
        return self.due if self.owner is None else max(self.due, self.owner.frozen_until)


class Schedule:
    """now: simulated seconds since the world began."""

    def __init__(self, chance: Random) -> None:
        self.now = 0.0
        self.turns = 0
        self.current: Task | None = None
        self.on_turn: Callable[[], None] = lambda: None
        """Called in a task's turn at each of its pauses; it may end its task's owner, and raises Killed then."""
        self._chance = chance
        self._tasks: list[Task] = []
        self._main = getcurrent()

    def spawn(
        self, name: str, body: Callable[[], object], owner: Owner | None = None, after: float = 0.0, about: str = ""
    ) -> Task:
        task = Task(name, owner, self.now + after, greenlet(lambda: self._run(body), self._main), about)
        self._tasks.append(task)
        return task

    def _run(self, body: Callable[[], object]) -> None:
        try:
            body()
        except Killed:
            return

    def pause(self, seconds: float = 0.0) -> None:
        """Let others go on; so much time passes. Raises Killed."""
        task = self.current
        assert task is not None, "only a task can pause"
        self.on_turn()
        task.due = self.now + seconds
        self._main.switch()
        if task.owner is not None and task.owner.dead:
            raise Killed

    def wait(self, holds: Callable[[], bool]) -> None:
        """Let others go on until it holds, which is asked again after each `changed`. Raises Killed."""
        task = self.current
        assert task is not None, "only a task can wait"
        while not holds():
            task.waits_for = holds
            self._main.switch()
            if task.owner is not None and task.owner.dead:
                raise Killed

    def changed(self) -> None:
        """Something that others may wait for has changed."""
        for task in self._tasks:
            if task.waits_for is not None and task.waits_for():
                task.waits_for = None
                task.due = self.now

    def _bury(self) -> None:
        """Unwind what has died with its owner, before anybody else has a turn."""
        for task in [task for task in self._tasks if task.owner is not None and task.owner.dead]:
            self._tasks.remove(task)
            if task.green:
                task.green.throw(Killed)

    def step(self) -> bool:
        """One turn. False: there is nobody left who could have one."""
        self._bury()
        waiting = [task for task in self._tasks if task.waits_for is None]
        if not waiting:
            return False
        due = [task for task in waiting if task.ready_at() <= self.now]
        if not due:
            self.now = min(task.ready_at() for task in waiting)
            due = [task for task in waiting if task.ready_at() <= self.now]
        task = self._chance.choice(due)
        self.turns += 1
        self.current = task
        try:
            task.green.switch()
        finally:
            self.current = None
            if task.green.dead and task in self._tasks:
                self._tasks.remove(task)
        return True

    def close(self) -> None:
        """End every task that is left."""
        for task in self._tasks:
            if task.green:
                task.green.throw(Killed)
        self._tasks.clear()

"""Looks after the parts of `mainstay serve`: which of them speak, what stands on its status line, what its health is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from mainstay.console.chores import Chore
from mainstay.console.service.service import Service, serving, standing

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

WORKER = 60.0
"""Seconds for which the main loop may be silent; it goes round five times a second."""
CLOCK = 180.0
"""Seconds for which the clock may be silent; it goes round twice a minute, and a round waits for the database."""
DATABASE = 120.0
LOOK_EVERY = 15.0
ROUND_EVERY = 1.0
STUCK = 1800.0
"""Seconds after which a chore that has not ended is called stuck."""


class Watching:
    """Made by `watching`. The clock's rounds go to `told`, the chores through `chores`, the main loop calls `look`."""

    def __init__(
        self,
        app: Application,
        service: Service,
        lost: threading.Event,
        upcoming: Callable[[], tuple[str, datetime] | None],
    ) -> None:
        self._app = app
        self._service = service
        self._lost = lost
        self._upcoming = upcoming
        self._status = ""
        self._last = -ROUND_EVERY
        health = service.health
        health.expect("worker", within=WORKER, vital=True)
        health.expect("clock", within=CLOCK, vital=True)
        health.expect("database", within=DATABASE)

    def told(self, fault: str) -> None:
        """A round of the clock has ended; fault: what went wrong in it, empty where nothing did."""
        self._service.health.note("clock", fault)

    def chores(self, chores: Sequence[Chore]) -> tuple[Chore, ...]:
        """The same, each called stuck where it does not end, and one more that asks the database."""
        return (Chore("health", LOOK_EVERY, self._ask), *(self._watched(chore) for chore in chores))

    def ready(self) -> None:
        """The engine is launched and the clock is kept."""
        self._ask()
        self._service.ready(self._status)

    @property
    def reloading(self) -> Callable[[], AbstractContextManager[None]]:
        """Entered around a try to take another site."""
        return self._service.reloading

    def look(self) -> None:
        """From the main loop, as often as that goes round; quick."""
        now = time.monotonic()
        if now - self._last < ROUND_EVERY:
            return
        self._last = now
        self._service.health.note("worker", "its hold on the database is lost" if self._lost.is_set() else "")
        self._service.round(self._status)

    def _watched(self, chore: Chore) -> Chore:
        def work() -> None:
            with self._service.health.busy(f"chore {chore.name}", within=STUCK):
                chore.work()

        return Chore(chore.name, chore.every, work)

    def _ask(self) -> None:
        try:
            in_hand = len(self._app.state.runs(in_flight=True))
        except Exception as error:
            self._service.health.note("database", f"does not answer: {error}")
            raise
        self._service.health.note("database")
        self._status = standing(len(self._app.plans), self._upcoming(), in_hand, self._app.zone)


@contextmanager
def watching(
    app: Application, lost: threading.Event, upcoming: Callable[[], tuple[str, datetime] | None]
) -> Iterator[Watching]:
    """For as long as the daemon works; at the end its supervisor is told that it stops. lost: the engine's hold on the
    database. upcoming: the plan whose window opens next, and when. Raises UsageError where its health can't be answered."""
    with serving(app.site.health) as service:
        try:
            yield Watching(app, service, lost, upcoming)
        finally:
            if not lost.is_set():  # it begins anew as the same process, and would be killed for not stopping
                service.stopping("takes nothing new; steps in hand may end")

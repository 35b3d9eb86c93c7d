"""`mainstay serve`: a worker that also keeps the clock, and does what has to be done again and again beside it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from logging import INFO
from types import FrameType
from typing import TYPE_CHECKING

from mainstay.console.reloading import SiteWatch
from mainstay.console.service.watching import watching
from mainstay.console.worker import Worker
from mainstay.runner.log.events import tell
from mainstay.runner.request import Asking
from mainstay.runner.steps import rfc3339
from mainstay.schedules.clock.adapters.apscheduler import Clockwork
from mainstay.schedules.clock.pulse import BEAT, Pulse
from mainstay.schedules.clock.sweeping import Sweeper
from mainstay.schedules.occurrences import CLOCK

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.runs import Runs
    from mainstay.schedules.check import LoadedSite


class Serve(Worker):
    """every: seconds between two rounds of the clock. look_every: between two looks at the site's files."""

    word = "daemon"

    def __init__(
        self,
        app: Application,
        *,
        threads: int | None = None,
        grace: float = 30.0,
        every: float = BEAT,
        look_every: float = 5.0,
    ) -> None:
        super().__init__(app, threads=threads, grace=grace)
        self._every = every
        self._look_every = look_every
        self._asks = self._asking()
        self._clockwork: Clockwork | None = None
        self._watch: SiteWatch | None = None

    @contextmanager
    def _beside(self, runs: Runs) -> Iterator[Callable[[], None]]:
        app = self._app
        sweeper = Sweeper(app.schedule_store, runs, app.clock, self._ask)
        pulse = Pulse(
            app.schedule_store, runs.tools, app.clock, self._ask, due=sweeper.due_within, down=sweeper.was_down
        )
        with watching(app, runs.engine.lost, sweeper.upcoming) as watch:
            chores = watch.chores(app.chores)
            self._clockwork = Clockwork(sweeper, pulse, chores, every=self._every, told=watch.told)
            self._watch = SiteWatch(app, self._take, every=self._look_every, reloading=watch.reloading)
            try:
                self._clockwork.start(app.loaded)
                self._watch.start()
                tell(INFO, "clock is kept", schedules=len(sweeper.schedules), chores=[chore.name for chore in chores])
                watch.ready()
                yield watch.look
            finally:
                self._watch.stop()
                self._clockwork.stop()

    def _asking(self) -> Asking:
        # The site's stamp is of when it was loaded, not of whatever lies in its folder when something falls due.
        return replace(self._app.asking(), requested_by=CLOCK, trigger=CLOCK)

    def _ask(self) -> Asking:
        return replace(self._asks, asked_at=rfc3339(self._app.clock.now()))

    def _take(self, loaded: LoadedSite) -> None:
        assert self._clockwork is not None
        before = self._app.loaded
        self._app.take(loaded)
        try:
            asks = self._asking()
            self._clockwork.adopt(loaded)
        except BaseException:
            self._app.take(before)
            raise
        self._asks = asks

    @contextmanager
    def _listening(self) -> Iterator[None]:
        with super()._listening():
            before = signal.signal(signal.SIGHUP, self._hung_up)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        if self._watch is not None:
            self._watch.now()

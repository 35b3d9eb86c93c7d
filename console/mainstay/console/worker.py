"""A process that serves: it takes what was handed over and what the dead left behind, until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from logging import ERROR, INFO, WARNING
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal, NoReturn

from mainstay.console import bootstrap, fitness
from mainstay.inventory.amounts import seconds
from mainstay.inventory.errors import UsageError
from mainstay.runner.engine.contract import EngineUnusable
from mainstay.runner.hands import Hands
from mainstay.runner.log.events import tell
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Leaving

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.runs import Runs

TICK = 0.2
"""Seconds between two looks at whether the work is still its own."""
TEND_EVERY = 15.0
"""Seconds between two looks for runs that nobody stands for."""
LEFT_ALONE = 60.0
"""Seconds for which a run that was written down is left to the process that wrote it."""
FORGET_EVERY = 3600.0
AGAIN = "MAINSTAY_WORKER_AGAIN"
"""Set in the environment of a worker that began anew after it had lost its hold."""
LOST = 1
"""Exit code of one that lost its hold and is not to begin anew by itself."""
LONGEST = 30.0
"""Seconds between two tries to reach a database that does not answer."""


class Worker:
    """threads: how many hosts it has in hand at once; None for as many as the runs allow. grace: seconds that steps in
    hand may take to end when it is stopped."""

    word = "worker"
    """What it is called in the log."""

    def __init__(self, app: Application, *, threads: int | None = None, grace: float = 30.0) -> None:
        self._app = app
        self._threads = threads
        self._grace = grace
        self._stop = threading.Event()
        self._told_to_stop = False
        """By a signal. Its handler can take no lock: it may run while the main thread holds that in a wait for `_stop`."""

    def serve(self) -> Literal["stopped", "lost"]:
        """Until SIGTERM or SIGINT (takes nothing new then, and lets steps in hand end), or until the hold on the store is
        lost: then at once, with whatever it was doing still going on. Raises what keeps it from starting."""
        app = self._app
        missing = fitness.check(app)
        app.serves, app.threads = True, self._threads
        app.tools.hands, app.tools.rest = Hands(self._threads), self._rest
        app.tools.able = lambda request, host: fitness.why_not(app, request, host)
        with self._listening():
            runs = app.runs
            if missing:
                tell(WARNING, "hosts will be refused here", reason=fitness.unpinned(missing))
            if folders := fitness.folderless(app):
                tell(WARNING, "backups will be refused here", reason=folders)
            engine = runs.engine
            tell(
                INFO,
                f"{self.word} serves",
                executor=engine.executor,
                version=engine.version,
                site=app.site.name,
                state=app.state.id,
            )
            threading.Thread(target=self._keep_house, args=(runs,), name="housekeeping", daemon=True).start()
            try:
                with self._beside(runs) as look:
                    while not self._told_to_stop:
                        time.sleep(TICK)
                        if engine.lost.is_set():
                            return "lost"
                        look()
                    self._stop.set()
                    tell(
                        INFO, f"{self.word} stops", grace=self._grace, reason="takes nothing new; steps in hand may end"
                    )
            except BaseException:
                self._stop.set()  # the next try has a housekeeping of its own
                raise
            app.engine.close(self._grace)
        tell(INFO, f"{self.word} stopped", reason="what has not ended is left to others")
        return "stopped"

    @contextmanager
    def _beside(self, runs: Runs) -> Iterator[Callable[[], None]]:
        """What goes on beside the runs, from when they are taken until nothing new is. Yields what is called in each round
        of the main loop, and has to be quick."""
        yield lambda: None

    def _rest(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Leaving

    def _keep_house(self, runs: Runs) -> None:
        forgotten = -FORGET_EVERY
        while not self._stop.is_set() and not runs.engine.lost.is_set():
            try:
                before = rfc3339(self._app.clock.now() - timedelta(seconds=LEFT_ALONE))
                for run in runs.tend(before):
                    tell(INFO, "run taken up", run=run, reason="it had been written down and not begun")
                if time.monotonic() - forgotten > FORGET_EVERY:
                    runs.forget()
                    forgotten = time.monotonic()
            except Exception as error:  # whatever it is (the engine's own store speaks for itself), the next look comes
                tell(WARNING, "housekeeping failed", fault=error)
            self._stop.wait(TEND_EVERY)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _told(self, number: int, frame: FrameType | None) -> None:
        if self._told_to_stop and number == signal.SIGINT:
            # A second Ctrl-C: at once. Hosts go on with what they do; whoever serves takes it up from there.
            os._exit(130)
        self._told_to_stop = True


def keep_up(site: Path | None, make: Callable[[Application], Worker], *, when_lost: str) -> int:
    """Serve the site until it is told to stop, again and again where its hold on the database is lost and `when_lost` says
    `restart`. Returns the exit code. Raises what keeps it from starting."""
    failures = 0
    while True:
        try:
            with bootstrap.load(site) as app:
                worker = make(app)
                if worker.serve() == "lost":
                    if when_lost == "exit":
                        tell(ERROR, f"{worker.word} lost its hold", reason="ends at once")
                        os._exit(LOST)  # not in order: that would wait for the work that is not its own any more
                    tell(WARNING, f"{worker.word} lost its hold", reason="begins anew, under another executor id")
                    begin_anew()
            return leave(0)
        except (StateUnusable, EngineUnusable) as error:
            # At its first start it says so and ends: it may be the settings that are wrong.
            if AGAIN not in os.environ:
                raise
            failures += 1
            pause = pause_before(failures)
            tell(WARNING, "database does not answer", error=error.message, tries=failures, next_try_in=pause)
            time.sleep(pause)


def within(grace: str) -> float:
    """What --grace says, in seconds. Raises UsageError."""
    try:
        return seconds(grace)
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from None


def begin_anew() -> NoReturn:
    """Become a new worker with another executor id, at once: nothing of what this one still had in hand goes on here."""
    sys.stderr.flush()
    argv = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, argv, {**os.environ, AGAIN: "1"})  # noqa: S606 - this very program, no shell wanted


def leave(code: int) -> int:
    """The end of the process: without waiting for a thread that is still busy with a host that does not answer."""
    busy = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if busy:
        sys.stderr.flush()
        os._exit(code)
    return code


def pause_before(attempt: int) -> float:
    """Seconds to wait after so many failures in a row to reach the database: 1, 2, 4 … and never more than LONGEST."""
    return float(min(LONGEST, 2 ** min(attempt - 1, 10)))

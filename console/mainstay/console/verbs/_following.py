"""Executing a run in this process, or handing it over, and showing how it goes: `run`, `rollback` and `runs resume` end
here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING

from mainstay.console.acknowledging import acks_of
from mainstay.console.render import acks, progress, record
from mainstay.console.render.table import wrap
from mainstay.console.screen import Screen
from mainstay.console.working import where
from mainstay.inventory.value import Json
from mainstay.runner import places
from mainstay.runner.asking import WHOLE, in_words
from mainstay.runner.record import HostPart, MaintenanceRecord
from mainstay.runner.request import RunRequest
from mainstay.runner.verdict import EXIT_CODES, Verdict, of_run

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.ports import Permission

EVERY = 0.3
"""Seconds between two looks at the state."""
LOOKS = 7
"""Every so many of them, also at who works on a run that was handed over."""
INTERRUPTED = 130


def run_and_follow(screen: Screen, app: Application, request: RunRequest, *, here: bool) -> int:
    """A run that was just asked for: handed to whoever serves on this state, otherwise (or with `here`) executed in this
    process. Returns the exit code of its verdict."""
    if here or not app.works().served:
        return execute_and_follow(screen, app, app.runs.submit(request))
    run = app.runs.submit(request)
    return hand_over_and_follow(screen, app, run)


def run_and_follow_all(screen: Screen, app: Application, requests: Sequence[RunRequest], *, here: bool) -> int:
    """Runs that were asked for together, one after the other; one that is cancelled ends it. With `--json`, of several a list
    of records. Returns the exit code of the worst."""
    if len(requests) == 1:
        return run_and_follow(screen, app, requests[0], here=here)
    sealed: list[MaintenanceRecord] = []
    for request in requests:
        run = app.runs.submit(request)
        there = not here and app.works().served
        work = Elsewhere(screen, app, run) if there else Here(app, run)
        _follow(screen, app, run, work)
        sealed.append(app.record(run))
        row = app.state.run(run)
        # What was asked to end may have come to another verdict: it was at its end, or had found something wrong by then.
        if sealed[-1].summary.verdict is Verdict.CANCELLED or (row is not None and row.wish == "cancel"):
            break
    screen.show(
        lambda: [_to_json(app, one) for one in sealed],
        lambda: [line for one in sealed for line in record.outcome(one, screen.columns)],
    )
    return EXIT_CODES[of_run([one.summary.verdict for one in sealed])]


def run_when_open(
    screen: Screen, app: Application, request: RunRequest, permission: Permission, *, here: bool, queued: bool
) -> int:
    """A run that has to wait. One that was asked for to wait for its window is put down for whoever serves, and begins when
    the time has come; this command ends then. Otherwise it is waited for here."""
    served = not here and app.works().served
    if not served or not queued:
        screen.say(f"Run {request.id} is {in_words(permission)}.")
        if not served:
            screen.say("No process serves on this state: it waits in this one, for as long as this is left to run.")
        return run_and_follow(screen, app, request, here=here)
    run = app.runs.submit(request)
    if not app.runs.offer(run):
        screen.say(f"Run {run} is {in_words(permission)}. It begins by itself; see it: mainstay runs")
    told = {"id": run, "plan": request.plan, "state": "waiting", "until": permission.until, "reason": permission.reason}
    if screen.json:
        screen.data(told)
    return 0


def hand_over_and_follow(screen: Screen, app: Application, run: str) -> int:
    """Put it down for whoever serves, and show it from the state."""
    _follow(screen, app, run, Elsewhere(screen, app, run))
    return finished(screen, app, run)


def execute_and_follow(screen: Screen, app: Application, run: str) -> int:
    """Execute the run in a thread and show it until its record is sealed. Returns the exit code of its verdict."""
    _follow(screen, app, run, Here(app, run))
    return finished(screen, app, run)


def execute_quietly(screen: Screen, app: Application, run: str) -> None:
    """The same without the record at the end, for a run that was not asked about."""
    _follow(screen, app, run, Here(app, run))
    screen.say(f"Run {run}: {app.record(run).summary.verdict}.")


def _follow(screen: Screen, app: Application, run: str, execution: Here | Elsewhere) -> None:
    watch = Watch(app, run)
    with _ctrl_c() as pressed, _display(screen) as show:
        execution.start()
        asked = False
        while not execution.over(EVERY):
            show(watch.now(execution.where()), app.clock.now())
            for text in execution.remarks():
                show.say(text)
            if pressed.times and not asked:
                asked = True
                app.state.wish(run, "cancel", by=app.requested_by, reason="Ctrl-C")
                show.say(f"Stopping: {progress.stopping(watch.kind)}. Ctrl-C again lets go of the terminal.")
            if pressed.times > 1:
                show.close()
                _let_go(screen, execution.parting(run))
        show(watch.now(), app.clock.now(), last=True)
    if execution.error is not None:
        raise execution.error


def finished(screen: Screen, app: Application, run: str) -> int:
    """Print the sealed record; the exit code is its verdict's."""
    sealed = app.record(run)
    screen.show(lambda: _to_json(app, sealed), lambda: record.outcome(sealed, screen.columns))
    return EXIT_CODES[sealed.summary.verdict]


def _to_json(app: Application, sealed: MaintenanceRecord) -> Json:
    return {**sealed.to_json(), "acks": acks.to_json(acks_of(app, sealed))}


class Watch:
    """Looks at a run in the state, again and again; what can't have changed since is not read again."""

    def __init__(self, app: Application, run: str) -> None:
        row = app.state.run(run)
        assert row is not None, "a run that is followed has a row"
        request = RunRequest.from_json(row.request)
        self._app = app
        self._run = run
        self._hosts = [host.name for host in request.hosts]
        self._careful = request.careful
        self.kind = row.kind
        self._outcomes: dict[str, Verdict] = {}
        self._parts: dict[str, HostPart] = {}
        self._waves: list[list[str]] = []

    def now(self, where: str = "") -> progress.Moment:
        state, run = self._app.state, self._run
        row = state.run(run)
        assert row is not None, "a run that is followed has a row"
        outcomes = state.outcomes(run)
        if outcomes != self._outcomes or row.state == "ended" or len(self._parts) < len(outcomes):
            self._outcomes = outcomes
            self._parts = {part.host: part for part in state.parts(run)}
        waves = self._waves = self._waves or state.waves(run)
        notes = state.notes(run)
        return progress.Moment(
            run=run,
            plan=row.plan,
            kind=row.kind,
            state=row.state,
            hosts=self._hosts,
            started_at=row.started_at,
            wave=row.wave,
            waves=len(waves) if waves else None,
            parallel=self._careful.parallel,
            tolerated=self._careful.budget.of(sum(len(wave) for wave in waves) if waves else len(self._hosts)),
            outcomes={**outcomes, **{host: part.verdict for host, part in self._parts.items()}},
            notes=notes,
            waiting=str(notes.get(WHOLE, {}).get("detail", "")),
            reasons={host: part.reason for host, part in self._parts.items()},
            took={host: record.elapsed(part) for host, part in self._parts.items()},
            wish=row.wish,
            where=where,
        )


class Here:
    """The run's work, in a thread of this process, so that the main thread can listen to its operator."""

    def __init__(self, app: Application, run: str) -> None:
        self._app = app
        self._run = run
        self._looks = 0
        self._told: set[str] = set()
        self._ended = threading.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        threading.Thread(target=self._execute, name="execute", daemon=True).start()

    def _execute(self) -> None:
        try:
            self._app.runs.complete(self._run)
        except BaseException as error:  # raised again in the main thread
            self.error = error
        finally:
            self._ended.set()

    def over(self, seconds: float) -> bool:
        """Whether it has ended, or does within so many seconds."""
        return self._ended.wait(seconds)

    def where(self) -> str:
        return ""

    def remarks(self) -> list[str]:
        """Of each run that it waits for and that nobody works on, once."""
        self._looks += 1
        if (self._looks - 1) % LOOKS:
            return []
        behind = sorted(_left_before(self._app, self._run) - self._told)
        self._told.update(behind)
        return [
            f"It waits for run {one}, and no process works on that: mainstay runs resume {one} brings it to its end."
            for one in behind
        ]

    def parting(self, run: str) -> list[str]:
        """What is said to somebody who lets go of it."""
        return [
            f"Let go of run {run}. What its hosts are doing goes on there; the run itself stands still until",
            f"  mainstay runs resume {run}",
        ]


def _left_before(app: Application, run: str) -> set[str]:
    """The runs that hold all places that one of this run's hosts still needs, and that go on only when they are resumed."""
    held = app.state.slots()
    # Others' are few, and mostly there are none: then the request of what may be thousands of hosts is not read again.
    others = any(of != run for scope in held.values() for of, _ in scope)
    row = app.state.run(run) if others else None
    if row is None:
        return set()
    request, done = RunRequest.from_json(row.request), app.state.outcomes(run)
    wanted = [(host, places.scopes(request, host)) for host in request.hosts if host.name not in done]
    full = {scope for host, own in wanted for scope in places.full(held, own, (run, host.name))}
    before = {of for scope in full for of, _ in held[scope] if of != run}
    return app.left_behind(before) if before else set()


class Elsewhere:
    """A run that is put down for other processes to work on: over when its record is sealed."""

    def __init__(self, screen: Screen, app: Application, run: str) -> None:
        self.error: BaseException | None = None
        self._screen = screen
        self._app = app
        self._run = run
        self._looks = 0
        self._where = ""
        self._left = False
        self._told = False

    def start(self) -> None:
        self._app.hand_over(self._run)
        self._look()
        self._screen.say(f"Run {self._run} is handed over: {self._where or 'it goes on in other processes'}.")

    def _look(self) -> None:
        works = self._app.works([self._run])
        self._where = where(works, self._run)
        self._left = works.standing(self._run) == "left-behind"

    def over(self, seconds: float) -> bool:
        """Whether it has ended by then. It is looked at for as long as its operator does: Ctrl-C ends that."""
        time.sleep(seconds)
        row = self._app.state.run(self._run)
        return row is not None and row.state == "ended"

    def where(self) -> str:
        self._looks += 1
        if self._looks % LOOKS == 0:
            self._look()
        return self._where

    def remarks(self) -> list[str]:
        """Said once, and again after somebody had come."""
        told, self._told = self._told, self._left
        if told or not self._left:
            return []
        return [
            "No process serves on this state any more: the run stands still until one does (mainstay worker), "
            f"or until mainstay runs resume {self._run}."
        ]

    def parting(self, run: str) -> list[str]:
        return [
            f"Let go of run {run}. It goes on elsewhere, and stops, as was asked. See it: mainstay runs",
        ]


class _Pressed:
    times = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.times += 1


@contextmanager
def _ctrl_c() -> Iterator[_Pressed]:
    """Count Ctrl-C instead of being thrown out of whatever is being done."""
    pressed = _Pressed()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, pressed)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _let_go(screen: Screen, parting: list[str]) -> None:
    screen.say(*parting)
    sys.stdout.flush()
    # At once: an orderly end would wait for the threads that this is about leaving.
    os._exit(INTERRUPTED)


class _Lines:
    """Without a terminal: one line per event."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.before: progress.Moment | None = None

    def __call__(self, now: progress.Moment, at: datetime, *, last: bool = False) -> None:
        self.screen.say(*progress.events(self.before, now))
        self.before = now

    def say(self, text: str) -> None:
        self.screen.say(text)

    def close(self) -> None: ...


class _Table:
    """On a terminal: the table, drawn over itself."""

    def __init__(self, screen: Screen) -> None:
        from rich.console import Console
        from rich.live import Live

        self.screen = screen
        self.console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False, width=screen.columns)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.said: list[str] = []
        self.live.start()

    def __call__(self, now: progress.Moment, at: datetime, *, last: bool = False) -> None:
        from rich.text import Text

        rows = max(3, self.console.size.height - 5 - len(self.said))
        said = [row for text in self.said for row in wrap(text, indent="", columns=self.screen.columns)]
        lines = [*progress.live(now, at, self.screen.columns, rows), *said]
        text = Text(no_wrap=True, overflow="ellipsis")
        for row in lines:
            for part in row:
                text.append(part.text, style=_RICH.get(part.style, ""))
            text.append("\n")
        self.live.update(text, refresh=True)

    def say(self, text: str) -> None:
        self.said.append(text)

    def close(self) -> None:
        self.live.stop()


_RICH = {"good": "green", "bad": "red", "warn": "yellow", "dim": "dim", "bold": "bold"}


@contextmanager
def _display(screen: Screen) -> Iterator[_Lines | _Table]:
    display = _Table(screen) if screen.live else _Lines(screen)
    try:
        yield display
    finally:
        display.close()

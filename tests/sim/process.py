"""One process of mainstay in the simulated world: its own engine and tools over what all share. It serves, takes over from
the dead where the store is shared, and is as mortal as any."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.selectors import parse
from mainstay.runner.ledger.contract import Ledger, SealConflict
from mainstay.runner.request import RunRequest
from mainstay.runner.runs import Runs
from mainstay.runner.state.contract import State, StateConflict
from mainstay.runner.toolbox import Toolbox
from tests.sim.engine import SimEngine
from tests.sim.hosts import SimShells
from tests.sim.schedule import Killed, Schedule
from tests.sim.work import PackageMoves, SimUpkeep

if TYPE_CHECKING:
    from tests.sim.world import World

LONGEST_NAP = 30.0
QUIET_WRITES = ("note_step", "see")
READS = (
    "id",
    "run",
    "runs",
    "parts",
    "last_part",
    "recent_parts",
    "outcomes",
    "notes",
    "undos",
    "sightings",
    "blocked",
    "slots",
    "close",
)
"""Of the state; everything else writes, and a process may die before it and after it."""


class SimClock:
    """Implements Clock."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def now(self) -> datetime:
        return moment(self._schedule.now)


def moment(seconds: float) -> datetime:
    """What the clock on the wall shows that long after the world began."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=round(seconds, 6))


class Watched:
    """A store as one process sees it: others have a turn before and after each write, and what is written is told."""

    def __init__(self, store: object, world: World, reads: tuple[str, ...]) -> None:
        self._store = store
        self._world = world
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name in self._reads or name in QUIET_WRITES or not callable(found):
            return found
        return self._written(name, found)

    def _written(self, name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            schedule = self._world.schedule
            schedule.pause()
            try:
                result = write(*args, **more)
            except (StateConflict, SealConflict) as error:
                self._world.tell("conflict", write=name, error=error.message)
                raise
            self._world.tell(name.replace("_", "-"), args=args, **more)
            schedule.pause()
            return result

        return call


class Process:
    """dead, frozen_until, last_beat: see engine.py. doom: what awaits it in its next turn; 0: its end."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.frozen_until = 0.0
        self.last_beat = world.schedule.now
        self.doom: float | None = None
        self.engine = SimEngine(world.store, self, world.clock)
        self.runs = Runs(self._tools(), self.engine)
        self._bringing: set[str] = set()

    def _tools(self) -> Toolbox:
        world = self.world
        return Toolbox(
            state=cast(State, Watched(world.state, world, READS)),
            ledger=cast(Ledger, Watched(world.ledger, world, ("get", "entries", "head", "verify", "guard"))),
            artifacts=world.artifacts,
            shells=SimShells(world.machines, self),
            upkeep=SimUpkeep(self),
            operations={"patch": self._operation},
            matches=lambda selector, host: parse(selector).matches(host),
            clock=world.clock,
            gate=lambda request: world.gate,
            sleep=self.sleep,
            monotonic=self.monotonic,
        )

    def _operation(self, request: RunRequest) -> PackageMoves:
        return PackageMoves(self.world.case.run(request.id).packages)

    def monotonic(self) -> float:
        return self.world.schedule.now

    def sleep(self, seconds: float) -> None:
        task = self.world.schedule.current
        assert task is not None
        task.naps += 1
        longer = float(min(LONGEST_NAP, seconds * 1.3 ** min(task.naps, 20)))
        self.world.schedule.pause(max(seconds, longer))

    def live(self) -> None:
        """From its start to its end: take up what was left behind, then (on a shared store) look for more and stay alive."""
        schedule, store = self.world.schedule, self.world.store
        self.engine.launch(serve=store.shared)
        self._take_up()
        while True:
            busy = schedule.now - store.changed_at < 60.0
            schedule.pause(self.world.chance.uniform(1.0, 3.0) if busy else self.world.chance.uniform(4.0, 8.0))
            if store.shared and schedule.now - self.last_beat > store.lease:
                # Frozen, and by now somebody else may own its work; until it knows, its other threads have gone on.
                schedule.pause(self.world.chance.uniform(0.0, 2.0))
                self.engine.lost.set()
                self.world.die(self, "its lease is over")
                raise Killed
            self.last_beat = schedule.now
            if store.shared:
                self._take_up()

    def _take_up(self) -> None:
        for run in self.runs.resume():
            self.bring(run)

    def bring(self, run: str) -> None:
        """To its end, in a task of its own."""
        if run not in self._bringing:
            self._bringing.add(run)
            self.world.schedule.spawn(f"{self.name} follows {run}", lambda: self._execute(run), self)

    def _execute(self, run: str) -> None:
        try:
            self.runs.execute(run)
        except MainstayError as error:
            self.world.tell("execute-failed", run=run, error=f"{type(error).__name__}: {error.message}")
        finally:
            self._bringing.discard(run)

    def ask(self, request: RunRequest) -> None:
        """Somebody asks this process for a run."""
        self.runs.submit(request)
        self.bring(request.id)

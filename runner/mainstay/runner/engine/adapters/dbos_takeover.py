"""Taking over what the dead have left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from dbos import DBOS

from mainstay.runner.engine.adapters.dbos_ends import POLL, outside
from mainstay.runner.engine.adapters.dbos_store import log
from mainstay.runner.engine.adapters.place import CHILDREN, ROOTS, TAKEN_OVER, Place, Row
from mainstay.runner.engine.liveness import Liveness

IDLE_LOOKS = 5
"""A workflow of our own that so many looks in a row found on no thread was let go of: its store had failed."""
SWEEP_LOOKS = 30
"""Between two sweeps."""


class Takeover:
    """One process's. busy: what its threads work on."""

    def __init__(
        self,
        place: Place,
        liveness: Liveness,
        executor: str,
        version: str,
        names: Collection[str],
        busy: Callable[[], set[str]],
    ) -> None:
        self._place = place
        self._liveness = liveness
        self._executor = executor
        self._version = version
        self._names = names
        self._busy = busy
        self._queue = ""
        self._idle: dict[tuple[str, str | None], int] = {}
        self._looks = 0
        self._alone = threading.Lock()
        self.serve = False

    def serving(self) -> list[str]:
        """Executors that take what this version puts down."""
        return sorted(executor for executor, version in self._liveness.serving().items() if version == self._version)

    def once(self) -> list[str]:
        """Whatever is provably left behind; waits for the proof where there is hope for one."""
        return self._take(None, patient=True)

    def look(self, only: Collection[str] | None) -> list[str]:
        """As `once`, of a process that looks again and again. only: these, and nothing where others serve."""
        return self._take(only, patient=False)

    def _take(self, only: Collection[str] | None, patient: bool) -> list[str]:
        with self._alone:
            every = self._place.rows()
            ours = [row for row in every if row.version == self._version and row.name in self._names]
            served = bool(self.serving())
            if only is not None:
                ours = [] if served else [row for row in ours if row.id in only]
            owners = {row.owner for row in ours} - {"", self._executor}
            gone = self._liveness.gone(owners, patient) if owners else set()
            lost = [row for row in ours if (not served if row.owner == "" else row.owner in gone)]
            if self.serve:
                lost += self._let_go(ours)
            taken = self._place.take_over(lost, self._queue_of(lost)) if lost else []
            if taken:
                log.info("took over from executors that are gone: %s", ", ".join(taken))
            self._looks += 1
            if patient or self._looks % SWEEP_LOOKS == 0:
                self._sweep(every)
            return taken

    def _let_go(self, rows: list[Row]) -> list[Row]:
        """Our own that no thread works on any more. A claim is on a thread within no time, hence several looks."""
        busy = self._busy()
        mine = [row for row in rows if row.executor == self._executor and row.status == "PENDING"]
        idle = {(row.id, row.token): row for row in mine if row.id not in busy}
        self._idle = {key: self._idle.get(key, 0) + 1 for key in idle}
        return [row for key, row in idle.items() if self._idle[key] >= IDLE_LOOKS]

    def _queue_of(self, lost: list[Row]) -> Callable[[Row], str]:
        if self.serve and self._place.shared:
            return lambda row: CHILDREN if "/" in row.id else ROOTS
        if not self._queue:
            self._queue = TAKEN_OVER + self._executor
            DBOS.register_queue(self._queue, polling_interval_sec=POLL, on_conflict="always_update")
        return lambda row: self._queue

    def _sweep(self, rows: list[Row]) -> None:
        """Forget the dead: their locks, and the queues through which they had taken over."""
        owners = {row.owner for row in rows}
        self._liveness.sweep(owners)
        for queue in outside(DBOS.list_queues):
            executor = queue.name.removeprefix(TAKEN_OVER)
            if executor != queue.name and executor not in owners and not self._liveness.alive(executor):
                outside(lambda name=queue.name: DBOS.delete_queue(name))  # type: ignore[misc]  # bound now

    def close(self) -> None:
        """Nobody will take over through this process again."""
        if self._queue and not any(row.queue == self._queue for row in self._place.rows()):
            DBOS.delete_queue(self._queue)

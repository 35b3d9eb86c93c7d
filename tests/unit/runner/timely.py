"""A world under a site's own gate, whose hosts work by the world's clock."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from tests.unit.runner.world import World
from tests.unit.schedules.gates import Around, utc

from mainstay.runner.plan import Hook, Timed
from mainstay.runner.ports import Permission
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.request import RunRequest
from mainstay.runner.shell.contract import Job
from mainstay.runner.steps import rfc3339
from mainstay.schedules.timing import Occurrence, Timing
from mainstay.schedules.turns import Turns
from mainstay.schedules.windows import Window

HOUR = 3600.0


class Timely(World):
    """A world whose hosts work by its own clock, under a site's gate. began: host → when its change was launched."""

    def __init__(self, names: str, now: str, *windows: Window, **plan: Any) -> None:
        super().__init__(names, **plan)
        self.windows = windows
        self.clock.advance((utc(now) - self.clock.now()).total_seconds())
        self.around = Around(self.clock)
        self.around.recent_parts = self.state.recent_parts  # type: ignore[method-assign]  # what really was
        self.gate = self
        self.began: dict[str, datetime] = {}
        self.while_asleep = self._tick
        self.each_nap: list[Any] = []
        for name, machine in self.machines.items():
            machine.there.launched = partial(self._note, name)

    def _note(self, name: str, job: Job) -> None:
        self.began.setdefault(name, self.clock.now())

    def _tick(self) -> None:
        for machine in self.machines.values():
            machine.there.time.advance(self.slept[-1])
        for act in self.each_nap:
            act()

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        row = self.state.run(run)
        assert row is not None
        return self.around.gate(RunRequest.from_json(row.request)).permit(run, host, step, estimate)

    def spends(self, host: str, seconds: float) -> None:
        """Its change takes so long, without a look at it every second meanwhile."""
        self.machines[host].meanwhile = lambda: self.clock.advance(seconds)

    def asked(self, *, queued: bool = False, occurrence: Occurrence | None = None, **more: Any) -> RunRequest:
        rules = Timed.model_validate({name: getattr(self.plan, name) for name in Timed.model_fields})
        timing = Timing(windows=self.windows, queued=queued, occurrence=occurrence, rules=rules)
        now = rfc3339(self.clock.now())
        return self.request(timing=timing.to_json(), asked_at=now, **more)

    def go(self, request: RunRequest) -> MaintenanceRecord:
        runs = self.runs()
        runs.submit(request)
        record = runs.execute(request.id)
        Turns(self.around.store, self.state).run_finished(record)
        return record


def waits_for(world: World, run: str) -> str:
    return str(world.state.notes(run).get("", {}).get("detail", ""))


def hooked(world: World) -> None:
    hook = (Hook(command=("drain",)),)
    world.plan = world.plan.model_copy(update={"before": hook, "after": (Hook(command=("undrain",)),)})

"""The world of one seed: everything put together, told as a log of events, checked after each of them."""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Any
from unittest import mock

from mainstay.inventory.host import Host
from mainstay.runner import forecasting, reconciling
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.ports import Permission
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.steps import rfc3339
from tests.sim import invariants
from tests.sim.books import Books, Event
from tests.sim.cases import Case, HostCase, RunCase, Wish, case
from tests.sim.engine import Store
from tests.sim.hosts import Cut, Machine
from tests.sim.process import Process, SimClock, moment
from tests.sim.schedule import Killed, Schedule

LEASE = 10.0
LONGEST = 8 * 3600.0
"""Simulated seconds after which every run must have ended, whatever went wrong."""
MOST_TURNS = 200_000


class Violated(BaseException):
    """A promise was broken. Not an Exception: no code of the product may catch it."""


class Violation(AssertionError):
    """The same for whoever ran the world."""


@dataclass(frozen=True, slots=True)
class Told:
    """How a world ended."""

    digest: str
    events: int
    hours: float
    verdicts: dict[str, str]


class World:
    def __init__(self, seed: int, echo: bool = False) -> None:
        self.case: Case = case(seed)
        self.chance = Random(f"world {seed}")
        self.schedule = Schedule(self.chance)
        self.schedule.on_turn = self._turn
        self.clock = SimClock(self.schedule)
        self.state = MemoryState(self.clock)
        self.state._id = "STATE"  # a random one would be in every fence
        self.ledger = MemoryLedger(self.state.parts)
        self.artifacts = MemoryArtifacts()
        self.gate = _Window(self.schedule, self.case.window)
        self.store = Store(self.schedule, self.chance, self.tell, shared=self.case.shared, lease=LEASE)
        self.machines = {one.name: self._machine(one) for one in self.case.hosts}
        self.processes: list[Process] = []
        self.books = Books()
        self.log: list[str] = []
        self._echo = echo
        self._turns = 0
        self._seen: dict[tuple[str, int], int] = {}

    def _machine(self, one: HostCase) -> Machine:
        return Machine(
            name=one.name,
            schedule=self.schedule,
            chance=self.chance,
            tell=self.tell,
            packages=dict(one.versions),
            cohort=one.cohort,
            wrong=one.wrong,
            reboot_wanted=one.reboot_wanted,
            cuts=[Cut(since, until, f"p{number}" if number else "") for since, until, number in one.cuts],
            drops=one.drops,
        )

    def tell(self, kind: str, **data: Any) -> None:
        """Something happened: check it against what was before, then write it down. Raises Violated."""
        task = self.schedule.current
        owner = task.owner.name if task is not None and isinstance(task.owner, Process) else ""
        event = Event(
            len(self.log) + 1, self.schedule.now, owner, task.about if task is not None else "", kind, dict(data)
        )
        self.log.append(str(event))
        if self._echo:
            print(self.log[-1])
        try:
            for invariant in invariants.ALWAYS:
                if broken := invariant(self, event):
                    raise Violated(_words(invariant, broken))
            self.books.note(event)
            self._lie_in_wait(event)
        except Exception as error:  # of the simulator itself: the product must not take it for its own
            raise Violated(f"the simulator failed at {event}: {traceback.format_exc()}") from error

    def _lie_in_wait(self, event: Event) -> None:
        task = self.schedule.current
        if task is None or not isinstance(task.owner, Process):
            return
        said = f"{event.kind} what={event.data.get('what', '')!r} step={event.data.get('step', '')}"
        for what, which, seconds in self.case.ambushes:
            kind, _, more = what.partition(" ")
            if event.kind == kind and more in said:
                self._seen[what, which] = self._seen.get((what, which), 0) + 1
                if self._seen[what, which] == which:
                    task.owner.doom = seconds

    def _turn(self) -> None:
        """In each turn of a process: the one at which it dies or freezes."""
        task = self.schedule.current
        if task is None or not isinstance(task.owner, Process) or task.owner.dead:
            return
        self._turns += 1
        doom, task.owner.doom = task.owner.doom, None
        if doom is not None and doom > 0:
            self._freeze(task.owner, doom)
        for at, seconds in self.case.freezes:
            if at == self._turns:
                self._freeze(task.owner, seconds)
        if doom == 0 or self._turns in self.case.crashes:
            self.die(task.owner, "killed")
            raise Killed

    def _freeze(self, process: Process, seconds: float) -> None:
        process.frozen_until = self.schedule.now + seconds
        self.tell("frozen", seconds=seconds)

    def die(self, process: Process, why: str) -> None:
        """Another one is started in its place, some time later."""
        process.dead = True
        self.tell("died", process=process.name, why=why)
        self.schedule.spawn("start", self.start_process, after=self.chance.choice((0.5, 5.0, 60.0)))

    def start_process(self) -> None:
        process = Process(self, f"p{len(self.processes) + 1}")
        self.processes.append(process)
        self.schedule.spawn(f"{process.name} lives", process.live, process)

    def request(self, run: RunCase) -> RunRequest:
        asking = Asking(
            requested_by="anna", asked_at="2026-01-01T00:00:00.000Z", site_name="acme", limits=self.case.limits
        )
        racks = {one.name: {"rack": one.rack} if one.rack else {} for one in self.case.hosts}
        hosts = [Host(name=name, address=f"{name}.test", tags=racks[name]) for name in run.hosts]
        return plan_request(run.plan, hosts, asking).model_copy(update={"id": run.id})

    def _ask(self, run: RunCase) -> None:
        """Somebody wants a run, and asks again where the process died before it had written it down."""
        request = self.request(run)
        self.schedule.pause(run.at)
        while self.state.run(run.id) is None:
            alive = [process for process in self.processes if not process.dead and process.engine.launched]
            if alive:
                process = self.chance.choice(alive)
                self.schedule.spawn(f"ask {run.id}", lambda: process.ask(request), process)  # noqa: B023 - of this turn
            self.schedule.pause(30.0)

    def _wish(self, wish: Wish) -> None:
        self.schedule.pause(wish.at)
        row = self.state.run(wish.run)
        if row is None or row.state == "ended" or (wish.wish == "" and row.wish not in ("pause", "cancel")):
            return
        self.state.wish(wish.run, wish.wish, by=wish.by, reason="sim")  # type: ignore[arg-type]  # one of three words
        self.tell("wish", run=wish.run, wish=wish.wish, by=wish.by)

    def _reboot(self, machine: Machine, at: float, seconds: float) -> None:
        self.schedule.pause(at)
        machine.go_down(seconds)

    def over(self) -> bool:
        """Everything that was asked for has ended."""
        rows = [self.state.run(run.id) for run in self.case.runs]
        ended = all(row is not None and row.state == "ended" for row in rows)
        return ended and all(flow.outcome is not None for flow in self.store.flows.values())

    def run(self) -> Told:
        """Raises Violation."""
        for number in range(self.case.processes):
            self.schedule.spawn("start", self.start_process, after=0.1 * number)
        for run in self.case.runs:
            self.schedule.spawn(f"ask {run.id}", lambda run=run: self._ask(run))  # type: ignore[misc]  # bound now
        for wish in self.case.wishes:
            self.schedule.spawn("wish", lambda wish=wish: self._wish(wish))  # type: ignore[misc]  # bound now
        for one in self.case.hosts:
            for at, seconds in one.reboots:
                machine = self.machines[one.name]
                self.schedule.spawn("reboot", lambda m=machine, a=at, s=seconds: self._reboot(m, a, s))  # type: ignore[misc]  # bound now
        with ExitStack() as patched:
            for module in (forecasting, reconciling):
                patched.enter_context(mock.patch.object(module, "ThreadPoolExecutor", _OneByOne))
            patched.enter_context(mock.patch.object(forecasting, "time", self))
            logging.disable(logging.CRITICAL)  # what happens is in the world's own log
            patched.callback(logging.disable, logging.NOTSET)
            try:
                self._until_over()
            except Violated as broken:
                raise self._violation(str(broken)) from None
            finally:
                self.schedule.close()
        digest = hashlib.sha256("\n".join(self.log).encode()).hexdigest()
        verdicts = {entry.id: str(entry.body["verdict"]) for entry in self.ledger.entries()}
        return Told(digest, len(self.log), self.schedule.now / 3600, verdicts)

    def monotonic(self) -> float:
        """For what the product measures with its own clock."""
        return self.schedule.now

    def _until_over(self) -> None:
        while not self.over():
            late = self.schedule.now > LONGEST or self.schedule.turns > MOST_TURNS
            if late or not self.schedule.step():
                raise Violated(f"every_run_ends: {self._stuck()}")
        for invariant in invariants.AT_THE_END:
            if broken := invariant(self):
                raise Violated(_words(invariant, broken))

    def _stuck(self) -> str:
        rows = {run.id: self.state.run(run.id) for run in self.case.runs}
        runs = {id: row.state if row else "never written down" for id, row in rows.items()}
        flows = {flow.id: flow.owner or "queued" for flow in self.store.flows.values() if flow.outcome is None}
        return (
            f"after {self.schedule.now / 3600:.1f} h and {self.schedule.turns} turns: runs {runs}, unfinished {flows}"
        )

    def _violation(self, broken: str) -> Violation:
        last = "\n".join(self.log[-30:])
        seed = self.case.seed
        return Violation(f"seed {seed}: {broken}\nthe last events:\n{last}\nreplay it: python -m tests.sim {seed} -v")


def _words(invariant: Callable[..., object], broken: str) -> str:
    return f"{invariant.__name__}: {broken}\n  {(invariant.__doc__ or '').strip()}"


class _Window:
    """Implements Gate: open from one moment to another; nothing starts before, and after it no host."""

    def __init__(self, schedule: Schedule, window: tuple[float, float] | None) -> None:
        self._schedule = schedule
        self._window = window

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        now, (opens, shuts) = self._schedule.now, self._window or (0.0, float("inf"))
        if now < opens:
            until = rfc3339(moment(opens))
            return Permission(answer="wait", until=until, reason="the window is not open yet")
        if now > shuts:
            return Permission(answer="refuse", reason="the window is over")
        return Permission(answer="start")


class _OneByOne:
    """A pool of threads in a world without any."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None: ...

    def submit(self, call: Any, *args: Any) -> Any:
        future: Future[Any] = Future()
        future.set_result(call(*args))
        return future

    def __enter__(self) -> _OneByOne:
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, call: Any, of: Any) -> list[Any]:
        return [call(one) for one in of]

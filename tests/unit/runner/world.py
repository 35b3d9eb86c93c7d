"""A world of machines in memory for tests of the rollout. The rollout, its phases, engine, state, ledger and hosts' locks are
the product's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.unit.runner.machines import CalmUpkeep, Guest, Machine, ScriptedOperation

from mainstay.inventory.selectors import parse
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.engine.memory import FakeClock, MemoryEngine, MemoryStore
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.plan import PatchPlan
from mainstay.runner.ports import AlwaysOpen, Gate, Quiet
from mainstay.runner.record import HostPart, MaintenanceRecord
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.runs import Runs
from mainstay.runner.shell.contract import Job
from mainstay.runner.shell.fake import FakeShells
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.toolbox import Toolbox


class World:
    """names → machines with `openssl` and `perl` at version 1, and version 2 on offer."""

    def __init__(self, names: str, **plan: Any) -> None:
        self.machines: dict[str, Machine] = {}
        for name in names.split():
            there = Guest(name)
            self.machines[name] = Machine(name, there, {"openssl": "1", "perl": "1"}, {"openssl": "2", "perl": "2"})
            there.launched = partial(self._launched, self.machines[name])
        self.plan = PatchPlan.model_validate({"name": "patch-web", "targets": "all", **plan})
        self.clock = FakeClock()
        self.shells = FakeShells(machine.there for machine in self.machines.values())
        self.state = MemoryState(self.clock)
        self.ledger = MemoryLedger(self.state.parts)
        self.artifacts = MemoryArtifacts()
        self.store = MemoryStore()
        self.gate: Gate = AlwaysOpen()
        self.upkeep = CalmUpkeep(self.machines)
        self.told: list[str] = []
        self.hosts = {name: self.machines[name].there.host() for name in self.machines}
        self.slept: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None
        self.back_at: dict[str, float] = {}
        """host → when it can be reached again, seconds of the clock."""

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def runs(self, **engine: Any) -> Runs:
        engine.setdefault("clock", self.clock)
        tools = Toolbox(
            state=self.state,
            ledger=self.ledger,
            artifacts=self.artifacts,
            shells=self.shells,
            upkeep=self.upkeep,
            operations={
                "patch": lambda request: ScriptedOperation(self.machines),
                "stage": lambda request: ScriptedOperation(self.machines),
                "rollback": lambda request: ScriptedOperation(self.machines, request.operation["undo"], "rollback"),
            },
            matches=lambda selector, host: parse(selector).matches(host),
            clock=self.clock,
            listener=Story(self.told),
            gate=lambda request: self.gate,
            sleep=self._sleep,
            monotonic=lambda: self.clock.now().timestamp(),
        )
        runs = Runs(tools, MemoryEngine(self.store, **engine))
        runs.engine.launch()
        return runs

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_time(seconds)
        self.while_asleep()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for name, at in self.back_at.items():
            if self.clock.now().timestamp() >= at:
                self.machines[name].there.unreachable = ""

    def _launched(self, machine: Machine, job: Job) -> None:
        if not machine.away or machine.name in self.back_at:
            return
        self.leave(machine, machine.away)
        if machine.power_cut:
            machine.boots += 1
            machine.there.reboot()
            machine.there.time.advance(machine.takes)

    def leave(self, machine: Machine, seconds: float) -> None:
        """It can't be reached for so long."""
        machine.there.unreachable = "timed out"
        self.back_at[machine.name] = self.clock.now().timestamp() + seconds

    def request(self, **more: Any) -> RunRequest:
        asking = Asking(requested_by="anna", asked_at="2026-01-01T00:00:00.000Z", site_name="acme")
        return plan_request(self.plan, tuple(self.hosts.values()), asking).model_copy(update=more)

    def run(self, **more: Any) -> MaintenanceRecord:
        request = self.request(**more)
        runs = self.runs()
        runs.submit(request)
        return runs.execute(request.id)


class Story(Quiet):
    """What was told, in order."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def wave_started(self, run: str, number: int, hosts: list[str]) -> None:
        self.told.append(f"wave {number}: {' '.join(hosts)}")

    def host_finished(self, run: str, part: HostPart) -> None:
        self.told.append(f"{part.host} {part.verdict}")

    def run_finished(self, record: MaintenanceRecord) -> None:
        self.told.append(f"run {record.summary.verdict}")


def verdicts(record: MaintenanceRecord) -> dict[str, str]:
    return {part.host: part.verdict.value for part in record.hosts}


def steps(record: MaintenanceRecord, host: str) -> list[str]:
    part = next(part for part in record.hosts if part.host == host)
    return [step.name for step in part.steps]

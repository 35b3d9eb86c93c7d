"""A site's ledger, state and schedules in memory, with a clock that is set by hand: what notices are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.console.notices.contract import Channel, Undelivered
from mainstay.console.notices.outbox import Outbox
from mainstay.inventory.notify import Notify
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.plan import PatchPlan
from mainstay.runner.record import HostPart, Summary, hosts_digest
from mainstay.runner.state.contract import RunRow
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict, of_run
from mainstay.schedules.store.contract import Approval, Notice
from mainstay.schedules.store.memory import MemorySchedules

NOW = datetime(2026, 12, 11, 2, 30, tzinfo=UTC)


@dataclass
class HandClock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment

    def later(self, **span: float) -> None:
        self.moment += timedelta(**span)


@dataclass
class World:
    clock: HandClock = field(default_factory=HandClock)
    store: MemorySchedules = field(default_factory=MemorySchedules)
    approvals: list[Approval] = field(default_factory=list)
    runs: int = 0

    def __post_init__(self) -> None:
        self.state = MemoryState(self.clock)
        self.ledger = MemoryLedger(self.state.parts)

    def outbox(self, *channels: Notify, pinged: tuple[str, ...] = ()) -> Outbox:
        plans = {name: PatchPlan(name=name, targets="all", ping="env:PING") for name in pinged}
        return Outbox(
            store=self.store,
            ledger=self.ledger,
            state=self.state,
            clock=self.clock,
            site="acme",
            channels=channels,
            pinged=plans,
            targets=lambda plan: frozenset({"web1", "web2"}),
            waiting=lambda: self.approvals,
        )

    def run(self, *hosts: str, trigger: str = "clock", plan: str = "patch-web", kind: str = "patch") -> str:
        self.runs += 1
        id = f"run{self.runs}"
        request = {"hosts": [{"name": name} for name in hosts], "trigger": trigger}
        started = rfc3339(self.clock.now())
        self.state.add_run(RunRow(id=id, kind=kind, plan=plan, state="running", request=request, started_at=started))
        return id

    def ended(
        self, verdict: Verdict = Verdict.FAILED, *, plan: str = "patch-web", reason: str = "", **more: Any
    ) -> str:
        """A run over two hosts, sealed: web2 ended like that."""
        run = self.run("web1", "web2", plan=plan, **more)
        parts = [
            HostPart(host="web1", verdict=Verdict.SUCCEEDED),
            HostPart(host="web2", verdict=verdict, reason=reason),
        ]
        for part in parts:
            self.state.write_part(run, part)
        now = rfc3339(self.clock.now())
        summary = Summary(
            id=run,
            kind=more.get("kind", "patch"),
            plan=plan,
            maintenance_type="preventive",
            verdict=verdict
            if verdict in (Verdict.REFUSED, Verdict.MISSED)
            else of_run([part.verdict for part in parts]),
            reason=reason,
            trigger=more.get("trigger", "clock"),
            requested_by="clock",
            started_at=now,
            finished_at=now,
            counts={"succeeded": 1, str(verdict): 1},
            hosts_digest=hosts_digest(parts),
        )
        self.ledger.seal(run, summary.to_json())
        self.state.set_run(run, state="ended", ended_at=now)
        return run

    def waiting(self, channel: str | None = None) -> list[Notice]:
        return [notice for notice in self.store.undelivered() if channel in (None, notice.channel)]


def tell(name: str = "tell", **more: Any) -> Notify:
    return Notify.model_validate({"name": name, "command": ["true"], **more})


@dataclass
class Taker:
    """A channel that takes notices, or does not."""

    taken: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    refuses: Callable[[Notice], str] = lambda notice: ""
    tries: int = 0

    def __call__(self, notice: Notice) -> None:
        self.tries += 1
        if why := self.refuses(notice):
            raise Undelivered(why)
        self.taken.append(notice.id)
        self.bodies.append(notice.body)

    def channel(self, name: str = "tell", *, newest_only: bool = False) -> Channel:
        return Channel(name, self, 30.0, newest_only=newest_only)

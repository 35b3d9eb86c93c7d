"""An application on a real site whose stores are in memory and whose hosts and runs are played."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mainstay.console.bootstrap import Application
from mainstay.console.working import Works
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.points.contract import PointStore
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.runner import verdict as verdicts
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.operation import Forecast, LeftOut
from mainstay.runner.ports import Clock
from mainstay.runner.record import HostPart, Links, MaintenanceRecord, SiteStamp, Step, Summary, hosts_digest
from mainstay.runner.request import RunRequest
from mainstay.runner.shell.pins import HostKey
from mainstay.runner.state.contract import RunRow
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.upkeep import Judgement
from mainstay.runner.verdict import Verdict
from mainstay.schedules.check import load_checked
from mainstay.schedules.store.contract import ScheduleStore
from mainstay.schedules.store.memory import MemorySchedules

NOW = datetime(2026, 12, 11, 1, 30, tzinfo=UTC)

HOSTILE = "\x1b]52;c;AAAA\x07\x1b[31m[/bold]<script>\rweb9: succeeded\u202e"
"""What a host might say to steer a terminal, break markup or forge a line."""

SITE = {
    "mainstay.yml": "site: acme\ntimezone: Europe/Berlin\nssh: {user: ops}\n",
    "inventory/hosts.yml": (
        "hosts:\n"
        "  web1: {address: 10.9.0.11, tags: {role: web, env: prod}}\n"
        "  web2: {address: 10.9.0.12, tags: {role: web, env: prod}}\n"
        "  web10: {address: 10.9.0.20, port: 2222, tags: {role: web, env: test}}\n"
        "  db1: {address: 10.9.0.31, tags: {role: db}}\n"
        "groups:\n  webservers: {selector: role=web}\n"
    ),
    "schedules/web.yml": (
        'windows:\n  night: {rrule: "FREQ=DAILY", start: "22:00", duration: 3h, cutoff: 1h}\n'
        "plans:\n"
        "  patch-web: {targets: role=web, waves: [1, 100%], budget: 1, parallel: 5}\n"
        "  patch-night: {targets: role=web, window: night}\n"
        "  patch-later: {targets: role=web, before: {playbook: drain.yml}}\n"
    ),
}


def write_site(root: Path, **more: str) -> Path:
    for name, text in {**SITE, **more}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class StoppedClock(Clock):
    def now(self) -> datetime:
        return NOW


Play = Callable[["FakeApplication", RunRequest], Verdict]


class FakeRuns:
    """Plays runs: each host ends as the test says, and the record is sealed as the real one is."""

    def __init__(self, app: FakeApplication) -> None:
        self.app = app
        self.requests: list[RunRequest] = []
        self.recovered = 0
        self.handed: list[str] = []
        self.offered: list[str] = []

    def submit(self, request: RunRequest) -> str:
        self.requests.append(request)
        self.app.state.add_run(
            RunRow(
                id=request.id,
                kind=request.kind,
                plan=request.plan,
                state="preparing",
                request=request.to_json(),
                started_at="2026-12-11T01:00:00Z",
            )
        )
        return request.id

    def offer(self, run: str) -> bool:
        """Whatever is offered has to wait."""
        self.offered.append(run)
        return False

    def complete(self, run: str) -> None:
        request = next(one for one in self.requests if one.id == run)
        if self.app.during is not None:
            self.app.during(run)
        parts = [self.app.ending(host) for host in request.hosts]
        for part in parts:
            self.app.state.note_outcome(run, part.host, part.verdict)
        seal(self.app, request.id, parts, plan=request.plan, undoes=request.links.undoes)

    def resume(self) -> list[str]:
        self.recovered += 1
        return []


class FakeApplication(Application):
    """Set `ending`, `forecasts` and `scans` to play hosts."""

    def __init__(self, root: Path) -> None:
        super().__init__(load_checked(root))
        self._state = MemoryState(StoppedClock())
        self._ledger = MemoryLedger(self._state.parts)
        self._artifacts = MemoryArtifacts()
        self.guarded = 0
        self.left: set[str] = set()
        self.serving: tuple[str, ...] = ()
        """Executors that serve; what is handed over is played by them at once."""
        self.needs: dict[str, str] = {}
        """run → version that it was begun by, where it is another one."""
        self.during: Callable[[str], None] | None = None
        self.ending: Callable[[Host], HostPart] = lambda host: part(host.name)
        self.forecasts: dict[str, HostForecast] = {}
        self.asked: list[RunRequest] = []
        self.scans: dict[str, tuple[HostKey, ...] | MainstayError] = {}
        self.judgement = Judgement()

    @cached_property
    def clock(self) -> Clock:
        return StoppedClock()

    @cached_property
    def requested_by(self) -> str:
        return "anna@ops1"

    @cached_property
    def stores(self) -> Any:
        def guard() -> None:
            self.guarded += 1

        return SimpleNamespace(
            state=self._state,
            ledger=self._ledger,
            artifacts=self._artifacts,
            directory=self.site.root,
            database=SimpleNamespace(dialect="sqlite", name="mainstay.db"),
            anchor=self.site.root / "anchor.jsonl",
            guard=guard,
            close=lambda: None,
        )

    @cached_property
    def schedule_store(self) -> ScheduleStore:
        return MemorySchedules()

    @cached_property
    def points(self) -> PointStore:
        return MemoryPoints()

    @cached_property
    def runs(self) -> Any:
        return FakeRuns(self)

    @cached_property
    def operations(self) -> Any:
        def patching(request: RunRequest) -> Any:
            return SimpleNamespace(software=True, plan=request.plan)

        return {"patch": patching, "rollback": patching}

    @cached_property
    def upkeep(self) -> Any:
        return SimpleNamespace(judge=lambda facts, careful: self.judgement, probe=lambda shell: shell.facts)

    @property
    def shells(self) -> Any:
        return SimpleNamespace()

    def hand_over(self, run: str) -> None:
        self.runs.handed.append(run)
        threading.Thread(target=self.runs.complete, args=(run,), daemon=True).start()

    def works(self, runs: Any = ()) -> Works:
        """A run that was not left behind is worked on by the first who serves, or by a process of its own."""
        hand = self.serving[0] if self.serving else "ops2-4711-k3q7x2ma"
        return Works(
            owners={run: hand for run in runs if run not in self.left},
            alive=frozenset({hand}),
            versions={run: self.needs.get(run, "1") for run in runs},
            serving={"1": self.serving},
            version="1",
        )

    def scan(self, host: Host) -> tuple[HostKey, ...]:
        answer = self.scans[host.name]
        if isinstance(answer, MainstayError):
            raise answer
        return answer

    def ask(self, hosts: Sequence[Host], *args: Any, **kwargs: Any) -> dict[str, HostForecast]:
        """In the place of mainstay.runner.forecasting.forecast."""
        return {host.name: self.forecasts.get(host.name) or forecast(host) for host in hosts}


def step(
    name: str, second: int, verdict: Verdict = Verdict.SUCCEEDED, detail: str = "", output: str | None = None
) -> Step:
    stamp = f"2026-12-11T01:00:{second:02}.000Z"
    later = f"2026-12-11T01:00:{second + 4:02}.000Z"
    return Step(name=name, verdict=verdict, started_at=stamp, finished_at=later, detail=detail, output=output)


def part(host: str, verdict: Verdict = Verdict.SUCCEEDED, reason: str = "1 changed, checked", **more: Any) -> HostPart:
    standard: Json = {
        "steps": (step("probe", 0), step("apply", 10, detail="1 of 1"), step("health", 20, verdict)),
        "before": {"packages": {"openssl": "3.0.20-1"}, "packages_digest": "a", "boot_id": "b1", "kernel": "6.1"},
        "after": {"packages": {"openssl": "3.0.22-1"}, "packages_digest": "b", "boot_id": "b1", "kernel": "6.1"},
        "wave": 1,
        "cohort": "debian 12 amd64",
    }
    return HostPart(host=host, verdict=verdict, reason=reason, **{**standard, **more})


def untouched(host: str, verdict: Verdict, reason: str) -> HostPart:
    return HostPart(host=host, verdict=verdict, reason=reason, steps=(step("survey", 0, verdict),))


def seal(
    app: FakeApplication,
    run: str,
    parts: Sequence[HostPart],
    *,
    plan: str = "patch-web",
    reason: str = "",
    undoes: str | None = None,
    kind: str = "patch",
    started: str = "2026-12-11T01:00:00Z",
) -> MaintenanceRecord:
    """End a run as the real one does: parts, record, row."""
    for one in parts:
        app.state.write_part(run, one)
    counts: dict[str, int] = {}
    for one in parts:
        counts[str(one.verdict)] = counts.get(str(one.verdict), 0) + 1
    summary = Summary(
        id=run,
        kind="rollback" if undoes else kind,
        plan=plan,
        maintenance_type="preventive",
        verdict=verdicts.of_run([one.verdict for one in parts]),
        reason=reason,
        trigger="by hand",
        requested_by="anna@ops1",
        site=SiteStamp(commit="0123abcd", dirty=False, plan_hash="ff"),
        mainstay_version="0.1.0",
        started_at=started,
        finished_at="2026-12-11T01:07:00Z",
        links=Links(undoes=undoes),
        counts=counts,
        hosts_digest=hosts_digest(list(parts)),
    )
    if app.state.run(run) is None:
        app.state.add_run(RunRow(id=run, kind=summary.kind, plan=plan, state="running", request={}, started_at=started))
    entry = app.ledger.seal(run, summary.to_json())
    app.state.set_run(run, state="ended", ended_at=summary.finished_at)
    return MaintenanceRecord(seq=entry.seq, hash=entry.hash, summary=summary, hosts=tuple(parts))


def forecast(host: Host, count: int = 2, **more: Any) -> HostForecast:
    items = (("libssl3", "3.0.20-1", "3.0.22-1"), ("openssl", "3.0.20-1", "3.0.22-1"), ("perl", "5.36.0-7", "5.36.0-8"))
    standard: Json = {"change": {}, "count": count, "reversible": count, "items": items[:count], "reboot": "no"}
    facts = Facts(os_id="debian", os_version="12", arch="amd64", machine_id=host.name, boot_id="b")
    return HostForecast(host, facts, Forecast(**{**standard, **more}))


def left_out(item: str, reason: str, detail: str = "", until: str | None = None) -> LeftOut:
    return LeftOut(item=item, version="1.2-3", reason=reason, detail=detail, until=until)

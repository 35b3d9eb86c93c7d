"""A site, a clock that is told to go on, and daemons over one store in memory: what a sweep puts down can be read as lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit.runner.world import World

from mainstay.runner.ports import Permission
from mainstay.runner.record import Summary
from mainstay.runner.request import Asking, RunRequest
from mainstay.runner.runs import Runs
from mainstay.runner.steps import rfc3339
from mainstay.schedules.check import LoadedSite, load_checked
from mainstay.schedules.clock.pulse import Pulse
from mainstay.schedules.clock.sweeping import Sweeper
from mainstay.schedules.occurrences import CLOCK
from mainstay.schedules.store.contract import ScheduleStore
from mainstay.schedules.store.memory import MemorySchedules
from mainstay.schedules.timing import Occurrence, timing_of

HOSTS = "hosts:\n  web1: {address: 10.9.0.11}\n  web2: {address: 10.9.0.12, timezone: Asia/Tokyo}\n"
NIGHT = '{on: daily, start: "02:00", duration: 3h, cutoff: 45m}'


def write(root: Path, windows: dict[str, str], plans: dict[str, str]) -> LoadedSite:
    texts = {
        "mainstay.yml": "site: acme\ntimezone: UTC\nssh: {user: ops}\n",
        "inventory/hosts.yml": HOSTS,
        "schedules/web.yml": "windows:\n"
        + "".join(f"  {name}: {text}\n" for name, text in windows.items())
        + "plans:\n"
        + "".join(f"  {name}: {text}\n" for name, text in plans.items()),
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_checked(root)


class Wall:
    """Can be set to anything. `awake` goes on with `pass_`, whatever the wall says."""

    def __init__(self, at: str) -> None:
        self.at = datetime.fromisoformat(at).astimezone(UTC)
        self.up = 1000.0

    def now(self) -> datetime:
        return self.at

    def pass_(self, **by: float) -> None:
        self.at += timedelta(**by)
        self.up += timedelta(**by).total_seconds()

    def step(self, **by: float) -> None:
        self.at += timedelta(**by)

    def awake(self) -> float:
        return self.up


class PutDown:
    """The gate of an occurrence: what is missed is sealed as missed; everything else is refused, for no host is there."""

    def __init__(self, request: RunRequest) -> None:
        self.occurrence = timing_of(request).occurrence

    def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
        said = self.occurrence.missed if self.occurrence else ""
        return Permission(answer="refuse", verdict="missed" if said else "refused", reason=said or "no host is there")


@dataclass
class Daemon:
    sweeper: Sweeper
    pulse: Pulse
    runs: Runs

    def round(self) -> None:
        self.pulse.look()
        self.sweeper.sweep_all()
        self.pulse.beat()


class ClockWorld:
    def __init__(self, root: Path, at: str, windows: dict[str, str], plans: dict[str, str]) -> None:
        self.root = root
        self.wall = Wall(at)
        self.world = World("web1")
        self.world.clock = self.wall  # type: ignore[assignment]  # told by words of its own
        self.store: ScheduleStore = MemorySchedules()
        self.loaded = write(root, windows, plans)

    def daemon(self, loaded: LoadedSite | None = None, **other: Any) -> Daemon:
        """Another process that keeps the clock: from now on, for the site as it is."""
        runs = self.world.runs()
        runs.tools.gate = PutDown
        store = other.get("store", self.store)
        sweeper = Sweeper(store, runs, self.wall, self.asking)
        pulse = Pulse(
            store,
            runs.tools,
            self.wall,
            self.asking,
            due=sweeper.due_within,
            down=sweeper.was_down,
            awake=self.wall.awake,
        )
        sweeper.adopt(loaded or self.loaded)
        return Daemon(sweeper, pulse, runs)

    def asking(self) -> Asking:
        return Asking(requested_by=CLOCK, trigger=CLOCK, asked_at=rfc3339(self.wall.now()), site_name="acme")

    def edit(self, windows: dict[str, str], plans: dict[str, str]) -> LoadedSite:
        self.loaded = write(self.root, windows, plans)
        return self.loaded

    def requests(self) -> list[RunRequest]:
        """Of the clock's runs, in the order in which they were put down."""
        return [RunRequest.from_json(row.request) for row in self.world.state.runs() if row.kind == "patch"]

    def occurrences(self) -> list[Occurrence]:
        found = [timing_of(request).occurrence for request in self.requests()]
        assert None not in found
        return [one for one in found if one is not None]

    def lines(self, schedule: str = "") -> list[str]:
        """`11-22 02:00 runs` (or `late`, `missed`), sorted."""
        return sorted(
            f"{one.at[5:10]} {one.at[11:16]} {'missed' if one.missed else 'late' if one.late else 'runs'}"
            for one in self.occurrences()
            if one.schedule.startswith(schedule)
        )

    def work(self, daemon: Daemon) -> dict[str, Summary]:
        """Let the runs that wait be worked on. Returns every record by the id of its run."""
        daemon.runs.engine.recover()
        return {entry.id: Summary.from_json(entry.body) for entry in self.world.ledger.entries()}


PLAN = "{targets: all, window: night}"
HOURLY = "{cron: '0 * * * *', duration: 30m}"


def frequent(root: Path, missed: str = "skip") -> ClockWorld:
    plan = f"{{targets: all, window: hourly, missed: '{missed}'}}"
    return ClockWorld(root, "2026-11-22T01:10:00Z", {"hourly": HOURLY}, {"patch": plan})

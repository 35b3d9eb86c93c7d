"""One process of the clock part: so many schedules are kept for some minutes of real time.

    python -m bench.clock_one WHO --schedules N --period 60 --minutes 2 --root DIR

WHO is `mainstay` (the sweeper, the watermarks and the runs' rows in SQLite, under the real APScheduler adapter; runs are put
down and not begun, what that costs is measured by the scale part) or `apscheduler` (its own cron triggers, whose jobs only
note when they ran). Each schedule is due once in `period` minutes (60 or 1440), spread over all of them. Prints one line of
JSON: load (of the site), start (the first ever), again (another start), in seconds of CPU; peak (MB); fires, lost, doubled;
p50, p99, worst (seconds late).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

PATIENCE = 120.0
"""Seconds after the last minute in which what is late may still come."""
AHEAD = 3.0
"""Seconds that have to be left until a full minute, for the first of them to count."""


class Noted:
    """What fired, how late, and whether everything did. Keyed by (schedule, minute)."""

    def __init__(self) -> None:
        self.late: dict[tuple[str, int], float] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def fired(self, schedule: str, at: float, now: float) -> None:
        with self._lock:
            key = (schedule, round(at))
            self.times[key] += 1
            self.late.setdefault(key, now - at)

    def wait(self, wanted: set[tuple[str, int]], last: float) -> dict[str, float]:
        """Until all of these have fired, or PATIENCE is over."""
        while time.time() < last or (not wanted <= self.late.keys() and time.time() < last + PATIENCE):
            time.sleep(0.1)  # this is a measurement by the real clock; what is waited for is counted
        found = sorted(self.late[key] for key in wanted if key in self.late) or [math.inf]
        return {
            "fires": len(found),
            "lost": len(wanted) - len(wanted & self.late.keys()),
            "doubled": sum(times - 1 for times in self.times.values()),
            "p50": median(found),
            "p99": found[math.ceil(0.99 * len(found)) - 1],
            "worst": found[-1],
        }


def wanted(minutes: list[int], period: int, started: float, count: int) -> tuple[set[tuple[str, int]], float]:
    """What has to fire in the next `count` full minutes after the start, and when the last of them is."""
    first = math.ceil((started + 0.001) / 60)
    due = {at % period: at * 60 for at in range(first, first + count)}
    return {(f"p{n}/w{m}", due[m]) for n, m in enumerate(minutes) if m in due}, (first + count - 1) * 60


def cron(minute: int, period: int) -> tuple[str, str]:
    """(minute, hour), in UTC."""
    return str(minute % 60), "*" if period == 60 else str(minute // 60)


def site(root: Path, minutes: list[int], period: int) -> Path:
    lines = {m: " ".join(cron(m, period)) for m in sorted(set(minutes))}
    windows = "".join(f'  w{m}: {{cron: "{at} * * *", duration: 20m, cutoff: 1m}}\n' for m, at in lines.items())
    plans = "".join(f"  p{n}: {{targets: h{n % 100}, window: w{m}}}\n" for n, m in enumerate(minutes))
    hosts = "".join(f"  h{n}: {{address: 10.9.0.{n}}}\n" for n in range(100))
    texts = {
        "mainstay.yml": "site: bench\ntimezone: UTC\nssh: {user: ops}\n",
        "inventory/hosts.yml": f"hosts:\n{hosts}",
        "schedules/all.yml": f"windows:\n{windows}plans:\n{plans}",
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def mainstay(
    minutes: list[int], period: int, root: Path, noted: Noted
) -> tuple[Callable[[], None], Callable[[], None]]:
    """(start, stop); what is loaded beforehand is not part of the start."""
    from mainstay.runner.ports import SystemClock
    from mainstay.runner.request import Asking, RunRequest
    from mainstay.runner.state.adapters.stores import open_state
    from mainstay.runner.state.contract import RunRow
    from mainstay.runner.steps import rfc3339
    from mainstay.schedules.check import load_checked
    from mainstay.schedules.clock.adapters.apscheduler import Clockwork
    from mainstay.schedules.clock.pulse import Pulse
    from mainstay.schedules.clock.sweeping import Sweeper
    from mainstay.schedules.store.adapters.sql import SqlSchedules
    from mainstay.schedules.timing import timing_of

    loaded = load_checked(root if root.exists() else site(root, minutes, period))
    stores = open_state("sqlite:///state/mainstay.db", root)
    clock, store = SystemClock(), SqlSchedules(stores.database)

    class PutDown:
        """In the place of the engine: a run is a row, and that is all."""

        tools: Any = SimpleNamespace(state=stores.state, ledger=stores.ledger)

        def submit(self, request: RunRequest) -> str:
            occurrence = timing_of(request).occurrence
            assert occurrence is not None
            row = {"id": request.id, "kind": request.kind, "plan": request.plan, "state": "preparing"}
            stores.state.add_run(RunRow(**row, request=request.to_json(), started_at=rfc3339(clock.now())))
            noted.fired(occurrence.schedule, datetime.fromisoformat(occurrence.at).timestamp(), time.time())
            return request.id

        def offer(self, run: str) -> bool:
            return True

        def tend(self) -> None: ...

    runs: Any = PutDown()
    asking = lambda: Asking(requested_by="clock", asked_at=rfc3339(clock.now()), trigger="clock")  # noqa: E731
    sweeper = Sweeper(store, runs, clock, asking)
    pulse = Pulse(store, runs.tools, clock, asking, due=sweeper.due_within)
    clockwork = Clockwork(sweeper, pulse)
    return (lambda: clockwork.start(loaded)), clockwork.stop


def apscheduler(
    minutes: list[int], period: int, root: Path, noted: Noted
) -> tuple[Callable[[], None], Callable[[], None]]:
    from apscheduler.executors.pool import ThreadPoolExecutor
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler
    from apscheduler.triggers.cron import CronTrigger

    defaults = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    pools = {"default": ThreadPoolExecutor(8)}
    scheduler = BackgroundScheduler(
        timezone=UTC, jobstores={"default": MemoryJobStore()}, executors=pools, job_defaults=defaults
    )

    def ran(schedule: str) -> None:
        # A job of it is not told what moment it stands for.
        now = time.time()
        noted.fired(schedule, now // 60 * 60, now)

    def start() -> None:
        for number, minute in enumerate(minutes):
            name = f"p{number}/w{minute}"
            at, hour = cron(minute, period)
            scheduler.add_job(ran, CronTrigger(minute=at, hour=hour, timezone=UTC), args=(name,), id=name)
        scheduler.start()

    return start, lambda: scheduler.shutdown(wait=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("who", choices=["mainstay", "apscheduler"])
    parser.add_argument("--schedules", type=int, required=True)
    parser.add_argument("--period", type=int, choices=[60, 1440], default=60)
    parser.add_argument("--minutes", type=int, default=2)
    parser.add_argument("--root", type=Path, required=True)
    options = parser.parse_args()
    noted = Noted()
    minutes = [number % options.period for number in range(options.schedules)]
    make = {"mainstay": mainstay, "apscheduler": apscheduler}[options.who]
    took: dict[str, float] = {}
    stop: Callable[[], None] | None = None
    for turn in ("start", "again"):
        if stop is not None:
            stop()
        began = time.process_time()
        start, stop = make(minutes, options.period, options.root, noted)
        loaded = time.process_time()
        start()
        took |= {"load": loaded - began, turn: time.process_time() - loaded}
    due, last = wanted(minutes, options.period, time.time() + AHEAD, options.minutes)
    found = noted.wait(due, last)
    assert stop is not None
    stop()
    peak = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    print(json.dumps({**took, "peak": int(peak.split()[1]) / 1024, **found}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()

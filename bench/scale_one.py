"""One process of the scale part: hosts that answer at once, so that what is left is mainstay's own cost.

    python -m bench.scale_one LEVEL --hosts N [--steps 10] [--parallel 50] [--state URL --root DIR] [--serve] [--profile FILE]

LEVEL is `peer` (DBOS alone: a parent and a child workflow of so many steps per host), `engine` (the same through mainstay's
engine) or `rollout` (the real rollout: waves, gates, state, ledger, artifacts; the hosts are fakes). Prints one line of JSON.
--serve: work for another process on the same state until stdin ends.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

READY = "ready"
QUEUE = "hosts"


def peer(options: argparse.Namespace, measured: Callable[[Callable[[], int]], None]) -> None:
    from dbos import DBOS

    @DBOS.step()
    def act(step: int) -> str:
        return "ok"

    @DBOS.workflow()
    def host(name: str) -> str:
        for step in range(options.steps):
            act(step)
        return name

    @DBOS.workflow()
    def rollout(names: list[str]) -> int:
        handles = [DBOS.enqueue_workflow(QUEUE, host, name) for name in names]
        return len([handle.get_result() for handle in handles])

    options.root.mkdir(parents=True, exist_ok=True)
    url = options.state or f"sqlite:///{options.root}/peer.db"
    if not options.state:
        import sqlite3

        sqlite3.connect(options.root / "peer.db").execute("PRAGMA journal_mode=WAL")
    DBOS(
        config={
            "name": "peer",
            "system_database_url": url,
            "executor_id": str(os.getpid()),
            "application_version": "1",
            "log_level": "ERROR",
            "notification_listener_polling_interval_sec": 0.1,
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=options.parallel, polling_interval_sec=0.1)
    measured(lambda: DBOS.start_workflow(rollout, [f"h{number}" for number in range(options.hosts)]).get_result())


def engine(options: argparse.Namespace, measured: Callable[[Callable[[], int]], None]) -> None:
    from mainstay.runner.engine.adapters.dbos import DbosEngine

    def host(context: Any, argument: Any) -> Any:
        options.children += 1
        for step in range(options.steps):
            context.step(f"s{step}", lambda: "ok")
        return argument

    def run(context: Any, argument: Any) -> Any:
        names = [f"{context.id}/{number}" for number in range(options.hosts)]
        handles = [context.enqueue("host", name, name, queue=context.id, parallel=options.parallel) for name in names]
        return len([handle.result() for handle in handles])

    one = DbosEngine(options.root, *([options.state] if options.state else []))
    one.register("host", host)
    one.register("run", run)
    one.launch(serve=bool(options.state))
    measured(lambda: int(one.start("run", "r1", None).result()))
    one.close()


def rollout(options: argparse.Namespace, measured: Callable[[Callable[[], int]], None]) -> None:
    from tests.unit.runner.machines import CalmUpkeep, Guest, Machine, ScriptedOperation

    from mainstay.runner.engine.adapters.dbos import DbosEngine
    from mainstay.runner.plan import PatchPlan
    from mainstay.runner.request import Asking, plan_request
    from mainstay.runner.runs import Runs
    from mainstay.runner.shell.fake import FakeShells
    from mainstay.runner.state.adapters.stores import open_state
    from mainstay.runner.toolbox import Toolbox

    stores = open_state(options.state or "sqlite:///mainstay.db", options.root)
    names = [f"h{number}" for number in range(options.hosts)]
    fakes = {name: Guest(name) for name in names}
    machines = {name: Machine(name, fakes[name], {"openssl": "1"}, {"openssl": "2"}) for name in names}
    tools = Toolbox(
        state=stores.state,
        ledger=stores.ledger,
        artifacts=stores.artifacts,
        shells=FakeShells(fakes.values()),
        upkeep=CalmUpkeep(machines),
        operations={"patch": lambda request: ScriptedOperation(machines)},
        matches=lambda selector, host: True,
    )
    runs = Runs(tools, DbosEngine(options.root, stores.engine_url if options.state else ""))
    runs.engine.launch(serve=bool(options.state))
    plan = PatchPlan.model_validate(
        {"name": "bench", "targets": "all", "waves": [1, "10%", "100%"], "parallel": options.parallel}
    )
    asking = Asking(requested_by="bench", asked_at="2026-01-01T00:00:00.000Z", site_name="bench")
    request = plan_request(plan, [fakes[name].host() for name in names], asking)

    def work() -> int:
        runs.submit(request)
        runs.complete(request.id)
        entry = stores.ledger.get(request.id)
        assert entry is not None
        assert entry.body["verdict"] == "succeeded", entry.body["reason"]
        return int(entry.body["counts"]["succeeded"])

    measured(work)
    runs.engine.close()
    stores.close()


def _peak() -> float:
    """MB. Of this program alone: what getrusage says holds the process that started it, too (proc(5), VmHWM)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("level", choices=["peer", "engine", "rollout"])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=50)
    parser.add_argument("--state", default="", help="a PostgreSQL URL; SQLite in --root where not given")
    parser.add_argument("--root", type=Path, required=True, help="an empty folder")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--profile", type=Path)
    parser.set_defaults(children=0)
    options = parser.parse_args()

    def measured(work: Callable[[], int]) -> None:
        if options.serve:
            before = time.process_time()
            print(READY, flush=True)
            sys.stdin.read()
            done, seconds, cpu = 0, 0.0, time.process_time() - before
        else:
            before, began = time.process_time(), time.perf_counter()
            profile = _profile(options.profile)
            done = work()
            seconds, cpu = time.perf_counter() - began, time.process_time() - before
            _top(profile, options.profile)
            assert done == options.hosts, f"{done} of {options.hosts} hosts"
        peak = _peak()
        found = {"wall": seconds, "cpu": cpu, "peak": peak, "hosts": done, "children": options.children}
        print(json.dumps(found), flush=True)

    {"peer": peer, "engine": engine, "rollout": rollout}[options.level](options, measured)
    sys.stdout.flush()
    os._exit(0)  # DBOS keeps threads that nobody waits for


def _profile(into: Path | None) -> list[cProfile.Profile]:
    """Of every thread that begins from now on."""
    found: list[cProfile.Profile] = []
    if into is None:
        return found
    real = threading.Thread.run

    def run(self: threading.Thread) -> None:
        mine = cProfile.Profile(time.thread_time)
        found.append(mine)
        try:
            mine.runcall(real, self)
        finally:
            mine.disable()

    threading.Thread.run = run  # type: ignore[method-assign]
    return found


def _top(found: list[cProfile.Profile], into: Path | None) -> None:
    if into is None:
        return
    with into.open("w") as file:
        stats: pstats.Stats | None = None
        for one in list(found):
            try:
                one.create_stats()
                stats = pstats.Stats(one, stream=file) if stats is None else (stats.add(one) or stats)
            except (TypeError, ValueError):
                continue  # a thread that never ran, or is still at it
        if stats is not None:
            stats.sort_stats("cumulative").print_stats(70)
            stats.sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()

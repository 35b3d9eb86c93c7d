"""A process with an engine, for tests that kill, freeze and cut it off:
`python engine_process.py STORE LOG start|recover|leave|idle|submit|serve [options]`. STORE: a folder, or `postgresql://…`.

Each line of LOG is appended in one write, so that what was repeated or lost can be counted whatever dies in between:
`begin|end|kept executor workflow step seconds`; kept: the step's result came back from the engine, new or replayed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, EngineStopped, JsonValue
from mainstay.runner.engine.liveness import Timing

RUN = "r1"
LOST = 75


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("log", type=Path)
    parser.add_argument("mode", choices=["start", "recover", "leave", "idle", "submit", "serve"])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--hosts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--lease", type=float, default=30.0)
    parser.add_argument("--version", default="1")
    return parser.parse_args()


class Process:
    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        shared = asked.store.startswith("postgresql")
        timing = Timing(lease=asked.lease, give_up=asked.lease * 2 / 3, beat=min(1.0, asked.lease / 10))
        directory = asked.log.parent if shared else Path(asked.store)
        self.engine = DbosEngine(directory, asked.store if shared else "", version=asked.version, timing=timing)
        self.engine.register("host", self.host)
        self.engine.register("run", self.run)

    def note(self, *words: object) -> None:
        number = os.open(self.asked.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(number, (" ".join(str(word) for word in (*words, f"{time.monotonic():.3f}")) + "\n").encode())
        os.close(number)

    def host(self, ctx: Context, argument: JsonValue) -> JsonValue:
        def work(step: int) -> JsonValue:
            self.note("begin", self.engine.executor, ctx.id, step)
            time.sleep(self.asked.seconds)  # the work itself
            self.note("end", self.engine.executor, ctx.id, step)
            return step

        for step in range(argument["steps"]):
            ctx.step(f"s{step}", lambda step=step: work(step))  # type: ignore[misc]  # bound now
            self.note("kept", self.engine.executor, ctx.id, step)
        return argument["steps"]

    def run(self, ctx: Context, argument: JsonValue) -> JsonValue:
        names = [f"{ctx.id}/h{number}" for number in range(argument["hosts"])]
        parallel = argument["parallel"]
        handles = [ctx.enqueue("host", name, argument, queue=ctx.id, parallel=parallel) for name in names]
        return sum(handle.result() for handle in handles)

    @property
    def argument(self) -> JsonValue:
        return {name: getattr(self.asked, name) for name in ("hosts", "steps", "parallel")}

    def go(self) -> int:
        mode = self.asked.mode
        self.engine.launch(serve=mode == "serve")
        say("LAUNCHED", self.engine.executor)
        if mode in ("idle", "leave", "recover"):
            say("RECOVERED", len(self.engine.recover()))
        if mode == "serve":
            return self.serve()
        if mode == "submit":
            for number in range(1, self.asked.runs + 1):
                self.engine.submit("run", f"r{number}", self.argument)
        elif mode == "idle":
            sys.stdin.read()
        else:
            handle = self.engine.start("run", RUN, self.argument)
            if mode == "leave":
                self.leave()
                return 0
            try:
                say("RESULT", handle.result(120))
            except EngineStopped:
                say("STOPPED")
        self.engine.close()
        return 0

    def leave(self) -> None:
        """While every host that has its turn is in a step."""
        log, begin = self.asked.log, f"begin {self.engine.executor} "
        while not log.exists() or log.read_text().count(begin) < self.asked.parallel:
            time.sleep(0.01)
        self.engine.close(wait=0.1)
        say("LEFT")

    def serve(self) -> int:
        """As a worker does: until it is told to end, or has lost its hold."""
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda number, frame: told.set())
        while not told.is_set() and not self.engine.lost.wait(0.05):
            pass
        lost = self.engine.lost.is_set()
        say("LOST" if lost else "ENDING")
        self.engine.close(wait=3.0)
        return LOST if lost else 0


def say(*words: object) -> None:
    print(*words, flush=True)


if __name__ == "__main__":
    code = Process(options()).go()
    sys.stdout.flush()
    os._exit(code) if code else sys.exit(0)

"""A process with an engine, for tests that kill it: `python engine_process.py STATE LOG start|recover|leave|idle [options]`.

Every step appends `begin|end executor workflow step` to LOG in one write, so that what was repeated or lost can be counted
whatever dies in between.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, JsonValue

RUN = "r1"


def note(log: Path, *words: object) -> None:
    number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(number, (" ".join(str(word) for word in words) + "\n").encode())
    os.close(number)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("mode", choices=["start", "recover", "leave", "idle"])
    parser.add_argument("--hosts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--parallel", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.05)
    options = parser.parse_args()
    engine = DbosEngine(options.state)

    def host(ctx: Context, argument: JsonValue) -> JsonValue:
        def work(step: int) -> JsonValue:
            note(options.log, "begin", engine.executor, ctx.id, step)
            time.sleep(options.seconds)  # the work itself
            note(options.log, "end", engine.executor, ctx.id, step)
            return step

        return [ctx.step(f"s{step}", lambda step=step: work(step)) for step in range(options.steps)]  # type: ignore[misc]

    def run(ctx: Context, argument: JsonValue) -> JsonValue:
        names = [f"{ctx.id}/h{number}" for number in range(options.hosts)]
        handles = [ctx.enqueue("host", name, None, queue=ctx.id, parallel=options.parallel) for name in names]
        return sum(len(handle.result()) for handle in handles)

    engine.register("host", host)
    engine.register("run", run)
    engine.launch()
    print("LAUNCHED", engine.executor, flush=True)
    if options.mode == "idle":
        print("RECOVERED", len(engine.recover()), flush=True)  # as `serve` does; there is nothing to take over
        sys.stdin.read()
    elif options.mode == "leave":
        print("RECOVERED", len(engine.recover()), flush=True)
        engine.start("run", RUN, None)
        while not options.log.exists() or f"begin {engine.executor}" not in options.log.read_text():
            time.sleep(0.01)
        engine.close(wait=0.1)
        print("LEFT", flush=True)
    else:
        if options.mode == "recover":
            print("RECOVERED", len(engine.recover()), flush=True)
        print("RESULT", engine.start("run", RUN, None).result(120), flush=True)
    engine.close()


if __name__ == "__main__":
    main()

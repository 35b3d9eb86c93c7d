"""What keeping records and checkpoints costs; the work is in ledger.py.

scripts/bench records [--entries 10000] [--rounds 3]
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from bench.options import options
from bench.table import Part, dump


def main() -> None:
    chosen = options(
        __doc__,
        entries=10_000,
        appends=500,
        hosts=100,
        rounds=3,
        quick={"entries": 60, "appends": 20, "hosts": 5, "rounds": 1},
    )
    sizes = [f"--{name}={getattr(chosen, name)}" for name in ("entries", "appends", "hosts")]
    program: list[str | Path] = [sys.executable, Path(__file__).with_name("ledger.py"), "--json", *sizes]
    rounds = []
    for _ in range(chosen.rounds):
        done = subprocess.run(program, stdout=subprocess.PIPE, check=True)
        rounds.append(json.loads(done.stdout))
    part = Part(
        title="Records and checkpoints",
        repeat=f"scripts/bench records --rounds {chosen.rounds}",
        head=("", "median"),
        rows=[[name, f"{median(one[name] for one in rounds):,.1f}"] for name in rounds[0]],
        notes=(
            f"A ledger of {chosen.entries:,} entries, each record with 5 hosts of 8 steps; {chosen.hosts} host workflows of "
            "10 steps, 20 at once. Nothing is spared: synchronous=FULL, and the anchor is synced after each seal.",
        ),
    )
    print(dump([part]))


if __name__ == "__main__":
    main()

"""What a host costs mainstay itself, and how that grows with their number; each case in a process of its own.

scripts/bench scale [--few 1000] [--many 10000]
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.options import options
from bench.table import Part, dump

ROOT = Path(__file__).resolve().parent.parent
STEPS, PARALLEL = 10, 50
Found = dict[str, float]


def alone(level: str, hosts: int, root: Path, *more: str) -> Found:
    """One process on SQLite in this folder, which is not there yet."""
    root.mkdir()
    argv = _argv(level, hosts, root, *more)
    return _last(subprocess.run(argv, cwd=ROOT, env=_unwatched(), stdout=subprocess.PIPE, check=True).stdout)


def two_workers(level: str, hosts: int, url: str, root: Path) -> tuple[Found, Found]:
    """One process that asks for the run and works, and one that works beside it, on a PostgreSQL database (empty, password
    in its URL). Returns what each of them cost."""
    (root / "second").mkdir(parents=True)
    (root / "first").mkdir()
    pipe = subprocess.PIPE
    argv = _argv(level, hosts, root / "second", "--state", url, "--serve")
    with subprocess.Popen(argv, cwd=ROOT, env=_unwatched(), stdin=pipe, stdout=pipe) as second:
        assert second.stdin is not None and second.stdout is not None
        assert second.stdout.readline().strip() == b"ready", "the second worker did not start"
        argv = _argv(level, hosts, root / "first", "--state", url)
        first = subprocess.run(argv, cwd=ROOT, env=_unwatched(), stdout=pipe, check=True)
        second.stdin.close()
        return _last(first.stdout), _last(second.stdout.read())


def _unwatched() -> dict[str, str]:
    """The environment without what makes coverage watch a process: what is measured is not slowed down."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def _argv(level: str, hosts: int, root: Path, *more: str) -> list[str]:
    sizes = [f"--hosts={hosts}", f"--steps={STEPS}", f"--parallel={PARALLEL}", f"--root={root}"]
    return [sys.executable, "-m", "bench.scale_one", level, *sizes, *more]


def _last(printed: bytes) -> Found:
    found: Found = json.loads(printed.decode().splitlines()[-1])
    return found


def main() -> None:
    chosen = options(__doc__, few=1000, many=10_000, quick={"few": 20, "many": 60})
    cases = {
        "DBOS alone, SQLite": "peer",
        "mainstay's engine, SQLite": "engine",
        "a whole rollout, SQLite": "rollout",
    }
    rows = []
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        for name, level in cases.items():
            sizes = {
                hosts: alone(level, hosts, Path(folder) / f"{level}-{hosts}") for hosts in (chosen.few, chosen.many)
            }
            rows.append(_row(name, sizes))
            print(rows[-1], file=sys.stderr, flush=True)
        rows += _on_postgresql(Path(folder), (chosen.few, chosen.many))
    part = Part(
        title="Scale",
        repeat=f"scripts/bench scale --few {chosen.few} --many {chosen.many}",
        head=(
            "",
            f"{chosen.few:,} hosts",
            f"{chosen.many:,} hosts",
            "CPU a host",
            "grows as hosts to the",
            "peak memory",
        ),
        rows=rows,
        notes=(
            f"Simulated hosts that answer at once, {PARALLEL} at a time: what is left is the controller's own cost. DBOS alone "
            f"and the engine: a parent and a child workflow of {STEPS} steps for each host. A whole rollout: survey, three waves "
            "with their gates, 15 steps for each host, parts, ledger and artifacts.",
            "With two workers, wall time is of the one that was asked, CPU is of both together, memory of the larger one.",
        ),
    )
    print(dump([part]))


def _on_postgresql(folder: Path, sizes: tuple[int, int]) -> list[list[str]]:
    from tests.servers.postgres import running

    found = {}
    with running() as server:
        for hosts in sizes:
            url = server.url(server.database()).replace("mainstay@", f"mainstay:{server.PASSWORD}@")
            first, second = two_workers("engine", hosts, url, folder / f"postgresql-{hosts}")
            found[hosts] = {
                **first,
                "cpu": first["cpu"] + second["cpu"],
                "peak": max(first["peak"], second["peak"]),
            }
    return [_row("mainstay's engine, two workers on PostgreSQL", found)]


def _row(name: str, sizes: dict[int, Found]) -> list[str]:
    (few, one), (many, other) = sizes.items()
    grows = math.log(other["cpu"] / one["cpu"]) / math.log(many / few)
    return [
        name,
        f"{one['wall']:.1f} s",
        f"{other['wall']:.1f} s",
        f"{other['cpu'] / many * 1000:.1f} ms",
        f"{grows:.2f}",
        f"{other['peak']:.0f} MB",
    ]


if __name__ == "__main__":
    main()

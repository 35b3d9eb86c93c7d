"""How many schedules the clock keeps, and how late it is: mainstay's beside plain APScheduler with its own cron triggers.

scripts/bench clock [--schedules 10000] [--minutes 2]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.options import options
from bench.table import Part, dump

ROOT = Path(__file__).resolve().parent.parent
CASES = {
    "mainstay's clock, each daily": ("mainstay", 1440),
    "mainstay's clock, each hourly": ("mainstay", 60),
    "APScheduler's cron triggers, each hourly": ("apscheduler", 60),
}
Found = dict[str, float]


def alone(who: str, period: int, schedules: int, minutes: int, root: Path) -> Found:
    """One process, that keeps so many schedules for so many full minutes. root: a folder that is not there yet."""
    argv = [sys.executable, "-m", "bench.clock_one", who, f"--schedules={schedules}", f"--minutes={minutes}"]
    argv.append(f"--period={period}")
    done = subprocess.run([*argv, f"--root={root}"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: Found = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def main() -> None:
    chosen = options(__doc__, schedules=10_000, minutes=2, quick={"schedules": 2880, "minutes": 1})
    rows = []
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        for name, (who, period) in CASES.items():
            found = alone(who, period, chosen.schedules, chosen.minutes, Path(folder) / f"{who}-{period}")
            rows.append(_row(name, found))
            print(rows[-1], file=sys.stderr, flush=True)
    part = Part(
        title=f"{chosen.schedules:,} schedules",
        repeat=f"scripts/bench clock --schedules {chosen.schedules} --minutes {chosen.minutes}",
        head=(
            "",
            "site read",
            "first start",
            "start",
            "peak memory",
            "openings",
            "median late",
            "99 % at most",
            "worst",
        ),
        rows=rows,
        notes=(
            f"Spread over all minutes, so that {chosen.schedules // 1440:,} or {chosen.schedules // 60:,} windows open in the same "
            "second of each minute; late is how long after that the run is put down. Nothing was lost, and nothing came twice.",
            "mainstay writes the run and the watermark to the disk for each of them (synchronous=FULL); the job of APScheduler "
            "only notes the time, in memory. Runs are put down and not begun: what that costs is said under Scale.",
            "At the first start ever a watermark is written for each schedule; later starts read them. Aim: under 1 s late, "
            "under 300 MB.",
        ),
    )
    print(dump([part]))


def _row(name: str, found: Found) -> list[str]:
    assert not found["lost"], f"{name}: {found['lost']:.0f} openings were lost"
    assert not found["doubled"], f"{name}: {found['doubled']:.0f} openings came twice"
    late = [f"{found[word]:.2f} s" for word in ("p50", "p99", "worst")]
    starts = [f"{found[word]:.1f} s" for word in ("load", "start", "again")]
    return [name, *starts, f"{found['peak']:.0f} MB", f"{found['fires']:.0f}", *late]


if __name__ == "__main__":
    main()

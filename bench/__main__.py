"""Measures mainstay against what a user would pick instead, and writes the page.

scripts/bench                          everything; writes docs/reference/measured.md
scripts/bench PART [its options]       one part; prints its tables
scripts/bench --quick                  small, prints all tables: shows that it works, measures nothing
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.peers import THERE, versions
from bench.table import Part, load

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "reference" / "measured.md"
PARTS = ("startup", "records", "fanout", "rollout")
ROOMS = ("inventory", "runner", "recovery", "schedules", "console")

HEAD = """\
# Measured

Written by `scripts/bench` on {date}, on this machine alone: {machine}, load average {load} before the first part.
{versions}.

What counts is the ratio: in each round everybody runs once, one after the other, on the same hosts; the figures are the
medians of the rounds. CPU is user and system time of the program's whole process tree on the controller. Peak memory is
that of the largest single process.

"""


def run(part: str, options: list[str]) -> list[Part]:
    """One part, in a process of its own; its progress goes to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{part}", *options], cwd=HERE, stdout=subprocess.PIPE, check=True
    )
    return load(done.stdout.decode())


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name = release["PRETTY_NAME"].strip('"')
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, {name}, Linux {os.uname().release}"


def main(argv: list[str]) -> int:
    if not THERE.is_dir():
        print("bench: the other programs are not installed yet; scripts/bench does that", file=sys.stderr)
        return 2
    # Installed packages are compiled when they are installed; ours runs from its folders.
    for room in ROOMS:
        compileall.compile_dir(HERE / room, quiet=2)
    everything = not argv or argv[0] not in PARTS
    head = HEAD.format(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=machine(),
        load=f"{os.getloadavg()[0]:.1f}",
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
    )
    parts = [found for part in PARTS for found in run(part, argv)] if everything else run(argv[0], argv[1:])
    text = "\n".join(part.markdown() for part in parts)
    if everything and not argv:
        PAGE.write_text(head + text)
        print(f"written: {PAGE.relative_to(HERE)}", file=sys.stderr)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

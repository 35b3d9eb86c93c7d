"""Measures mainstay against what a user would pick instead, and writes the page.

scripts/bench                            everything; writes docs/reference/measured.md
scripts/bench PART [--write] [options]   one part; prints its tables; --write: and puts them into the page
scripts/bench --quick                    small, prints all tables: shows that it works, measures nothing
"""

from __future__ import annotations

import compileall
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.peers import THERE, versions
from bench.table import load

HERE = Path(__file__).resolve().parent.parent
PAGE = HERE / "docs" / "reference" / "measured.md"
PARTS = ("startup", "records", "scale", "clock", "fanout", "rollout", "backup")
ROOMS = ("inventory", "runner", "recovery", "schedules", "console")

HEAD = """\
# Measured

Written by `scripts/bench`, on this machine alone: {machine}. {versions}.

What counts is the ratio: in each round everybody runs once, one after the other, on the same hosts; the figures are the
medians of the rounds. CPU is user and system time of the program's whole process tree on the controller. Peak memory is
that of the largest single process.

"""
SECTION = re.compile(r"<!-- (\w+) -->\n(.*?)(?=<!-- |\Z)", re.DOTALL)


def run(part: str, options: list[str]) -> str:
    """The tables of one part, run in a process of its own; its progress goes to stderr."""
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load average {os.getloadavg()[0]:.1f} when it began"
    program = [sys.executable, "-m", f"bench.{part}", *options]
    done = subprocess.run(program, cwd=HERE, stdout=subprocess.PIPE, check=True)
    return "".join(
        replace(one, notes=(*one.notes, f"Measured {began}.")).markdown() + "\n" for one in load(done.stdout.decode())
    )


def write(tables: Mapping[str, str]) -> None:
    """Put the tables of those parts into the page; the others stay as they are."""
    sections = dict(SECTION.findall(PAGE.read_text())) if PAGE.exists() else {}
    sections |= tables
    told = ", ".join(f"{name} {version}" for name, version in versions().items())
    body = "".join(f"<!-- {part} -->\n{sections[part]}" for part in PARTS if part in sections)
    PAGE.write_text(HEAD.format(machine=machine(), versions=told) + body.rstrip() + "\n")
    print(f"written: {PAGE.relative_to(HERE)}", file=sys.stderr)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    name = release["PRETTY_NAME"].strip('"')
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GB, {name}, Linux {os.uname().release.partition('-')[0]}"


def main(argv: list[str]) -> int:
    if not THERE.is_dir():
        print("bench: the other programs are not installed yet; scripts/bench does that", file=sys.stderr)
        return 2
    # Installed packages are compiled when they are installed; ours runs from its folders.
    for room in ROOMS:
        compileall.compile_dir(HERE / room, quiet=2)
    part = argv.pop(0) if argv and argv[0] in PARTS else None
    keep = not argv if part is None else "--write" in argv
    options = [word for word in argv if word != "--write"]
    tables = {name: run(name, options) for name in ([part] if part else PARTS)}
    print("".join(tables.values()))
    if keep:
        write(tables)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

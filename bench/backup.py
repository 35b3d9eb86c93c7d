"""Backups of one real host with two gigabytes of files: mainstay's against restic alone and borgmatic, and restores of them.

    scripts/bench backup [--size 2G] [--rounds 1] [--quick]

In each round everybody has a repository of its own, new, and takes the same files: once for the first time, three times when
nothing has changed, and twice when the hundredth part has. Who begins is another one each time.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench import backup_tree
from bench.backup_tools import DATA, Bench, Borgmatic, Both, Mainstay, Restic, Served, Tool, rest
from bench.measure import Cost, middle
from bench.spent import Spent, spent
from bench.table import Part, dump
from tests.contract.sshd import sshd
from tests.fleet.fleet import temporary
from tests.fleet.system import FleetError
from tests.servers.restic import folder as folder_of_programs
from tests.servers.restic import restic

CHANGED = "1 % changed"
PHASES = {"first": 1, "nothing changed": 3, CHANGED: 2}
"""How often in each round: what takes seconds has to be seen more than once."""
RESTORES = ("restore onto the controller", "restore onto the host")
DIRECT, THROUGH, ALONE, TUNNEL = "mainstay", "mainstay through the controller", "restic alone", "restic alone by ssh -R"
SERVED = "mainstay, begun by the daemon"
PEERS = {DIRECT: ALONE, SERVED: ALONE, THROUGH: TUNNEL}
"""What each way of mainstay's is held against."""
HEAD = ("", "wall", "ratio", "CPU", "ratio")
AIM = 1.05
Each = TypeVar("Each")
Found = Mapping[tuple[str, str], Sequence[Cost]]
Records = Mapping[tuple[str, str], Sequence[Spent]]
"""(phase, mainstay's way) → what became of the time of each run."""


def measured(bench: Bench, tools: Sequence[Tool], rounds: int) -> tuple[Found, Records]:
    """(phase, tool) → its cost each time."""
    found: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    records: dict[tuple[str, str], list[Spent]] = defaultdict(list)
    data = bench.host.root / DATA.lstrip("/")
    for turn in range(rounds):
        for tool in tools:
            tool.new(turn)
        for phase, times in PHASES.items():
            for number in range(turn * times, (turn + 1) * times):
                if phase == CHANGED:
                    backup_tree.change(data, number)
                for tool in turned(tools, number):
                    cost = tool.back_up()
                    note(found, phase, tool.name, cost)
                    if isinstance(tool, Mainstay):
                        records[phase, tool.name].append(spent(tool.record(), cost.wall, cost.began))
        for phase in RESTORES:
            onto_host = phase == RESTORES[-1]
            for tool in turned(restoring(tools), turn):
                note(found, phase, tool.name, tool.restore(host=onto_host))
        for path in bench.kept.iterdir():
            shutil.rmtree(path)
    return found, records


def note(found: dict[tuple[str, str], list[Cost]], phase: str, name: str, cost: Cost) -> None:
    found[phase, name].append(cost)
    told = f"round {len(found[phase, name])}, {phase}, {name}: {cost.wall:.2f} s wall, {cost.cpu:.2f} s cpu"
    print(told, file=sys.stderr, flush=True)


def turned(tools: Sequence[Each], turn: int) -> Sequence[Each]:
    first = turn % len(tools) if tools else 0
    return [*tools[first:], *tools[:first]]


def restoring(tools: Sequence[Tool]) -> Sequence[Both]:
    """The way back is the same for both ways of each."""
    return [tool for tool in tools if isinstance(tool, (Mainstay, Restic)) and tool.name in (DIRECT, ALONE)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios of each time: what the machine did meanwhile met both."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def table(found: Found, phase: str, names: Sequence[str]) -> list[list[str]]:
    base = middle(found[phase, ALONE])
    rows = []
    for name in names:
        if (phase, name) in found:
            cost = middle(found[phase, name])
            wall, cpu = cost.wall / base.wall, cost.cpu / base.cpu
            rows.append([f"{phase}: {name}", f"{cost.wall:.2f} s", f"{wall:.2f}", f"{cost.cpu:.2f} s", f"{cpu:.2f}"])
    return rows


def against(found: Found) -> Iterator[str]:
    for ours, theirs in PEERS.items():
        told = []
        for phase in (*PHASES, *RESTORES):
            if (phase, ours) not in found:
                continue
            one, other = found[phase, ours], found[phase, theirs]
            more = middle(one).wall - middle(other).wall
            wall = ratio([cost.wall for cost in one], [cost.wall for cost in other])
            cpu = ratio([cost.cpu for cost in one], [cost.cpu for cost in other])
            told.append(f"{phase} {wall:.2f} ({more:+.1f} s; CPU {cpu:.2f})")
        yield f"{ours} against {theirs}, medians of the ratios of each time: {', '.join(told)}. Aim: under {AIM}."


def jobs(found: Found, records: Records) -> list[list[str]]:
    """What is left of the difference when only the job on the host counts."""
    rows = []
    for (phase, way), runs in records.items():
        job = [one.steps["apply"][0] for one in runs]
        alone = [cost.wall for cost in found[phase, PEERS[way]]]
        around = median(one.wall - span for one, span in zip(runs, job, strict=True))
        rows.append(
            [
                f"{phase}: {way}",
                f"{median(job):.2f} s",
                f"{median(alone):.2f} s",
                f"{ratio(job, alone):.2f}",
                f"{around:.2f} s",
            ]
        )
    return rows


def steps(records: Records, way: str) -> list[list[str]]:
    """Medians, of what a run takes whatever there is to back up."""
    rows: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in PHASES])
    for column, phase in enumerate(PHASES):
        for one in records[phase, way]:
            rows["survey and start-up"][column].append(one.start)
            for name, (union, _) in one.steps.items():
                rows[name][column].append(union)
            rows["between steps"][column].append(one.between)
            rows["after the last step (sealing)"][column].append(one.end)
    return [[name, *(f"{median(one):.2f} s" if one else "" for one in row)] for name, row in rows.items()]


@contextmanager
def world(folder: Path, size: int) -> Iterator[tuple[Bench, list[Tool], list[str]]]:
    """One host with its files, a REST server, and who backs it up. Also what a reader has to know."""
    with ExitStack() as stack:
        fleet = stack.enter_context(temporary())
        host = fleet.pristine(1)[0]
        roomy = shutil.disk_usage("/dev/shm").free > 6 * size
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm" if roomy else folder)))
        server = stack.enter_context(rest(kept, fleet.network.gateway, folder / "rest.log"))
        bench = Bench(fleet, host, folder, kept, server)
        shutil.copy2(restic(), host.root / "usr/local/bin/restic")
        files = backup_tree.make(host.root / DATA.lstrip("/"), size)
        notes = [f"{files:,} files, up to 256 MB, {size / 2**30:.1f} GB; about half of it compresses."]
        tools: list[Tool] = [Mainstay(bench, DIRECT, "direct", server.url("m{turn}")[:-1]), Restic(bench, ALONE)]
        tools += [Served(bench, SERVED, "served", server.url("s{turn}")[:-1])]
        tools += [Mainstay(bench, THROUGH, "through", f"{kept}/p{{turn}}"), Restic(bench, TUNNEL, tunnel=True)]
        if shutil.which("borg"):
            folder_of = folder / "sshd"
            folder_of.mkdir()
            peer = Borgmatic(
                bench, stack.enter_context(sshd(folder_of, more=f"ListenAddress {fleet.network.gateway}\n"))
            )
            try:
                peer.install()
                tools.append(peer)
            except FleetError as error:
                notes.append(f"borgmatic could not be had: {str(error).splitlines()[0]}")
        else:
            notes.append("borgmatic was left out: there is no borg here (apt-get install borgbackup).")
        notes.append("resticprofile was left out: Debian has none, and PyPI only its predecessor of 2019 (0.5.2).")
        notes.append(
            "The repositories are in memory, so that no disk is waited for."
            if roomy
            else "The repositories are on disk."
        )
        yield bench, tools, notes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=sized)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="small: shows that it works, measures nothing")
    chosen = parser.parse_args()
    size = chosen.size or (100 << 20 if chosen.quick else 2 << 30)
    rounds = chosen.rounds or 1
    os.environ["PATH"] = f"{folder_of_programs()}:{os.environ['PATH']}"
    with (
        tempfile.TemporaryDirectory(prefix="mainstay-bench-") as name,
        world(Path(name), size) as (bench, tools, notes),
    ):
        found, records = measured(bench, tools, rounds)
    print(dump(parts(found, records, tools, notes, f"scripts/bench backup --size {size >> 20}M --rounds {rounds}")))


def parts(found: Found, records: Records, tools: Sequence[Tool], notes: Sequence[str], again: str) -> list[Part]:
    names = [tool.name for tool in tools]
    ways = [tool.name for tool in tools if isinstance(tool, Mainstay)]
    version = subprocess.run([restic(), "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    made = [
        Part(
            title="Backup of one host, and restore",
            repeat=again,
            head=HEAD,
            rows=[row for phase in (*PHASES, *RESTORES) for row in table(found, phase, names)],
            notes=(
                *against(found),
                f"Ratios in the table: how many times as much as restic alone takes. restic {version} everywhere, with the same "
                "options, as nice, and with a cache of its own that is empty at first; to a REST server on the controller, the "
                "host's 1 % over the same network. CPU is that of everything, also on the host and of the server.",
                f"{SERVED}: from when its run is put down for a daemon that is up and has done a run before, until its record is "
                "sealed, as the record and the file of the ledger's anchor tell; CPU is of the daemon, the host and the server. "
                "Otherwise mainstay is the whole command (mainstay run), from its first import to its end, with no daemon up.",
                *notes,
            ),
        ),
        Part(
            title="The job on the host, and what is around it",
            repeat=again,
            head=("", "job", "restic alone", "ratio", "around the job"),
            rows=jobs(found, records),
            notes=(
                "The job counts until its end is noticed; restic alone with its SSH connection, and through a forward where "
                "mainstay's way is through the controller.",
                "What is around the job reads none of the data, and so does not grow with it: start-up, survey, lock, looking at "
                "the host, asking the repository before and after (restic on the controller, which derives its key anew "
                "each time, half a second; before the job that is done beside start-up), sealing.",
            ),
        ),
    ]
    for way in ways:
        made.append(
            Part(
                title=f"Where the wall clock goes: {way}",
                repeat=again,
                head=("step", *PHASES),
                rows=steps(records, way),
                notes=("apply is the job on the host, restic's own time and the wait until its end is noticed.",),
            )
        )
    return made


def sized(text: str) -> int:
    """2G, 500M → bytes."""
    found = re.fullmatch(r"(\d+)([MG])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: a number and M or G, as 2G")
    return int(found[1]) << {"M": 20, "G": 30}[found[2]]


if __name__ == "__main__":
    main()

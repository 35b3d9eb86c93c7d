"""Backups of one real host with two gigabytes of files: mainstay's against restic alone and borgmatic, and restores of them.

    scripts/bench backup [--size 2G] [--rounds 3] [--quick]

In each round everybody has a repository of its own, new, and takes the same files three times: for the first time, when nothing
has changed, and when the hundredth part has. Who begins is another one in each round.
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

from bench import backup_tree
from bench.backup_tools import DATA, Bench, Borgmatic, Mainstay, Restic, Tool, rest
from bench.measure import Cost, middle
from bench.spent import spent
from bench.table import Part, dump
from tests.contract.sshd import sshd
from tests.fleet.fleet import temporary
from tests.fleet.system import FleetError
from tests.servers.restic import folder as folder_of_programs
from tests.servers.restic import restic

PHASES = ("first", "nothing changed", "1 % changed")
RESTORES = ("restore onto the controller", "restore onto the host")
DIRECT, THROUGH, ALONE, TUNNEL = "mainstay", "mainstay through the controller", "restic alone", "restic alone by ssh -R"
PEERS = {DIRECT: ALONE, THROUGH: TUNNEL}
"""What each way of mainstay's is held against."""
HEAD = ("", "wall", "ratio", "CPU", "ratio")
AIM = 1.05
Found = Mapping[tuple[str, str], Sequence[Cost]]


def measured(bench: Bench, tools: Sequence[Tool], rounds: int) -> Found:
    """(phase, tool) → its cost in each round."""
    found: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    data = bench.host.root / DATA.lstrip("/")
    for turn in range(rounds):
        for tool in tools:
            tool.new(turn)
        for phase in PHASES:
            if phase == PHASES[-1]:
                backup_tree.change(data, turn)
            for tool in turned(tools, turn):
                note(found, phase, tool.name, tool.back_up())
        for phase in RESTORES:
            onto_host = phase == RESTORES[-1]
            for tool in turned(restoring(tools, host=onto_host), turn):
                note(found, phase, tool.name, tool.restore(host=onto_host))
        for path in bench.kept.iterdir():
            shutil.rmtree(path)
    return found


def note(found: dict[tuple[str, str], list[Cost]], phase: str, name: str, cost: Cost) -> None:
    found[phase, name].append(cost)
    told = f"round {len(found[phase, name])}, {phase}, {name}: {cost.wall:.2f} s wall, {cost.cpu:.2f} s cpu"
    print(told, file=sys.stderr, flush=True)


def turned(tools: Sequence[Tool], turn: int) -> Sequence[Tool]:
    first = turn % len(tools) if tools else 0
    return [*tools[first:], *tools[:first]]


def restoring(tools: Sequence[Tool], *, host: bool) -> Sequence[Tool]:
    """The way back is the same for both ways of each; borg is on the host alone."""
    return [tool for tool in tools if tool.name in (DIRECT, ALONE) or (host and isinstance(tool, Borgmatic))]


def ratio(ours: Sequence[Cost], theirs: Sequence[Cost]) -> float:
    """Median of the rounds' ratios: what the machine did meanwhile met both of a round."""
    between = sorted(one.wall / other.wall for one, other in zip(ours, theirs, strict=True))
    return between[len(between) // 2]


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
            told.append(f"{phase} {ratio(one, other):.2f} ({more:+.1f} s)")
        yield f"{ours} against {theirs}, median of the rounds' ratios: {', '.join(told)}. Aim: under {AIM}."


def jobs(found: Found, tools: Sequence[Mainstay]) -> Iterator[str]:
    """What is left of the difference when only the job on the host counts."""
    for tool in tools:
        told = []
        for number, phase in enumerate(PHASES):
            spans = [spent(record, cost.wall, cost.began).steps["apply"][0] for record, cost in tool.records]
            job, whole = middling(spans[number :: len(PHASES)]), middle(found[phase, tool.name]).wall
            other = middle(found[phase, PEERS[tool.name]]).wall
            told.append(
                f"{phase} {job:.1f} s ({job / other:.2f} of {PEERS[tool.name]}), and {whole - job:.1f} s around it"
            )
        yield f"{tool.name}, the job on the host until its end is noticed: {'; '.join(told)}."


def middling(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def steps(tool: Mainstay) -> list[list[str]]:
    """Medians over the rounds, of what a run takes whatever there is to back up."""
    rows: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in PHASES])
    for number, (record, cost) in enumerate(tool.records):
        one, phase = spent(record, cost.wall, cost.began), number % len(PHASES)
        rows["survey and start-up"][phase].append(one.start)
        for name, (union, _) in one.steps.items():
            rows[name][phase].append(union)
        rows["between steps"][phase].append(one.between)
        rows["after the last step (sealing)"][phase].append(one.end)
    return [[name, *(f"{middling(one):.2f} s" if one else "" for one in row)] for name, row in rows.items()]


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
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    os.environ["PATH"] = f"{folder_of_programs()}:{os.environ['PATH']}"
    with (
        tempfile.TemporaryDirectory(prefix="mainstay-bench-") as name,
        world(Path(name), size) as (bench, tools, notes),
    ):
        found = measured(bench, tools, rounds)
    print(dump(parts(found, tools, notes, f"scripts/bench backup --size {size >> 20}M --rounds {rounds}")))


def parts(found: Found, tools: Sequence[Tool], notes: Sequence[str], again: str) -> list[Part]:
    names = [tool.name for tool in tools]
    ours = [tool for tool in tools if isinstance(tool, Mainstay)]
    version = subprocess.run([restic(), "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    made = [
        Part(
            title="Backup of one host, and restore",
            repeat=again,
            head=HEAD,
            rows=[row for phase in (*PHASES, *RESTORES) for row in table(found, phase, names)],
            notes=(
                *against(found),
                *jobs(found, ours),
                "What is around the job reads none of the data, and so does not grow with it: start-up, survey, lock, looking at "
                "the host, asking the "
                "repository before and after (three times restic on the controller, each of which derives its key anew), sealing.",
                f"Ratios in the table: how many times as much as restic alone takes. restic {version} everywhere, with the same "
                "options and as nice; to a REST server on the controller, the host's 1 % over the same network. CPU is that "
                "of everything, also on the host and of the server.",
                *notes,
            ),
        )
    ]
    for tool in ours:
        made.append(
            Part(
                title=f"Where the wall clock goes: {tool.name}",
                repeat=again,
                head=("step", *PHASES),
                rows=steps(tool),
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

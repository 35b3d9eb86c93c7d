"""Fan-out: what it costs to ask many hosts for facts.

    scripts/bench fanout [--hosts 100] [--rounds 3]

One real sshd on loopback plays all hosts, each by an address of its own: the hosts' work is done by the same cores.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.measure import Cost, alternate, measure
from bench.options import options
from bench.peers import THERE, Target, ansible_folder, mainstay_folder, pyinfra_folder
from bench.table import COSTS, Part, costs, dump
from tests.contract.sshd import Sshd, sshd

PARALLEL = "20"
"""Hosts that every tool asks at once."""

OURS = "mainstay (all facts)"
PROBE_ALL = Path(__file__).with_name("probe_all.py")
SEVEN = [
    f"server.{name}" for name in ("LinuxDistribution", "Kernel", "KernelVersion", "Arch", "Hostname", "Date", "Mounts")
]
CLONE_NEWNET = 0x40000000  # <linux/sched.h>


def own_network() -> None:
    """From here on this process has nothing but a loopback of its own: every 127.x.y.z is free, and nobody can reach it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network of its own needs root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def cases(folder: Path, server: Sshd, hosts: int) -> dict[str, Callable[[], Cost]]:
    targets = [Target(f"h{n}", f"127.0.0.{n}", server.port, "root") for n in range(1, hosts + 1)]
    public = (server.folder / "host_key.pub").read_text()
    known_hosts = folder / "known_hosts"
    known_hosts.write_text("".join(f"[{t.address}]:{t.port} {public}" for t in targets))
    ours = mainstay_folder(folder / "mainstay", targets, server.key, known_hosts)
    ansible = ansible_folder(folder / "ansible", targets, server.key, known_hosts)
    pyinfra = pyinfra_folder(folder / "pyinfra", targets, server.key, known_hosts)
    probe: list[str | Path] = [sys.executable, PROBE_ALL, ours, PARALLEL]
    adhoc: list[str | Path] = [THERE / "ansible", "all", "-f", PARALLEL]
    facts: list[str | Path] = [THERE / "pyinfra", "inventory.py", "--parallel", PARALLEL]
    tuned = {"ANSIBLE_PIPELINING": "1"}

    return {
        OURS: lambda: measure(probe, cwd=ours),
        "mainstay (one fact)": lambda: measure([*probe, "cat", "/etc/os-release"], cwd=ours),
        "ansible -m command -a true": lambda: measure([*adhoc, "-m", "command", "-a", "true"], cwd=ansible),
        "the same, pipelining on": lambda: measure([*adhoc, "-m", "command", "-a", "true"], cwd=ansible, env=tuned),
        "ansible -m setup (all facts)": lambda: measure([*adhoc, "-m", "setup"], cwd=ansible),
        "pyinfra fact (one fact)": lambda: measure([*facts, "fact", "server.LinuxDistribution"], cwd=pyinfra),
        "pyinfra fact (seven facts)": lambda: measure([*facts, "fact", *SEVEN], cwd=pyinfra),
    }


def about_systemd() -> str:
    return (
        "" if Path("/run/systemd/system").is_dir() else " (This machine runs no systemd, so no units were asked for.)"
    )


def main() -> None:
    chosen = options(__doc__, hosts=100, rounds=3, quick={"hosts": 10, "rounds": 1})
    own_network()
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as name:
        folder = Path(name)
        (folder / "sshd").mkdir()
        with sshd(folder / "sshd", address="0.0.0.0") as server:
            found = alternate(cases(folder, server, chosen.hosts), chosen.rounds)
    part = Part(
        title=f"Facts of {chosen.hosts} hosts, {PARALLEL} at once",
        repeat=f"scripts/bench fanout --hosts {chosen.hosts} --rounds {chosen.rounds}",
        head=COSTS,
        rows=costs(found, OURS),
        notes=(
            "mainstay is bench/probe_all.py: it loads the site, and asks each host as `doctor`, `preview` and `run` do.",
            "Whole programs from start to end, medians; ratios: how many times mainstay's.",
            "All facts of mainstay: release, kernels, boot, clock, space, package database and its locks, units, other "
            "updaters, owner and more, in one script of nine processes. One fact: /etc/os-release; "
            "pyinfra's LinuxDistribution. Seven: what of the same pyinfra has facts for that every host can answer."
            + about_systemd(),
            "One sshd on loopback is all hosts, so that their share (logins, probes, ansible's modules) is in the wall "
            "clock of everybody; controller CPU is without it.",
            "ansible with its own defaults (ControlPersist 60 s, pipelining off) but for -f and pinned host keys; each "
            "round starts without open connections. Its ssh masters are part of its CPU.",
            "Peak memory is that of the largest single process; ansible has some twenty of them at a time, plus ssh's.",
        ),
    )
    print(dump([part]))


if __name__ == "__main__":
    main()

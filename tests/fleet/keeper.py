"""Keeps one host running: a process group that boots it again whenever it asks for a reboot."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fleet.system import FleetError, alive, birth, kill_group, wait_until

MANAGED = Path("/run/systemd/system").exists()
"""The machine itself runs systemd, which gives every guest a scope. Elsewhere each needs control groups of its own from
us: in shared ones systemd finds strangers in its services, fails to kill them, and takes a stopped service for alive."""
HIERARCHIES = [] if MANAGED else [f"/sys/fs/cgroup{name}" for name in ("", "/systemd", "/unified")]
# nspawn exits with 133 where the guest asked to reboot
LOOP = """
for top in $1; do
  [ ! -e "$top/cgroup.procs" ] || { mkdir -p "$top/$0" && echo $$ >"$top/$0/cgroup.procs"; } || exit 1
done
shift
while :; do systemd-nspawn "$@"; s=$?; [ $s = 133 ] || exit $s; done
"""


@dataclass(frozen=True, slots=True)
class Keeper:
    """machine: its name, unique on this machine; pid, born: the process group."""

    machine: str
    pid: int
    born: int

    @classmethod
    def start(cls, machine: str, root: Path, network: Path, console: Path, note: Path) -> Keeper:
        """Boot what is in `root`, in the network namespace at `network`; remember it in `note`. Raises FleetError."""
        options = [
            "-q",
            "--register=no",
            "--resolv-conf=off",
            f"--machine={machine}",
            f"--network-namespace-path={network}",
        ]
        options += [] if MANAGED else ["--keep-unit"]
        argv = ["bash", "-c", LOOP, machine, " ".join(HIERARCHIES), *options, "-D", str(root), "--boot"]
        with console.open("ab") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        born = birth(process.pid)
        if born is None:
            raise FleetError(f"{machine} does not start")
        keeper = cls(machine, process.pid, born)
        note.write_text(json.dumps(asdict(keeper)))
        return keeper

    @classmethod
    def load(cls, note: Path) -> Keeper | None:
        """Who keeps the host running; None while it is switched off."""
        try:
            keeper = cls(**json.loads(note.read_text()))
        except FileNotFoundError:
            return None
        return keeper if alive(keeper.pid, keeper.born) else None

    def leader(self) -> int | None:
        """The host's PID 1, as a process of this machine; None between two boots."""
        for child in _descendants(self.pid):
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:
                continue
            ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if len(ids) > 2 and ids[-1] == "1":
                return child
        return None

    def kill(self) -> None:
        """End it at once, PID 1 first, so that nothing in it sees it coming; returns when it is gone."""
        leader = self.leader()
        born = birth(leader) if leader else None
        if leader and alive(leader, born):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
        kill_group(self.pid, self.born)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)  # it may be another process's child
        wait_until(lambda: not (leader and alive(leader, born)), f"{self.machine} is off", deadline=60)
        for top in HIERARCHIES:
            for group, _, _ in os.walk(f"{top}/{self.machine}", topdown=False):
                with contextlib.suppress(OSError):
                    Path(group).rmdir()


def _descendants(pid: int) -> list[int]:
    found, look = [], [pid]
    while look:
        parent = look.pop()
        try:
            children = [int(c) for c in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        except OSError:
            continue
        found += children
        look += children
    return found

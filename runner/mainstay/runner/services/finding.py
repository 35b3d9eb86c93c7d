"""Finding what still runs replaced code: needrestart's word where it is there, and deleted mappings in any case."""

from __future__ import annotations

from pathlib import Path

from mainstay.inventory.facts import Facts
from mainstay.runner import reboot
from mainstay.runner.services.contract import KernelState, Stale, StaleUnit
from mainstay.runner.shell.contract import Command, Shell

_SCRIPT = Path(__file__).with_name("stale.sh").read_bytes()
DEADLINE = 180.0
"""Seconds. Some 50 ms without needrestart; that one reads every program's libraries and scripts, and takes up to a minute."""

_MANAGER = "systemd-manager"
"""needrestart's name for PID 1."""

_SSH = ("ssh.service", "sshd.service")


def find(shell: Shell) -> Stale:
    """Look once, as root, changing nothing. `unknown` where the look itself went wrong. Raises what Shell raises."""
    login = shell.host.ssh.user
    output = shell.run(
        Command(argv=("sh", "-s", "--", login), stdin=_SCRIPT, sudo=True, deadline=DEADLINE, limit=1 << 22)
    )
    return parse(output.text)


def parse(text: str) -> Stale:
    """From what stale.sh printed. Pure; raises nothing."""
    processes: dict[str, list[str]] = {}
    files: dict[str, list[str]] = {}
    told: list[tuple[str, str]] = []
    kernel, ended = "", False
    for line in text.splitlines():
        fields = line.split("\t")
        if fields[0] == "process" and len(fields) == 6:
            processes[fields[1]] = fields[2:]
        elif fields[0] == "file" and len(fields) == 3:
            files.setdefault(fields[1], []).append(fields[2])
        elif fields[0] == "kernel" and len(fields) == 2:
            kernel = fields[1]
        elif line.startswith("NEEDRESTART-"):
            key, _, value = line.partition(":")
            told.append((key.removeprefix("NEEDRESTART-"), value.strip()))
        ended = ended or line == "end"
    rooms = _sorted(processes, files)
    said = {unit for key, unit in told if key == "SVC" and unit}
    for unit in said - {_MANAGER}:
        _believe(rooms, unit if "." in unit else f"{unit}.service")
    says = dict(told)
    return Stale(
        services=_units(rooms["service"]),
        sessions=_units(rooms["session"]),
        others=_units(rooms["other"]),
        containers=sum(1 for process in processes.values() if process[3] == "container"),
        init="1" in processes or _MANAGER in said,
        kernel_current=says.get("KCUR", ""),
        kernel_expected=says.get("KEXP", ""),
        kernel_state=_kernel(says.get("KSTA", ""), kernel),
        unknown=not ended,
    )


def _believe(rooms: dict[str, dict[str, set[str]]], unit: str) -> None:
    """A service that needrestart names; it also sees scripts whose modules were replaced. Its word on sshd is not taken: it
    names it for every open connection from before the restart, our own among them. Its sessions we find ourselves."""
    if unit in _SSH or unit.startswith("mainstay-"):
        return
    rooms["session" if unit.startswith("user@") else "service"].setdefault(unit, set())


def _sorted(processes: dict[str, list[str]], files: dict[str, list[str]]) -> dict[str, dict[str, set[str]]]:
    """Processes by what they belong to → name → replaced files."""
    rooms: dict[str, dict[str, set[str]]] = {"service": {}, "session": {}, "other": {}}
    for pid, (unit, comm, main, container) in processes.items():
        if container == "container" or pid == "1" or unit.startswith("mainstay-"):
            continue
        who = f"{comm.strip() or 'a process'} ({pid})"
        room, name = "other", who
        if unit.endswith(".service"):
            room, name = "service", unit
            if unit.startswith("user@"):
                room = "session"
            elif unit in _SSH and main != "main":
                room, name = "session", f"{unit}: {who}"  # somebody's connection; sshd keeps it over its restart
        elif unit.startswith("session-") and unit.endswith(".scope"):
            room, name = "session", unit
        rooms[room].setdefault(name, set()).update(files.get(pid, []))
    return rooms


def _units(room: dict[str, set[str]]) -> tuple[StaleUnit, ...]:
    return tuple(StaleUnit(unit=name, files=tuple(sorted(files)[:8])) for name, files in sorted(room.items()))


def _kernel(needrestart: str, image: str) -> KernelState:
    """needrestart's KSTA: 0 unknown, 1 current, 2 another build of the same ABI, 3 another version."""
    if needrestart == "3":
        return "behind"
    if needrestart == "2" or image == "replaced":
        return "replaced"
    return "current" if needrestart == "1" or image == "same" else "unknown"


def with_kernels(stale: Stale, facts: Facts) -> Stale:
    """The same, with what the facts know of kernels: `same` on disk is not current where a newer release is installed."""
    behind = reboot.kernel_behind(facts)
    return stale.model_copy(update={"kernel_state": "behind", "kernel_expected": behind}) if behind else stale

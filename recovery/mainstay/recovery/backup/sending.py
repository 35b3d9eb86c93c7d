"""Which restic a host runs: its own, where it is new enough, else the controller's, sent and known by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Value
from mainstay.recovery.backup.change import Program
from mainstay.recovery.restic.version import parse_version, refuse_old
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import Command, Shell
from mainstay.runner.shell.printable import printable

_LOOK = r"""
printf 'state %s\n' "${MAINSTAY_STATE_DIR:-/var/lib/mainstay}"
printf 'machine %s\n' "$(uname -m)"
printf 'name %s\n' "$(uname -n)"
for one in /run /dev/shm; do
  case $(stat -f -c %T "$one" 2>/dev/null) in tmpfs|ramfs) printf 'memory %s\n' "$one"; break;; esac
done
if path=$(command -v restic); then
  printf 'path %s\n' "$path"
  printf 'restic %s\n' "$("$path" version 2>/dev/null | head -n 1)"
fi
for tool in timeout runuser mkfifo; do command -v "$tool" >/dev/null 2>&1 || printf 'lacks %s\n' "$tool"; done
"""

_OLDER = 'for one in "${1%/*}"/restic-*; do [ "$one" = "$1" ] || rm -f -- "$one"; done'
"""the restic that was sent: those that were sent before it are removed."""

_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x28: "arm", 0x03: "i386", 0xF3: "riscv64", 0x15: "ppc64", 0x16: "s390x"}
"""e_machine of an ELF file (System V ABI, ELF header) → what `uname -m` says, or begins with."""

Find = Callable[[], Path | None]
"""The controller's own restic; None where it has none."""


class Seen(Value):
    """What a backup has to know of a host, found without rights."""

    state_dir: str = ""
    machine: str = ""
    hostname: str = ""
    memory: str = ""
    """A folder that is never written to a disk; empty where there is none."""
    path: str = ""
    """Of the host's own restic; empty where there is none."""
    version: str = ""
    """What it says of itself: `restic 0.18.0 compiled with …`."""
    lacks: tuple[str, ...] = ()


def look(shell: Shell) -> Seen:
    """Reads only, one round trip."""
    said = shell.run(Command(("sh", "-c", _LOOK)))
    found: dict[str, list[str]] = {}
    for line in said.text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)

    def one(word: str) -> str:
        return found.get(word, [""])[0].strip()

    return Seen(
        state_dir=one("state"),
        machine=one("machine"),
        hostname=one("name"),
        memory=one("memory"),
        path=one("path"),
        version=printable(one("restic"), 200),
        lacks=tuple(found.get("lacks", ())),
    )


def choose(seen: Seen, send: bool, find: Find) -> tuple[Program | None, str]:
    """(what the host is to run, why nothing can be run there): one of them. Reads the controller's binary where it is sent."""
    if seen.lacks:
        return None, f"a backup needs {', '.join(seen.lacks)} there"
    if not seen.memory:
        return None, "neither /run nor /dev/shm is kept in memory there, and secrets are written to no disk"
    why = refuse_old(seen.version) if seen.path else "it has no restic"
    if not why:
        return Program(path=seen.path, version=_version(seen.version)), ""
    if not send:
        return None, f"{why}; send_restic: true sends the controller's"
    binary = find()
    if binary is None:
        return None, f"{why}, and the controller has none that could be sent"
    content = binary.read_bytes()
    machine = _machine(content)
    if machine is None or not seen.machine.startswith(machine):
        return None, f"{why}, and the controller's is for {machine or 'another system'}, not for {seen.machine}"
    sha256 = hashlib.sha256(content).hexdigest()
    return Program(path=f"{seen.state_dir}/bin/restic-{sha256[:12]}", version="", sha256=sha256), ""


def send(work: HostWork, program: Program, find: Find) -> Program:
    """Bring the controller's restic onto the host, unless it is there already, and ask it there what it is. Raises Refused."""
    binary = find()
    content = binary.read_bytes() if binary is not None else b""
    if hashlib.sha256(content).hexdigest() != program.sha256:
        raise Refused("the controller's restic is another one than when this run began")
    there = work.shell.run(Command(("sha256sum", "--", program.path), sudo=True))
    if there.status != 0 or there.text[:64] != program.sha256:
        work.progress(f"sending restic, {len(content) / 1e6:.0f} MB")
        work.shell.put(content, program.path, fence=work.fence, mode=0o755)
        work.shell.run(Command(("sh", "-c", _OLDER, "mainstay", program.path), sudo=True, fence=work.fence))
        work.notes.append(f"sent restic to {program.path}")
    said = work.shell.run(Command((program.path, "version")))
    if why := refuse_old(said.text):
        words = printable(said.stderr) or f"status {said.status}"
        raise Refused(f"the controller's restic can't be used there: {words if said.status else why}")
    return program.model_copy(update={"version": _version(said.text)})


def _version(said: str) -> str:
    found = parse_version(said)
    return ".".join(map(str, found)) if found else ""


def _machine(content: bytes) -> str | None:
    if content[:4] != b"\x7fELF" or len(content) < 20:
        return None
    order = "little" if content[5] == 1 else "big"
    return _MACHINES.get(int.from_bytes(content[18:20], order))  # type: ignore[arg-type]  # one of the two

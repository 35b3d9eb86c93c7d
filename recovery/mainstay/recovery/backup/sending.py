"""Which restic a host runs: its own, where it is new enough, else the controller's, sent and known by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Value
from mainstay.recovery.backup.change import Program
from mainstay.recovery.restic.version import parse_version, refuse_old
from mainstay.recovery.words import sized
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import Command, Shell
from mainstay.runner.shell.printable import printable

_LOOK = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
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
has() { # what to call it, then a program and what it has to be able to do
  word=$1; shift
  "$@" </dev/null >/dev/null 2>&1 || printf 'lacks %s\n' "$word"
}
for tool in runuser mkfifo nice tee sed cut df getent wc; do has "$tool" command -v "$tool"; done
has timeout timeout -s INT -k 9 9 true
has 'stat -f' stat -f -c %T /
has 'stat --printf' stat --printf '%f %s %Y %h %d:%i' /
has 'xargs -0' xargs -0 -r true
has awk awk 'BEGIN { exit }'
has 'grep -a' grep -aqF -e lacks /proc/self/cmdline
"""

BACKUP = {
    **dict.fromkeys(("timeout", "nice", "mkfifo", "tee", "cut", "df", "stat -f"), "coreutils"),
    "runuser": "util-linux",
    "getent": "libc-bin",
    "grep -a": "grep",
    "sed": "sed",
}
"""What a backup's job calls on a host → Debian's package of it."""
RESTORE = {
    **dict.fromkeys(("nice", "mkfifo", "tee", "cut", "df", "stat -f", "stat --printf", "wc"), "coreutils"),
    "runuser": "util-linux",
    "getent": "libc-bin",
    "awk": "mawk",
    "xargs -0": "findutils",
}
DRILL = {**dict.fromkeys(("nice", "mkfifo", "cut", "df", "stat -f", "timeout"), "coreutils"), "awk": "mawk"}

_OLDER = 'for one in "${1%-*}"-*; do [ "$one" = "$1" ] || rm -f -- "$one"; done'
"""the program that was sent, NAME-HASH: those of its name that were sent before it are removed."""

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
    """Tools that are not there, and what those that are can't do: `awk`, `stat --printf`."""


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


def lacking(seen: Seen, what: str, needs: Mapping[str, str]) -> str:
    """What has to be installed there first, in words; empty where nothing has to."""
    lacks = [tool for tool in seen.lacks if tool in needs]
    packages = dict.fromkeys(needs[tool] for tool in lacks)
    return f"{what} needs {', '.join(lacks)} there: install {', '.join(packages)}" if lacks else ""


def choose(
    seen: Seen, send: bool, find: Find, what: str = "a backup", needs: Mapping[str, str] = BACKUP
) -> tuple[Program | None, str]:
    """(what the host is to run, why nothing can be run there): one of them. Reads the controller's binary where it is sent.
    needs: tools of the host that the job calls → package."""
    if lacks := lacking(seen, what, needs):
        return None, lacks
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
    bring(work, program, content, "restic")
    said = work.shell.run(Command((program.path, "version")))
    if why := refuse_old(said.text):
        words = printable(said.stderr) or f"status {said.status}"
        raise Refused(f"the controller's restic can't be used there: {words if said.status else why}")
    return program.model_copy(update={"version": _version(said.text)})


def bring(work: HostWork, program: Program, content: bytes, what: str) -> None:
    """Onto the host, unless it is there already. what: it is called so."""
    there = work.shell.run(Command(("sha256sum", "--", program.path), sudo=True))
    if there.status == 0 and there.text[:64] == program.sha256:
        return
    work.progress(f"sending {what}, {sized(len(content))}")
    work.shell.put(content, program.path, fence=work.fence, mode=0o755)
    work.shell.run(Command(("sh", "-c", _OLDER, "mainstay", program.path), sudo=True, fence=work.fence))
    work.notes.append(f"sent {what} to {program.path}")


def _version(said: str) -> str:
    found = parse_version(said)
    return ".".join(map(str, found)) if found else ""


def _machine(content: bytes) -> str | None:
    if content[:4] != b"\x7fELF" or len(content) < 20:
        return None
    order = "little" if content[5] == 1 else "big"
    return _MACHINES.get(int.from_bytes(content[18:20], order))  # type: ignore[arg-type]  # one of the two

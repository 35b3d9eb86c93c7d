"""The probe: one fixed script that tells all facts of a host in one round trip, and the pure parser of what it prints.

The script needs no root and writes nothing. What it could not read is None, or its section is named in `Facts.unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts, Filesystem, LockHolder, Updater

PROBE = (Path(__file__).with_name("probe.sh")).read_bytes()
"""POSIX sh, fed to `sh -s` on its standard input, without arguments."""

OUTPUT_LIMIT = 1 << 20
"""A host's facts are some 3 KB; a hundred thousand units still fit."""

_BEGIN = re.compile(rb"^mainstay-probe 1 ([0-9a-f-]{36})\r?$", re.MULTILINE)
_ONLY_PREPARES = re.compile(r"-(download|notifyonly)\.timer$")
_MANAGERS = {"apt": "apt", "dnf5": "dnf", "dnf": "dnf", "zypper": "zypper", "apk": "apk", "yum": "yum"}

Sections = dict[str, list[str]]


class ProbeGarbled(MainstayError):
    """What came back is not, or not all of, what the probe prints."""

    kind = "probe"


def parse(output: bytes, *, sent: float, received: float) -> Facts:
    """Facts from the probe's standard output. sent, received: the controller's clock around it, Unix seconds.

    Noise around it (banners, a login shell's greeting) is skipped. Raises ProbeGarbled, and nothing else.
    """
    sections = _sections(output)
    files = _files(sections.get("files", []))
    flags = set(sections.get("flags", []))
    release = _release(files.get("/etc/os-release") or files.get("/usr/lib/os-release") or [])
    systemd = "systemd" in flags
    clock = _number(_first(sections.get("clock", [])))
    units, units_known = _units(sections.get("units"))
    holders, locks_known = _lock_holders(sections.get("locks"))
    updaters, updaters_known = _updaters(sections.get("updaters"), sections.get("cron", []), systemd)
    owner, lock = _record(files.get("/var/lib/mainstay/owner", [])), _record(files.get("/var/lib/mainstay/lock", []))
    boot_id = _first(files.get("/proc/sys/kernel/random/boot_id", []))
    packages = files.get("/run/reboot-required.pkgs") or files.get("/var/run/reboot-required.pkgs") or []
    spaces = _filesystems(sections.get("space", []), sections.get("mounts", []))
    known = {
        "os": bool(release),
        "boot_id": bool(boot_id),
        "clock": clock is not None,
        "space": any(space.path == "/" for space in spaces),
        "mounts": bool(sections.get("mounts")),
        "locks": locks_known,
        "units": units_known or not systemd,
        "updaters": updaters_known or not systemd,
    }
    return Facts(
        os_id=release.get("ID", ""),
        os_version=release.get("VERSION_ID", ""),
        os_codename=release.get("VERSION_CODENAME", ""),
        arch=_first(sections.get("arch", [])),
        package_manager=next((name for key, name in _MANAGERS.items() if f"manager={key}" in flags), None),
        machine_id=_first(files.get("/etc/machine-id", [])),
        boot_id=boot_id,
        kernel=_first(files.get("/proc/sys/kernel/osrelease", [])),
        kernels_installed=_kernels(sections.get("kernels", [])),
        systemd=systemd,
        container=_container(files, flags),
        uptime_seconds=_number(_first(files.get("/proc/uptime", [])).partition(" ")[0]) or 0.0,
        clock=clock or 0.0,
        clock_skew=None if clock is None else round(clock - (sent + received) / 2, 3),
        filesystems=spaces,
        dpkg_broken=_dpkg(sections.get("dpkg")),
        lock_holders=holders,
        reboot_required="reboot-required" in flags,
        reboot_packages=tuple(sorted({line.strip() for line in packages if line.strip()})),
        needrestart="needrestart" in flags,
        updaters=updaters,
        failed_units=tuple(sorted(unit for unit, active, _ in units if active == "failed")),
        active_services=_running(units, sections.get("units", [])),
        owner_site=owner.get("site", ""),
        owner_state=owner.get("state", ""),
        owner_run=owner.get("run", ""),
        lock_run=lock.get("run", ""),
        root="root" in flags,
        sudo="sudo" in flags,
        unknown=tuple(section for section, well in known.items() if not well),
    )


def _sections(output: bytes) -> Sections:
    # The last opening counts: a greeting may hold an older one, and the mark is new each time.
    opening = list(_BEGIN.finditer(output))
    if not opening:
        raise ProbeGarbled(
            "the host did not run the probe", hint="Its login shell may not be one, or end before it runs a command."
        )
    mark = opening[-1][1].decode()
    sections: Sections = {}
    lines: list[str] = []
    for line in output[opening[-1].end() :].decode("utf-8", "replace").replace("\0", "").split("\n"):
        line = line.rstrip("\r")
        if line.startswith(mark + " "):
            lines = sections.setdefault(line[len(mark) + 1 :], [])
        else:
            lines.append(line)
    if "end" not in sections:
        raise ProbeGarbled(
            "the probe's answer ends before its end", hint="The connection or the host's shell broke off."
        )
    return {name: [line for line in lines if line] for name, lines in sections.items()}


def _first(lines: list[str]) -> str:
    return lines[0].strip() if lines else ""


def _number(text: str) -> float | None:
    found = re.match(r"\d{1,15}(\.\d{1,9})?", text)
    return float(found[0]) if found else None


def _files(lines: list[str]) -> Sections:
    """`path:line` as grep prints them."""
    files: Sections = {}
    for line in lines:
        path, colon, rest = line.partition(":")
        if colon:
            files.setdefault(path, []).append(rest)
    return files


def _release(lines: list[str]) -> dict[str, str]:
    """os-release(5). Never sourced: it is the host's text."""
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}


def _record(lines: list[str]) -> dict[str, str]:
    """The owner and lock files that mainstay itself keeps on the host: `key=value` lines."""
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _kernels(lines: list[str]) -> tuple[str, ...]:
    """Bootable ones in /boot; where that holds none (Fedora's layout, unreadable /boot), those with modules."""
    boot = {line.removeprefix("/boot/vmlinuz-") for line in lines if line.startswith("/boot/vmlinuz-")}
    modules = {line.split("/")[3] for line in lines if line.startswith("/lib/modules/") and line.count("/") > 3}
    return tuple(sorted(kernel for kernel in boot or modules if not kernel.startswith("0-rescue")))


def _container(files: Sections, flags: set[str]) -> str:
    named = _first(files.get("/run/systemd/container", []))
    return named or next((flag.partition("=")[2] for flag in sorted(flags) if flag.startswith("container=")), "")


def _filesystems(space: list[str], mounts: list[str]) -> tuple[Filesystem, ...]:
    """stat -f: free blocks, block size, free inodes, all inodes (0: the file system has no fixed number), path."""
    read_only: dict[str, bool] = {}
    for line in mounts:
        fields = line.split(" ")
        if len(fields) >= 4:
            read_only[fields[1]] = "ro" in fields[3].split(",")  # mounted over: the last one counts
    found = []
    for line in space:
        fields = line.split(" ", 4)
        if len(fields) != 5 or not all(re.fullmatch(r"\d{1,19}", field) for field in fields[:4]):
            continue
        free, block, free_inodes, inodes = (int(field) for field in fields[:4])
        path = fields[4]
        above = [at for at in read_only if path == at or path.startswith(at.rstrip("/") + "/")]
        mount = max(above, key=len, default="")
        found.append(
            Filesystem(
                path=path,
                free_bytes=free * block,
                free_inodes=free_inodes if inodes else None,
                read_only=read_only.get(mount, False),
                mount=mount,
            )
        )
    return tuple(found)


def _dpkg(lines: list[str] | None) -> tuple[str, ...] | None:
    if lines is None or "read" not in lines:
        return None
    return tuple(line.strip() for line in lines if line != "read")


def _lock_holders(lines: list[str] | None) -> tuple[tuple[LockHolder, ...], bool]:
    """Who holds the package manager's locks, from /proc/locks: `pid major:minor:inode start end` by inode."""
    if lines is None:
        return (), False
    paths: dict[str, str] = {}
    commands: dict[str, str] = {}
    held: list[tuple[str, str]] = []
    for line in lines:
        word, _, rest = line.partition(" ")
        first, _, second = rest.partition(" ")
        if word == "file":
            paths[first] = second
        elif word == "command":
            commands[first] = second.strip()
        elif word == "held":
            held.append((first, second.partition(" ")[0].rpartition(":")[2]))
    holders = [
        LockHolder(path=paths[inode], pid=int(pid), command=commands.get(pid, ""))
        for pid, inode in held
        if inode in paths and re.fullmatch(r"-?\d{1,10}", pid)
    ]
    return tuple(holders), "read" in lines


def _units(lines: list[str] | None) -> tuple[list[tuple[str, str, str]], bool]:
    rows = [tuple(line.split()) for line in lines or []]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3], bool(lines) and "read" in (lines or [])


def _running(units: list[tuple[str, str, str]], lines: list[str]) -> tuple[str, ...]:
    """Services that are there to stay: not done and `exited`, not started by a timer, not one command of systemd-run."""
    passing = {unit.removesuffix(".timer") + ".service" for unit, _, _ in units if unit.endswith(".timer")}
    passing |= {line.removesuffix(" transient") for line in lines if line.endswith(" transient")}
    up = {unit for unit, active, sub in units if active in ("active", "reloading") and sub != "exited"}
    return tuple(sorted(unit for unit in up - passing if unit.endswith(".service")))


def _blocks(lines: list[str]) -> Iterator[dict[str, str]]:
    """`systemctl show` of several units: each begins with its Id (empty lines are gone by now)."""
    block: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if key == "Id" and block:
            yield block
            block = {}
        if equals:
            block[key] = value
    if block:
        yield block


def _updaters(lines: list[str] | None, cron: list[str], systemd: bool) -> tuple[tuple[Updater, ...], bool]:
    """apt-daily-upgrade.timer installs only with unattended-upgrades there and switched on (apt.systemd.daily(8))."""
    told: list[str] = lines or []
    unattended = _unattended(told)
    found: list[Updater] = []
    for block in _blocks([line for line in told if re.match(r"(Id|LoadState|ActiveState|UnitFileState)=", line)]):
        unit = block.get("Id", "")
        if not unit or block.get("LoadState") == "not-found":
            continue
        installs: bool | None = None
        if unit == "apt-daily-upgrade.timer":
            installs = unattended
        elif unit == "apt-daily.timer" or _ONLY_PREPARES.search(unit):
            installs = False
        found.append(
            Updater(
                unit=unit,
                enabled=block.get("UnitFileState", "") in ("enabled", "enabled-runtime", "static", "generated"),
                active=block.get("ActiveState", "") in ("active", "activating", "reloading"),
                installs=installs,
            )
        )
    for path in sorted(set(cron)):
        # Debian's compatibility job: it leaves at once where systemd runs the timers
        if not (systemd and path == "/etc/cron.daily/apt-compat") and path.startswith("/"):
            found.append(Updater(unit=path, enabled=True, active=True))
    return tuple(found), "read" in told


def _unattended(told: list[str]) -> bool | None:
    if "unattended-upgrade" not in told:
        return False
    shell: dict[str, Any] = dict(re.findall(r"^(install|enable)='([0-9]{1,9})'", "\n".join(told), re.MULTILINE))
    if "asked" not in told:
        return None
    return int(shell.get("install", "0")) > 0 and int(shell.get("enable", "1")) > 0

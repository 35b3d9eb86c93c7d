"""Preflight: from a host's facts alone, whether it may be touched, and what people should know before."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.inventory.facts import Facts, Filesystem
from mainstay.runner.plan import Carefulness
from mainstay.runner.reboot import kernel_behind
from mainstay.runner.upkeep import Judgement

MIB = 1024 * 1024

CLOCK_SKEW_MAX = 300.0
"""Seconds. Beyond it TLS and apt's Valid-Until give wrong answers, Kerberos refuses (RFC 4120's five minutes), and the
record's times can't be laid beside the host's own logs."""

FREE_MIN = 500 * MIB
"""Bytes free where packages are unpacked. A month of security updates unpacks to 200 to 400 MB beside what they replace,
and a full disk in the middle of dpkg is the worst place to stop. Where the need is known, twice that counts if it is more."""

INODES_MIN = 10_000
"""A kernel's headers alone are 10,000 files; old ones that pile up use inodes up long before blocks."""

BOOT_MIN = 150 * MIB
"""A kernel, its initrd and the initrd's copy while it is made."""

PACKAGE_PATHS = ("/", "/usr", "/var", "/var/lib", "/var/lib/dpkg", "/var/cache/apt/archives", "/var/cache/dnf")
"""Where package managers write: files, database, downloads."""

READ_ONLY_MATTERS = (*PACKAGE_PATHS, "/etc")

MANAGERS = frozenset({"apt"})
"""Package managers that mainstay can drive."""


def judge(
    facts: Facts, plan: Carefulness, *, packages: bool = True, need_bytes: int = 0, managers: frozenset[str] = MANAGERS
) -> Judgement:
    """packages: the plan installs some; else nothing is told of what only that has to do with. need_bytes: disk space that they
    ask for, where it is known. Pure."""
    refusals = [*_os(facts, plan), *_clock(facts), *_updaters(facts, plan)]
    notes = [*_services(facts)] if packages or plan.health else []
    if packages:
        refusals += [*_manager(facts, managers), *_writable(facts), *_space(facts, need_bytes)]
        notes = [*_pending(facts), *notes, *_updater_notes(facts, plan), *_boot(facts), *_dpkg(facts)]
        notes += ["its free space could not be read"] if "space" in facts.unknown else []
    notes += ["its clock could not be read"] if facts.clock_skew is None else []
    return Judgement(tuple(refusals), tuple(notes))


def _os(facts: Facts, plan: Carefulness) -> Iterator[str]:
    if not (facts.root or facts.sudo):
        yield "the login is not root, and there is no sudo to become root with"
    if not facts.boot_id and plan.reboot != "never":
        yield "its boot id can't be read, so that a reboot could not be proved"
    checks = [check.label for check in plan.health if check.service]
    if checks and not facts.systemd:
        yield f"{', '.join(checks)}: asks systemd, which does not run here; use a command, tcp or http check"


def _clock(facts: Facts) -> Iterator[str]:
    if facts.clock_skew is not None and abs(facts.clock_skew) > CLOCK_SKEW_MAX:
        side = "ahead of" if facts.clock_skew > 0 else "behind"
        yield f"its clock is {abs(facts.clock_skew):.0f} s {side} the controller's; at most {CLOCK_SKEW_MAX:.0f} s are tolerated"


def _manager(facts: Facts, managers: frozenset[str]) -> Iterator[str]:
    if facts.package_manager is None:
        yield "no package manager was found"
    elif facts.package_manager not in managers:
        system = f"{facts.os_id} {facts.os_version}".strip() or "its system"
        yield f"{system} uses {facts.package_manager}, which is not supported; supported: {', '.join(sorted(managers))}"


def _writable(facts: Facts) -> Iterator[str]:
    paths = [space.path for space in facts.filesystems if space.read_only and space.path in READ_ONLY_MATTERS]
    if paths:
        above = [
            path for path in paths if not any(path != up and path.startswith(up.rstrip("/") + "/") for up in paths)
        ]
        yield f"mounted read-only: {', '.join(above)}"


def _space(facts: Facts, need_bytes: int) -> Iterator[str]:
    least = max(FREE_MIN, 2 * need_bytes)
    short = [space for space in _apart(facts, PACKAGE_PATHS) if space.free_bytes < least]
    for space in short:
        yield f"{space.path} has {space.free_bytes // MIB} MB free; {least // MIB} MB are needed"
    for space in _apart(facts, PACKAGE_PATHS):
        if space.free_inodes is not None and space.free_inodes < INODES_MIN:
            yield f"{space.path} has {space.free_inodes} inodes free; {INODES_MIN} are needed"


def _apart(facts: Facts, paths: tuple[str, ...]) -> list[Filesystem]:
    """One per file system, by the first path that lies on it."""
    found: dict[str, Filesystem] = {}
    for space in facts.filesystems:
        if space.path in paths:
            found.setdefault(space.mount or space.path, space)
    return list(found.values())


def _boot(facts: Facts) -> Iterator[str]:
    rooms = {space.path: space for space in facts.filesystems}
    boot = rooms.get("/boot")
    # a kernel image lies in /boot where this host boots one of its own; without a mount it shares what is refused above
    if boot and facts.kernels_installed and boot.free_bytes < BOOT_MIN and boot.mount == "/boot":
        yield f"/boot has {boot.free_bytes // MIB} MB free; a new kernel may not fit"


def _dpkg(facts: Facts) -> Iterator[str]:
    for holder in facts.lock_holders:
        who = f"{holder.command or 'a process'} (pid {holder.pid})" if holder.pid > 0 else "a process"
        yield f"{who} holds {holder.path}"
    if facts.dpkg_broken:
        yield f"dpkg was interrupted or has broken packages: {facts.dpkg_broken[0]}"
    elif facts.dpkg_broken is None and facts.package_manager == "apt":
        yield "dpkg's state could not be read"


def _updaters(facts: Facts, plan: Carefulness) -> Iterator[str]:
    live = [updater for updater in facts.updaters if updater.active and updater.installs is not False]
    if plan.other_updaters == "refuse" and live:
        names = ", ".join(updater.unit for updater in live)
        yield f"{names} installs updates here too; disable it, or say other_updaters: fence or report"
    if plan.other_updaters == "fence":
        cron = [updater.unit for updater in live if updater.cron]
        if cron:
            yield f"{', '.join(cron)} installs updates and can't be fenced; remove it, or say other_updaters: report"
        elif any(updater.active for updater in facts.updaters) and not facts.systemd:
            yield "other updaters can be fenced only where systemd runs"
    if plan.other_updaters != "report" and "updaters" in facts.unknown:
        yield "whether something else installs updates here could not be found out; say other_updaters: report to go on"


def _updater_notes(facts: Facts, plan: Carefulness) -> Iterator[str]:
    if plan.other_updaters != "report":
        return
    for updater in facts.updaters:
        if updater.active and updater.installs is not False:
            yield f"{updater.unit} installs updates here too"
    if "updaters" in facts.unknown:
        yield "whether something else installs updates here could not be found out"


def _pending(facts: Facts) -> Iterator[str]:
    behind = kernel_behind(facts)
    reasons = []
    if facts.reboot_required:
        packages = ", ".join(facts.reboot_packages)
        reasons.append(f"asked for by {packages}" if packages else "its flag is there")
    if behind:
        reasons.append(f"kernel {behind} is installed, {facts.kernel} runs")
    if reasons:
        yield f"a reboot was pending before this run: {'; '.join(reasons)}"
    if not facts.systemd:
        yield "systemd does not run here: what runs replaced code is found, but not restarted"


def _services(facts: Facts) -> Iterator[str]:
    """Where they are looked at afterwards."""
    if facts.failed_units:
        yield f"failed before this run: {', '.join(facts.failed_units)}"
    if "units" in facts.unknown:
        yield "its services could not be listed: none that is lost would be noticed"

"""What one probe tells of a host."""

from __future__ import annotations

from typing import Any

from mainstay.inventory.value import Value


class Filesystem(Value):
    path: str
    """The path that was asked about (`/`, `/boot`, `/var`, `/var/cache/apt/archives`…), not the mount point."""
    free_bytes: int
    free_inodes: int | None = None
    read_only: bool = False
    mount: str = ""
    """Where the file system that holds it is mounted; empty where that is not known."""


class Updater(Value):
    """Something else on the host that installs updates by itself."""

    unit: str
    """`apt-daily-upgrade.timer`, `dnf-automatic.timer`… or the path of a cron file."""
    enabled: bool
    active: bool
    installs: bool | None = None
    """Whether it installs anything as it is configured; False: it only refreshes lists, downloads or tells."""

    @property
    def cron(self) -> bool:
        """It is a cron file, which can't be fenced as a unit can."""
        return self.unit.startswith("/")


class LockHolder(Value):
    path: str
    pid: int
    command: str


class Facts(Value):
    """One host at one moment. None means: not known, and nobody may take it for a no.

    Pure data: `parse` in `mainstay.inventory.probe` makes it from what the probe printed.
    """

    os_id: str = ""
    """`ID` of os-release: debian, ubuntu…"""
    os_version: str = ""
    os_codename: str = ""
    arch: str = ""
    """As the package manager says it: amd64, arm64."""
    package_manager: str | None = None
    """apt, dnf, zypper, apk; None where none was found."""
    machine_id: str = ""
    boot_id: str = ""
    kernel: str = ""
    """The running one (uname -r)."""
    kernels_installed: tuple[str, ...] = ()
    systemd: bool = False
    """systemd is PID 1."""
    container: str = ""
    """What systemd-detect-virt -c says; empty where it isn't one."""
    uptime_seconds: float = 0
    clock: float = 0
    """The host's clock at the probe, Unix seconds."""
    clock_skew: float | None = None
    """Host's clock minus the controller's, seconds, corrected by half the round trip."""
    filesystems: tuple[Filesystem, ...] = ()
    dpkg_broken: tuple[str, ...] | None = None
    """Packages that dpkg did not finish (`demo-web: install ok half-configured`) and files of /var/lib/dpkg/updates;
    None: could not be asked."""
    lock_holders: tuple[LockHolder, ...] = ()
    reboot_required: bool = False
    """/run/reboot-required is there. Its absence proves nothing."""
    reboot_packages: tuple[str, ...] = ()
    needrestart: bool = False
    updaters: tuple[Updater, ...] = ()
    failed_units: tuple[str, ...] = ()
    active_services: tuple[str, ...] = ()
    """Services that run to stay; not those that did something once and count as active since, that a timer starts, or
    that systemd-run made for one command."""
    owner_site: str = ""
    owner_state: str = ""
    owner_run: str = ""
    """Last run noted by the owner."""
    lock_run: str = ""
    """Run that holds the host's lock; empty where none."""
    root: bool = False
    """The login that probed is root itself."""
    sudo: bool = False
    """There is a sudo (or doas) program. Whether it lets the login in, only trying tells."""
    unknown: tuple[str, ...] = ()
    """Sections that could not be read (units, updaters, locks, dpkg…): what they would have filled says nothing."""
    extra: dict[str, Any] = {}

    @property
    def cohort(self) -> str:
        """Hosts with the same distribution, release and architecture."""
        return f"{self.os_id} {self.os_version or self.os_codename} {self.arch}".strip()

"""One host: a Debian system that boots, reboots, loses its power and its network, and can be made new again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import uuid
from pathlib import Path

from tests.fleet.keeper import Keeper
from tests.fleet.network import Link, Network
from tests.fleet.system import FleetError, quietly, run, wait_until

GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CUT_SSH = r"""
for p in /proc/[0-9]*; do
  case $(tr "\0" " " <"$p/cmdline" 2>/dev/null) in
  "sshd: "*@*|"sshd: "*priv*|sshd-session*) kill -9 "${p#/proc/}" ;;
  esac
done
"""


class Host:
    """name: h1, h2, …; address: reachable from here and from the other hosts; key: logs in as ops, reader and root."""

    def __init__(self, path: Path, root_of_base: Path, network: Network, link: Link, key: Path) -> None:
        self.name = path.name
        self.path = path
        self.root = path / "root"
        self.address = link.address
        self.key = key
        self._lower = root_of_base
        self._network = network
        self._link = link
        self._used = False

    # -- its life

    def create(self, sources: str) -> None:
        """Lay out its disk, identity and network, switched off. `sources`: what goes into its sources.list.d."""
        self._network.plug(self._link)
        self.path.mkdir(parents=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", self.path / "host_key"])
        (self.path / "sources").write_text(sources)
        self._format()

    def boot(self, *, deadline: float = 60) -> None:
        """Switch it on and wait until sshd answers."""
        self.start()
        self.wait(deadline=deadline)

    def start(self) -> None:
        """Switch it on."""
        network = Path("/run/netns") / self._link.namespace
        Keeper.start(self._link.namespace, self.root, network, self.path / "console.log", self.path / "keeper.json")

    def wait(self, *, deadline: float = 60) -> None:
        """Wait until sshd answers. Raises FleetError with the end of the console."""
        try:
            wait_until(self._answers, f"{self.name} ({self.address}) answers on port 22", deadline=deadline)
        except FleetError as error:
            raise FleetError(f"{error}; its console says:\n{self.console()}") from None

    def reboot(self, *, deadline: float = 60) -> None:
        """A real reboot, asked for from inside; returns when sshd answers again under a new boot id."""
        before = self.boot_id()
        self.exec(["systemctl", "reboot", "--no-block"])
        wait_until(lambda: self._boot_id_now() not in {"", before}, f"{self.name} comes back", deadline=deadline)
        self.wait(deadline=deadline)

    def power_cut(self) -> None:
        """The plug is pulled: PID 1 is killed, nothing is written, nobody says goodbye. `boot` switches it on again."""
        self._stop()

    def cut_ssh(self) -> None:
        """Every SSH session on it is killed, without a word to the other end but the end itself."""
        # the listener keeps its name; a session's says whose it is
        self.exec(["sh", "-c", _CUT_SSH], check=False)

    def link_down(self) -> None:
        """Its cable is pulled: packets vanish, connections hang."""
        run(["ip", "link", "set", self._link.cable, "down"])

    def link_up(self) -> None:
        run(["ip", "link", "set", self._link.cable, "up"])

    def reset(self) -> None:
        """As it was created: a fresh disk, the same name, address and host key, switched off."""
        self._stop()
        self._unmount()
        self._format()
        self.link_up()
        self._used = False

    def destroy(self) -> None:
        self._stop()
        self._unmount()
        self._network.unplug(self._link)
        shutil.rmtree(self.path, ignore_errors=True)

    # -- looking behind mainstay's back

    def exec(self, argv: list[str], *, stdin: bytes = b"", check: bool = True) -> str:
        """Run as root inside it, without SSH; returns stdout. With check, a status other than 0 raises FleetError."""
        self._used = True
        leader = self.leader()
        if leader is None:
            raise FleetError(f"{self.name} is switched off")
        enter = ["nsenter", "-t", str(leader), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        clean = ["env", "-i", f"PATH={GUEST_PATH}", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        done = subprocess.run([*enter, *clean, *argv], input=stdin, capture_output=True, check=False)
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")
            raise FleetError(f"{self.name}: {' '.join(argv)}: exit {done.returncode}\n{said}")
        return done.stdout.decode("utf-8", "replace")

    def boot_id(self) -> str:
        """Of the boot that is under way. Read from outside: who enters a host that is going down may never come out."""
        leader = self.leader()
        if leader is None:
            raise FleetError(f"{self.name} is switched off")
        return Path(f"/proc/{leader}/root/proc/sys/kernel/random/boot_id").read_text().strip()

    def installed(self) -> dict[str, str]:
        """Installed packages and their versions, from dpkg itself."""
        show = self.exec(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n"])
        return {name: version for status, name, version in map(str.split, show.splitlines()) if status == "ii"}

    def install(self, name: str, version: str) -> None:
        """Install one package at one version, as an administrator would have before mainstay came."""
        # Strict, and again: without it a repository that did not answer at once is no error, and the package is unknown.
        update = ["apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update"]
        wait_until(lambda: self._succeeds(update), f"{self.name} has the repository's lists", deadline=30)
        self.exec(["apt-get", "-q", "-y", "--allow-downgrades", "install", f"{name}={version}"])

    def _succeeds(self, argv: list[str]) -> bool:
        try:
            self.exec(argv)
        except FleetError:
            return False
        return True

    def console(self) -> str:
        """The end of what it said while booting and running."""
        try:
            return (self.path / "console.log").read_bytes()[-3000:].decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    @property
    def known_hosts_line(self) -> str:
        kind, key, _ = (self.path / "host_key.pub").read_text().split()
        return f"{self.address} {kind} {key}\n"

    @property
    def used(self) -> bool:
        return self._used

    def take(self) -> None:
        """Mark it as no longer pristine."""
        self._used = True

    def leader(self) -> int | None:
        """Its PID 1, as a process of this machine; None while it is off or between two boots."""
        keeper = self._keeper()
        return keeper.leader() if keeper else None

    # -- inside

    def _format(self) -> None:
        for folder in ("upper", "work", "root"):
            (self.path / folder).mkdir()
        layers = f"lowerdir={self._lower},upperdir={self.path}/upper,workdir={self.path}/work"
        # volatile: dpkg's many syncs cost most of an upgrade's time, and these disks need not survive the machine
        if not quietly(["mount", "-t", "overlay", "overlay", "-o", f"{layers},volatile", self.root]):
            run(["mount", "-t", "overlay", "overlay", "-o", layers, self.root])
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {self.name}\n")
        (self.root / "etc/machine-id").write_text(f"{uuid.uuid5(uuid.NAMESPACE_URL, self.name).hex}\n")
        (self.root / "etc/apt/sources.list.d/fleet.sources").write_text((self.path / "sources").read_text())
        for name in ("host_key", "host_key.pub"):
            target = self.root / "etc/ssh" / name.replace("host_key", "ssh_host_ed25519_key")
            shutil.copy(self.path / name, target)
            os.chown(target, 0, 0)

    def _unmount(self) -> None:
        if os.path.ismount(self.root) and not quietly(["umount", self.root]):
            quietly(["umount", "-l", self.root])
        for folder in ("upper", "work", "root"):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def _stop(self) -> None:
        keeper = self._keeper()
        if keeper:
            keeper.kill()
        (self.path / "keeper.json").unlink(missing_ok=True)

    def _keeper(self) -> Keeper | None:
        return Keeper.load(self.path / "keeper.json")

    def _answers(self) -> bool:
        if self._keeper() is None:
            raise FleetError(f"{self.name} ended while booting")
        try:
            with socket.create_connection((self.address, 22), timeout=0.5) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _boot_id_now(self) -> str:
        try:
            return self.boot_id()
        except (FleetError, OSError):
            return ""

"""A Debian with a kernel of its own, emulated: for what the hosts of the fleet can't show, who share this machine's kernel.
Slow (some 40 s until it answers), so for long tests. Its image is built once and never written to."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.sshd import Sshd
from tests.fleet.base import CACHE, alone
from tests.fleet.mirror import machine_suites
from tests.fleet.system import FleetError, quietly, run, wait_until
from tests.servers.ports import free_port

PROGRAM = "qemu-system-x86_64"
KERNELS = {"Debian": "linux-image-cloud-amd64", "Ubuntu": "linux-image-virtual"}
INCLUDE = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,procps,ca-certificates,initramfs-tools,lvm2,xfsprogs"
NETWORK = "[Match]\nName=e*\n[Network]\nDHCP=yes\n"
LINES = "root=/dev/vda rw console=ttyS0 quiet"


@dataclass(frozen=True)
class Machine:
    """sshd: how it is reached, as root."""

    sshd: Sshd

    def run(self, *argv: str) -> str:
        """The words reach its shell as they are. Raises FleetError."""
        return run([*self._ssh(), " ".join(argv)])

    def answers(self) -> bool:
        return quietly([*self._ssh(), "true"])

    def _ssh(self) -> list[str]:
        options = ("BatchMode=yes", "ConnectTimeout=5", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        own = [word for option in (*options, "LogLevel=ERROR") for word in ("-o", option)]
        return ["ssh", *own, "-i", str(self.sshd.key), "-p", str(self.sshd.port), "root@127.0.0.1"]


@contextmanager
def machine(folder: Path, *, disks: Sequence[int] = ()) -> Iterator[Machine]:
    """Booted and answering on loopback; nothing else is reached from it. disks: bytes of more of them: /dev/vdb, …
    folder: for the disks and its console. Raises FleetError."""
    if shutil.which(PROGRAM) is None:
        raise FleetError(f"{PROGRAM} is missing: install the Debian package qemu-system-x86")
    image = _image()
    port = free_port()
    drives = [image / "root.img"]
    for number, size in enumerate(disks):
        drives.append(folder / f"disk{number}")
        with drives[-1].open("wb") as file:
            file.truncate(size)
    # What it writes to its disks is thrown away with it.
    argv = [PROGRAM, "-accel", "tcg", "-cpu", "max", "-m", "768", "-nographic", "-no-reboot", "-snapshot"]
    argv += ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"), "-append", LINES]
    argv += [word for drive in drives for word in ("-drive", f"file={drive},if=virtio,format=raw")]
    argv += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net,netdev=net"]
    console = folder / "console"
    with console.open("wb") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        one = Machine(Sshd(image, port, process))

        def answers() -> bool:
            if process.poll() is not None:
                raise FleetError(f"{PROGRAM} ended: {console.read_text(errors='replace')[-2000:]}")
            return one.answers()

        wait_until(answers, "the machine answers", deadline=600, every=1)
        yield one
    finally:
        process.kill()
        process.wait()


def _image() -> Path:
    """Folder with root.img, vmlinuz, initrd and the key `id`; built where there is none yet (about a minute)."""
    release = machine_suites()[0]
    if platform.machine() != "x86_64":
        raise FleetError(f"machines with a kernel of their own are x86_64; this one is {platform.machine()}")
    recipe = f"{Path(__file__).read_text()}|{release.site} {release.name}"
    path = CACHE / f"machine-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with alone(CACHE / "machine.lock"):
        if not path.exists():
            for old in CACHE.glob("machine-*/"):
                shutil.rmtree(old)
            _build(path, KERNELS[release.origin], release.name, release.site)
    return path


def _build(path: Path, kernel: str, release: str, site: str) -> None:
    work = path.with_name(f"{path.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    root = work / "root"
    packages = f"--include={INCLUDE},{kernel}"
    run(["mmdebstrap", "-q", "--variant=minbase", packages, release, root, f"deb {site} {release} main"])
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "id"])
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(work / "id.pub", root / "root/.ssh/authorized_keys")
    (root / "etc/systemd/network/e.network").write_text(NETWORK)
    run(["chroot", root, "systemctl", "enable", "-q", "systemd-networkd"])
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    for name, found in (("vmlinuz", root.glob("boot/vmlinuz-*")), ("initrd", root.glob("boot/initrd.img-*"))):
        shutil.copy(next(found), work / name)
    with (work / "root.img").open("wb") as file:
        file.truncate(1 << 30)
    run(["mke2fs", "-q", "-t", "ext4", "-d", root, work / "root.img"])
    shutil.rmtree(root)
    work.rename(path)

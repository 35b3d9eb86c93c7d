"""The base that all hosts start from: built once, cached, shared read-only.

It holds the release pocket alone, so that the release's own security updates are pending on it, for real. They are fetched
with it (through the machine's own apt configuration), and so are the versions that they replace.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.mirror import Mirror, Suite, machine_suites
from tests.fleet.system import run

CACHE = Path(os.environ.get("MAINSTAY_FLEET_DIR", "/var/tmp/mainstay-fleet"))

INCLUDE = "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,iproute2,procps,ca-certificates,openssl,curl"
MASKED = (
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "dpkg-db-backup.timer",
)
INST = re.compile(r"^Inst (\S+)(?: \[([^\]]+)\])? \((\S+) (.+?) \[([^\]]+)\]\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Base:
    """root: the file system. key: logs in as ops, reader and root. debs/<suite>/*.deb: what the repository can offer."""

    path: Path
    suites: tuple[Suite, ...]

    @classmethod
    def load(cls, path: Path) -> Base:
        return cls(path, tuple(Suite(**s) for s in json.loads((path / "suites.json").read_text())))

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def key(self) -> Path:
        return self.path / "id"

    @property
    def gnupg(self) -> Path:
        return self.path / "gnupg"

    @property
    def debs(self) -> Path:
        return self.path / "debs"


def base() -> Base:
    """The base for this machine's distribution; built when there is none yet (about 40 s). Raises FleetError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    suites = machine_suites()
    recipe = [Path(__file__).read_text(), platform.machine(), *(f"{s.site} {s.name}" for s in suites)]
    path = CACHE / f"base-{hashlib.sha256('|'.join(recipe).encode()).hexdigest()[:16]}"
    if not path.exists():
        with alone(CACHE / "base.lock"):
            if not path.exists():
                _build(path, suites)
    return Base.load(path)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Let one process at a time in; the others wait."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(path: Path, suites: list[Suite]) -> None:
    work = path.with_suffix(f".new{os.getpid()}")
    for stale in [*CACHE.glob("base-*.new*"), *_old()]:
        shutil.rmtree(stale)
    work.mkdir(parents=True)
    release = suites[0]
    root = work / "root"
    options = ["-q", "--variant=minbase", f"--include={INCLUDE}"]
    run(["mmdebstrap", *options, release.name, root, f"deb {release.site} {release.name} main"])
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", work / "id"])
    _users(root, (work / "id.pub").read_text())
    _settle(root)
    _archive_key(work, root)
    _fetch(work, suites)
    (work / "suites.json").write_text(
        json.dumps([{k: getattr(s, k) for k in Suite.__slots__} for s in suites], indent=1)
    )
    work.rename(path)


def _old() -> Iterator[Path]:
    """Bases of other recipes that nobody has built from for days."""
    for path in CACHE.glob("base-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > 3 * 86400:
            yield path


def _users(root: Path, public: str) -> None:
    for user in ("ops", "reader"):
        run(["chroot", root, "useradd", "-m", "-s", "/bin/bash", user])
        run(["chroot", root, "usermod", "-p", "*", user])  # no password, and yet not locked: sshd refuses locked ones
    sudoers = root / "etc/sudoers.d/ops"
    sudoers.write_text("ops ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    for user, home in (("ops", "home/ops"), ("reader", "home/reader"), ("root", "root")):
        ssh = root / home / ".ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        (ssh / "authorized_keys").write_text(public)
        run(["chroot", root, "chown", "-R", f"{user}:{user}", f"/{home}/.ssh"])


def _settle(root: Path) -> None:
    for key in root.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # sshd answers a moment before user sessions are allowed: without this the first login after a boot may be turned away
    (root / "etc/tmpfiles.d/systemd-nologin.conf").symlink_to("/dev/null")
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    for name in ("etc/machine-id", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)


def _archive_key(work: Path, root: Path) -> None:
    """The throw-away key that signs the repository."""
    home = work / "gnupg"
    home.mkdir(mode=0o700)
    gpg: list[str | Path] = ["gpg", "--homedir", home, "--batch", "--quiet"]
    try:
        run([*gpg, "--passphrase", "", "--quick-generate-key", "fleet <fleet@invalid>", "ed25519", "sign", "never"])
        run([*gpg, "--output", root / "usr/share/keyrings/fleet.gpg", "--export", "fleet@invalid"])
    finally:
        run(["gpgconf", "--homedir", home, "--kill", "all"])


def _fetch(work: Path, suites: list[Suite]) -> None:
    """Fetch what is pending on the base, and the versions that it replaces, each into debs/<suite>."""
    apt = Mirror(work / "apt", suites, work / "root/var/lib/dpkg/status")
    pending = INST.findall(apt.get("-s", "dist-upgrade"))
    new: dict[str, list[str]] = {}
    old: list[str] = []
    for name, before, version, origins, _arch in pending:
        new.setdefault(_suite_of(origins, suites), []).append(f"{name}={version}")
        if before:
            old.append(f"{name}={before}")
    for suite, wanted in [*new.items(), (suites[0].name, old)]:
        into = work / "debs" / suite
        into.mkdir(parents=True, exist_ok=True)
        if wanted:
            apt.get("download", *wanted, cwd=into)
    apt.forget()


def _suite_of(origins: str, suites: list[Suite]) -> str:
    """`Debian-Security:12/oldstable-security` → the suite of ours that it came from; security where it is in several."""
    names = {f"/{s.suite}": s.name for s in suites}
    came_from = {names[tail] for origin in origins.split(", ") if (tail := origin[origin.rindex("/") :]) in names}
    return min(came_from, key=lambda name: not name.endswith("-security"), default=suites[0].name)

"""A fleet: its network, its repository, its hosts. What it makes goes away with it; the base stays for the next one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.fleet.base import CACHE, Base, base
from tests.fleet.host import Host
from tests.fleet.network import Network
from tests.fleet.repository import Repository
from tests.fleet.system import FleetError, quietly, run, uninterrupted

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")


class Fleet:
    """hosts: by name, h1, h2, …; repository: what their apt sees; key: logs in as ops (sudo), reader (no sudo) and root;
    known_hosts: a file with every host's pinned key."""

    def __init__(self, path: Path, made_of: Base, network: Network) -> None:
        self.path = path
        self.network = network
        self.key = path / "id"
        self.known_hosts = path / "known_hosts"
        self.repository = Repository(path / "repository", made_of, network.gateway)
        self.hosts: dict[str, Host] = {}
        self._base = made_of

    @classmethod
    def create(cls, path: Path) -> Fleet:
        """A fleet of no hosts yet, in a new or empty folder. `destroy` removes all of it. Raises FleetError."""
        made_of = base()
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise FleetError(f"{path}: not empty, and all of it would go away with the fleet")
        _layerable(path, made_of)
        network = Network.claim()
        fleet = cls(path, made_of, network)
        try:
            (path / "fleet.json").write_text(json.dumps({"number": network.number, "base": str(made_of.path)}))
            shutil.copy2(made_of.key, fleet.key)
            shutil.copy2(made_of.path / "id.pub", path / "id.pub")
            fleet.known_hosts.touch()
            # the usual 128 stops the eighth systemd from starting
            if int(INSTANCES.read_text()) < 8192:
                INSTANCES.write_text("8192")
            fleet.repository.create()
        except BaseException:
            fleet.destroy()
            raise
        return fleet

    @classmethod
    def open(cls, path: Path) -> Fleet:
        """A fleet that another process created. Raises FleetError when there is none."""
        try:
            state = json.loads((path / "fleet.json").read_text())
        except FileNotFoundError:
            raise FleetError(f"{path}: no fleet here") from None
        fleet = cls(path, Base.load(Path(state["base"])), Network(state["number"]))
        fleet.repository.open()
        for folder in sorted(path.glob("h[0-9]*"), key=lambda p: int(p.name[1:])):
            fleet.hosts[folder.name] = fleet._host(int(folder.name[1:]))
        return fleet

    def add(self, count: int) -> list[Host]:
        """Boot `count` more hosts, side by side, and wait until each answers."""
        first = len(self.hosts) + 1
        new = [self._host(index) for index in range(first, first + count)]
        for host in new:
            self.hosts[host.name] = host
            host.create(self.repository.sources)
            with self.known_hosts.open("a") as file:
                file.write(host.known_hosts_line)
            host.start()
        self._each(new, Host.wait)
        return new

    def pristine(self, count: int) -> list[Host]:
        """`count` hosts as if just created, and the repository as it was in the beginning. Hosts that were lent before
        are made new; about a second for all of them."""
        self.repository.reset()
        lent = list(self.hosts.values())[:count]
        self._each([host for host in lent if host.used], _renew)
        if count > len(lent):
            lent += self.add(count - len(lent))
        for host in lent:
            host.take()
        return lent

    def web(self, count: int) -> list[Host]:
        """`count` pristine hosts with demo-web 1.0 on them."""
        hosts = self.pristine(count)
        self._each(hosts, lambda host: host.install("demo-web", "1.0"))
        return hosts

    def destroy(self) -> None:
        """Take everything down that this fleet made. Safe to call twice, and after a half-made `create`."""
        with uninterrupted():
            self._each(list(self.hosts.values()), Host.destroy)
            self.repository.destroy()
            self.network.release()
            if os.path.ismount(self.path):
                quietly(["umount", "-l", self.path])
            shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    def _host(self, index: int) -> Host:
        return Host(self.path / f"h{index}", self._base.root, self.network, self.network.link(index), self.key)

    @staticmethod
    def _each(hosts: list[Host], do: Callable[[Host], None]) -> None:
        if hosts:
            with ThreadPoolExecutor(len(hosts)) as pool:
                list(pool.map(do, hosts))


def _renew(host: Host) -> None:
    host.reset()
    host.boot()


def _layerable(path: Path, made_of: Base) -> None:
    """Where the file system cannot carry overlay layers (it may be one itself), put the fleet into memory."""
    trial = path / "trial"
    for folder in ("upper", "work", "root"):
        (trial / folder).mkdir(parents=True)
    layers = f"lowerdir={made_of.root},upperdir={trial}/upper,workdir={trial}/work"
    works = quietly(["mount", "-t", "overlay", "overlay", "-o", layers, trial / "root"])
    if works:
        run(["umount", trial / "root"])
    shutil.rmtree(trial)
    if not works:
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path])


@contextmanager
def temporary() -> Iterator[Fleet]:
    """A fleet for as long as this process lives. Fleets whose process died before it could clean up are cleaned up first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    reap()
    folder = Path(tempfile.mkdtemp(prefix="new-", dir=CACHE))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # from here on a reaper looks at the lock
        folder = folder.rename(folder.with_name(folder.name.replace("new-", "run-")))
        try:
            with Fleet.create(folder / "fleet") as fleet:
                yield fleet
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def reap() -> None:
    """Take down the fleets of tests whose process died before it could."""
    for folder in CACHE.glob("run-*"):
        with contextlib.suppress(FileNotFoundError), (folder / "lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            with contextlib.suppress(FleetError):
                Fleet.open(folder / "fleet").destroy()
            shutil.rmtree(folder, ignore_errors=True)

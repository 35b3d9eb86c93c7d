"""What the tests of upkeep share: mainstay's hold on a real host, with lock and fence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host as InventoryHost
from mainstay.inventory.host import Ssh
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.host_upkeep import HostUpkeep
from mainstay.runner.operation import HostWork
from mainstay.runner.probing import gather
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import Fence, Shell
from tests.fleet import Fleet, Host

STATE = "state-of-the-test"


@dataclass(slots=True)
class Hold:
    """One host in the hands of one run."""

    machine: Host
    shells: FabricShells
    shell: Shell
    work: HostWork
    upkeep: HostUpkeep = field(default_factory=HostUpkeep)
    said: list[str] = field(default_factory=list)

    def facts(self) -> Facts:
        return gather(self.shell)

    def unit(self, name: str, *lines: str) -> None:
        """Write a unit as an administrator would, and let systemd see it."""
        self.machine.exec(["tee", f"/etc/systemd/system/{name}"], stdin="\n".join(lines).encode() + b"\n")
        self.machine.exec(["systemctl", "daemon-reload"])


def entry(fleet: Fleet, machine: Host, *, user: str = "ops") -> InventoryHost:
    return InventoryHost(name=machine.name, address=machine.address, ssh=Ssh(user=user, key=f"file:{fleet.key}"))


@contextmanager
def hold(fleet: Fleet, machine: Host, *, number: int = 1, run: str = "run1") -> Iterator[Hold]:
    host = entry(fleet, machine)
    shells = FabricShells(lambda name: host, fleet.known_hosts, str)
    shell = shells.open(host)
    fence = Fence(number=number, state=STATE, run=run, site="test")
    try:
        hostlock.acquire(shell, fence, stale=frozenset({"run1"}))
        said: list[str] = []
        work = HostWork(
            run=run,
            host=host,
            shell=shell,
            fence=fence,
            facts=gather(shell),
            artifacts=cast(Artifacts, None),  # upkeep keeps nothing itself
            progress=said.append,
        )
        yield Hold(machine, shells, shell, work, said=said)
    finally:
        shell.close()
        shells.close()

"""Real Debian hosts for tests and the demo: systemd as PID 1, sshd, apt, addresses and reboots of their own."""

from tests.fleet.fleet import Fleet
from tests.fleet.host import Host
from tests.fleet.repository import Repository
from tests.fleet.system import FleetError

__all__ = ["Fleet", "FleetError", "Host", "Repository"]

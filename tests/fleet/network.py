"""A bridge and a subnet that belong to one fleet alone."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fleet.system import FleetError, quietly, run


@dataclass(frozen=True, slots=True)
class Link:
    """One host's place in the network: a namespace of its own, and the cable that ends on the bridge."""

    namespace: str
    cable: str
    address: str


@dataclass(frozen=True, slots=True)
class Network:
    """10.77.<number>.0/24 with no way out of it. Creating the bridge is the claim: the kernel lets only one of two succeed,
    whatever /run and /tmp they see."""

    number: int

    @property
    def bridge(self) -> str:
        return f"msfleet{self.number}"

    @property
    def gateway(self) -> str:
        return f"10.77.{self.number}.1"

    @classmethod
    def claim(cls) -> Network:
        for number in range(1, 255):
            network = cls(number)
            if not quietly(["ip", "link", "add", network.bridge, "type", "bridge"]):
                continue
            if run(["ip", "route", "show", f"10.77.{number}.0/24"]).strip():  # somebody else's by another name
                network.release()
                continue
            run(["ip", "addr", "add", f"{network.gateway}/24", "dev", network.bridge])
            run(["ip", "link", "set", network.bridge, "up"])
            return network
        raise FleetError("no subnet of 10.77.0.0/16 is free, or bridges cannot be made here (root is needed)")

    def link(self, index: int) -> Link:
        """Where host number `index` (from 1) is plugged in."""
        return Link(f"msfleet{self.number}-h{index}", f"ms{self.number}h{index}", f"10.77.{self.number}.{10 + index}")

    def plug(self, link: Link) -> None:
        run(["ip", "netns", "add", link.namespace])
        run(["ip", "link", "add", link.cable, "type", "veth", "peer", "name", "host0", "netns", link.namespace])
        run(["ip", "link", "set", link.cable, "master", self.bridge, "up"])
        run(["ip", "-n", link.namespace, "addr", "add", f"{link.address}/24", "dev", "host0"])
        run(["ip", "-n", link.namespace, "link", "set", "host0", "up"])
        run(["ip", "-n", link.namespace, "link", "set", "lo", "up"])

    def unplug(self, link: Link) -> None:
        quietly(["ip", "link", "del", link.cable])  # the namespace alone would let go of it only later
        quietly(["ip", "netns", "del", link.namespace])

    def release(self) -> None:
        quietly(["ip", "link", "del", self.bridge])

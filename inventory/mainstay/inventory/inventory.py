"""All hosts of a site with their groups, merged, and the checks that need to see all of them."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.groups import Groups
from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.settings import merged
from mainstay.inventory.sources.contract import GroupRecord, HostRecord
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Json


@dataclass(frozen=True, slots=True)
class Inventory:
    """hosts: sorted by name. groups: name → names of all its hosts, sorted, children included (`all` is not in it)."""

    hosts: tuple[Host, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _machines: Mapping[tuple[str, int, str], tuple[str, ...]] = field(default_factory=dict, repr=False)
    _by_name: Mapping[str, Host] = field(default_factory=dict, repr=False)

    def host(self, name: str) -> Host | None:
        return self._by_name.get(name)

    def same_machine(self, host: Host) -> tuple[str, ...]:
        """Other names that lead to the same machine as far as the inventory can tell: same address, port and jump host.
        Whoever works on one of them must not work on another at the same time."""
        return tuple(name for name in self._machines.get(_machine(host), ()) if name != host.name)


def build(
    hosts: Iterable[HostRecord],
    groups: Iterable[GroupRecord],
    site_ssh: Json,
    unread: frozenset[str] = frozenset(),
) -> tuple[Inventory, list[Problem], list[Problem]]:
    """Merge and check. Gives the inventory (of what is right), errors and warnings. unread: names that are declared
    and could not be read.

    Precedence, later wins: site's ssh, group `all`, other groups from parent to child (by depth, then name), host.
    """
    errors: list[Problem] = []
    warnings: list[Problem] = []
    records = _unique(hosts, errors)
    made = Groups(list(groups), records, errors, warnings, unread)
    built = tuple(_host(record, made, site_ssh) for _, record in sorted(records.items()))
    _check_jumps(built, records, errors, unread)
    machines: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for host in built:
        machines[_machine(host)].append(host.name)
        if note := records[host.name].note:
            warnings.append(records[host.name].spot.at("address").problem(note))
    for names in machines.values():
        for name in names[1:]:
            hint = "They are never worked on side by side."
            message = f"same address as {names[0]} ({records[name].address})."
            warnings.append(records[name].spot.problem(message, on="key", hint=hint))
    shared = {machine: tuple(names) for machine, names in machines.items() if len(names) > 1}
    return Inventory(built, made.members(), shared, {host.name: host for host in built}), errors, warnings


def _unique(hosts: Iterable[HostRecord], errors: list[Problem]) -> dict[str, HostRecord]:
    records: dict[str, HostRecord] = {}
    folded: dict[str, str] = {}
    for record in hosts:
        first = records.get(folded.get(record.name.lower(), ""))
        if first is None:
            records[record.name] = record
            folded[record.name.lower()] = record.name
            continue
        message = f"this host is declared twice, first in {first.spot.source}."
        if first.name != record.name:
            message = f"differs only by case from {first.name} in {first.spot.source}."
        errors.append(record.spot.problem(message, on="key", hint="Keep one of the two."))
    return records


def _host(record: HostRecord, groups: Groups, site_ssh: Json) -> Host:
    own = record.settings.said()
    layers = groups.settings_of(record.name)
    ssh = merged(site_ssh, *layers, own)
    if ssh.jump == record.name and "jump" not in own:
        # "jump: bastion" for a whole site or group is not meant for the bastion itself
        ssh = ssh.model_copy(update={"jump": None})
    controller = record.controller
    if controller is None:
        controller = ssh.port == 22 and ssh.jump is None and _is_here(record.address)
    return Host(
        name=record.name,
        address=record.address,
        groups=groups.of(record.name),
        tags={**groups.tags_of(record.name), **record.tags},
        ssh=ssh,
        timezone=record.timezone or groups.timezone_of(record.name),
        controller=controller,
        source=record.spot.source,
    )


def _machine(host: Host) -> tuple[str, int, str]:
    # behind two jump hosts the same private address is two machines
    return host.address.lower().removesuffix("."), host.ssh.port, host.ssh.jump or ""


def _is_here(address: str) -> bool:
    """Whether an address is this machine's own: loopback, or one that a socket can be bound to."""
    if address == "localhost" or address.lower() == socket.gethostname().lower():
        return True
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if parsed.is_loopback:
        return True
    if parsed.is_multicast or parsed.is_unspecified:
        return False
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(parsed), 0))
    except OSError:
        return False
    return True


def _check_jumps(
    hosts: tuple[Host, ...], records: Mapping[str, HostRecord], errors: list[Problem], unread: frozenset[str]
) -> None:
    by_name = {host.name: host for host in hosts}
    for host in hosts:
        spot: Spot = records[host.name].spot.at("jump")
        if host.ssh.jump is None or host.ssh.jump in unread:
            continue
        if host.ssh.jump not in by_name:
            hint = did_you_mean(host.ssh.jump, by_name) or "A jump host is a host of this inventory."
            errors.append(spot.problem(f"there is no host {shown(host.ssh.jump)} to jump through.", hint=hint))
            continue
        way = [host.name]
        here: Host | None = host
        while here is not None and here.ssh.jump is not None and len(way) <= len(by_name):
            way.append(here.ssh.jump)
            if here.ssh.jump == host.name:
                errors.append(spot.problem(f"the jump hosts lead back here: {' → '.join(way)}"))
                break
            if here.ssh.jump in way[:-1]:
                break  # a cycle further on: told at the hosts in it
            here = by_name.get(here.ssh.jump)

"""What a source of hosts gives: records as they were written, not yet merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.settings import SshSettings


@dataclass(frozen=True, slots=True)
class HostRecord:
    """address: as it is dialled, already checked. controller: None where nobody said. spot: for problems."""

    name: str
    address: str
    spot: Spot
    settings: SshSettings = field(default_factory=SshSettings)
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    controller: bool | None = None
    timezone: str | None = None
    note: str | None = None
    """Something that people should see beside it (a name that is dialled as punycode)."""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """hosts and groups: names of members. A group may be told by several sources; its parts add up."""

    name: str
    spot: Spot
    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    selector: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    settings: SshSettings = field(default_factory=SshSettings)
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Records:
    """What could be read; problems: what could not, with its place.

    unread: names of hosts and groups among the latter, so that nobody is told that they don't exist.
    """

    hosts: tuple[HostRecord, ...] = ()
    groups: tuple[GroupRecord, ...] = ()
    problems: tuple[Problem, ...] = ()
    unread: frozenset[str] = frozenset()


class Source(Protocol):
    @property
    def name(self) -> str:
        """For people: `inventory/hosts.yml`, `ec2 eu-central-1`."""

    def load(self) -> Records:
        """Never raises for what is written wrong: that is in `problems`, and the rest is still given."""

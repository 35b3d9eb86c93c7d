"""A machine that is maintained."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mainstay.inventory.value import Value


class Become(Value):
    """How root's rights are had. `password` is a secret's reference (`file:…`), never the secret."""

    method: str = "sudo"
    password: str | None = None


class Ssh(Value):
    """How a host is reached. `key`, `passphrase` and `become.password` are references, resolved when used."""

    user: str = "root"
    read_user: str | None = None
    """The login for what only reads; `user` where it is not given."""
    key: str | None = None
    passphrase: str | None = None
    port: int = Field(default=22, ge=1, le=65535)
    jump: str | None = None
    """Name of another host of the inventory through which this one is reached."""
    become: Become = Become()
    connect_timeout: float = Field(default=10, gt=0, le=300)


class Host(Value):
    """One machine. `address` is what is dialled (IP or DNS name, IDN as punycode); `name` is what people say."""

    name: str
    address: str
    groups: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    ssh: Ssh = Ssh()
    timezone: str | None = None
    """Of its own clock, for windows that open by it; None: the site's."""
    controller: bool = False
    """True for the machine that mainstay itself runs on: it runs alone and last."""
    source: str = ""
    """Where it was declared: `inventory/hosts.yml:4`."""

    def attributes(self) -> dict[str, Any]:
        """What a selector sees: its tags, `name`, `address` and `group` (several)."""
        return {**self.tags, "name": self.name, "address": self.address, "group": self.groups}

"""BackupChange: what one run takes of one host, settled before it begins. Frozen, plain JSON."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from pydantic import Field

from mainstay.inventory.value import Value

ItemKind = Literal["paths", "files_from", "postgresql", "globals", "basebackup", "mysql", "sqlite", "command"]
TAG = "mainstay"
"""All snapshots of mainstay's have it."""
STATE = "state"
"""Key of the tag with the id of the state whose run made it: runs of one schedule have the same ids on every controller."""


class Item(Value):
    """What becomes one snapshot: a source, or one database or file of it."""

    source: str
    name: str = ""
    """The database or file; empty where the source is one snapshot."""
    kind: ItemKind
    filename: str = ""
    """Of a stream: its name in the snapshot."""
    snapshot: Literal["", "auto", "btrfs", "lvm"] = ""
    """A snapshot of the filesystem to read from; auto: where there can be one."""

    @property
    def unit(self) -> str:
        """As a recovery point's: `files`, `db/orders`."""
        return f"{self.source}/{self.name}" if self.name else self.source

    def tags(self, run: str, plan: str, maker: str = "") -> tuple[str, ...]:
        """restic separates tags by commas: what a name holds of those, or of blanks, is written %2C."""
        named = {"run": run, "plan": plan, "source": self.source} | ({"item": self.name} if self.name else {})
        named |= {STATE: maker} if maker else {}
        return (TAG, *(f"{key}={quote(value, safe='/.:@_-')}" for key, value in named.items()))


class Program(Value):
    """The restic that the host runs."""

    path: str
    version: str
    """`0.18.0`."""
    sha256: str = ""
    """Of the controller's own that is sent; empty where the host has one."""


class BackupChange(Value):
    version: int = 1
    run: str
    host: str
    items: tuple[Item, ...]
    lost: dict[str, str] = {}
    """Name of a source → why it could not be asked what it holds."""
    program: Program
    state_dir: str
    """mainstay's own folder on the host."""
    memory: str
    """A folder that is never written to a disk; secrets are handed over in a folder below it."""
    token: str = Field(min_length=16)
    """Random. Only what the job itself prints has it: no output of another program can be taken for it."""
    port: int = 0
    """On the host's loopback, for the way through the controller; 0 where the host reaches the repository by itself."""
    began_at: str = ""
    """When this was settled, RFC 3339 UTC."""
    maker: str = ""
    """Id of the state that does it; empty where it was settled before there was a tag for that."""

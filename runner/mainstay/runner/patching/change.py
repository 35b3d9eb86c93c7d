"""What a patch changes on one host, and all that going back needs. Frozen, versioned, plain JSON."""

from __future__ import annotations

from typing import Literal

from mainstay.inventory.value import Value, digest
from mainstay.runner.operation import LeftOut

Where = Literal["repository", "captured", "rebuilt", "missing", "none"]
"""Where an old version is to be had: from the host's repositories, as a captured package in the artifact store, there but
put together from the installed files, nowhere; or none is needed (the package was not there)."""


class PackageChange(Value):
    """One package. `name` is what tells it apart on its host: `libssl3`, or `libssl3:i386` where it is of another
    architecture than the host's own."""

    name: str
    arch: str = ""
    before: str | None = None
    """Version; None: not installed."""
    after: str | None = None
    """Version; None: removed."""
    sha256: str | None = None
    """Of the package file with `after`, as the signed repository (or the artifact store) says it."""
    size: int | None = None
    """Of that file, bytes."""
    security: bool = False
    dependency: bool = False
    """Not selected by the plan: another one needs it."""
    untested: bool = False
    """Taken at the version of the forecast, since no host of the first wave had it."""
    pushed: bool = False
    """Installed from the artifact store, not from a repository."""
    auto: bool | None = None
    """Marked as installed automatically; None: the package manager decides."""
    origin: str = ""


class Change(Value):
    """The operation's C."""

    version: int = 1
    manager: str = "apt"
    items: tuple[PackageChange, ...] = ()
    """Sorted by name; the whole closure."""
    left_out: tuple[LeftOut, ...] = ()
    back: bool = False
    """Goes back: older versions and the removal of what was new are meant."""
    held: tuple[str, ...] = ()
    """Held packages that are changed all the same, on purpose."""

    def digest(self) -> str:
        """What a rolled-back change is blocked by: names and new versions, whatever was there before."""
        return digest(sorted([item.name, item.after or ""] for item in self.items))

    def named(self) -> dict[str, PackageChange]:
        return {item.name: item for item in self.items}


class UndoItem(Value):
    """One package to take back."""

    name: str
    arch: str = ""
    to: str | None = None
    """Version before the change; None: it was not installed."""
    brought: str | None = None
    """Version that the change brings; None: the change removes it."""
    where: Where = "repository"
    sha256: str | None = None
    """Of the captured package file."""
    size: int | None = None
    auto: bool | None = None
    why: str = ""
    """With `missing`: why it can't be had."""


class Conffile(Value):
    """A configuration file before the change. Digests are MD5 in hex, since that is what dpkg keeps."""

    package: str
    path: str
    shipped: str
    now: str | None = None
    """None: not there."""


class Undo(Value):
    """The operation's U."""

    version: int = 1
    manager: str = "apt"
    items: tuple[UndoItem, ...] = ()
    conffiles: tuple[Conffile, ...] = ()

"""A change in the package manager's words."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.runner.operation import HostWork
from mainstay.runner.patching.change import Change, PackageChange
from mainstay.runner.patching.contract import PackageManager, Rights, Want


def wants(items: Sequence[PackageChange], manager: PackageManager) -> list[Want]:
    """What is asked for; package files of the artifact store by their place on the host."""
    return [
        Want(item.name, item.after, manager.place(item.sha256) if item.pushed and item.sha256 else None)
        for item in items
    ]


def rights(change: Change) -> Rights:
    removes = any(item.after is None for item in change.items)
    return Rights(remove=removes, downgrade=change.back, held=bool(change.held))


def push(work: HostWork, manager: PackageManager, items: Sequence[PackageChange]) -> None:
    """Bring package files from the artifact store to their places on the host. Raises ArtifactMissing, ArtifactDamaged."""
    for item in items:
        if item.pushed and item.sha256:
            work.progress(f"sending {item.name} {item.after}")
            # Readable by apt's own user; what a package holds is no secret of the host's.
            work.shell.put(work.artifacts.path(item.sha256), manager.place(item.sha256), fence=work.fence, mode=0o644)

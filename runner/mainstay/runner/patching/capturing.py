"""Package files: brought to the host before a change, and kept on the controller so that the way back is there."""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.inventory.errors import Refused
from mainstay.runner.operation import HostWork
from mainstay.runner.patching.change import Change, Undo, UndoItem
from mainstay.runner.patching.contract import Captured, OldVersion, PackageManager, Staged
from mainstay.runner.patching.transaction import push, rights, wants


def stage(work: HostWork, manager: PackageManager, change: Change, *, keep: bool) -> Change:
    """Download everything, install nothing. keep: what is new also goes into the artifact store. Raises Refused where a
    file is not the one that was meant."""
    push(work, manager, change.items)
    fetched = [item for item in change.items if item.after is not None and not item.pushed]
    files = [(item.name, item.after or "", item.arch) for item in fetched]
    staged = manager.stage(work, wants(change.items, manager), rights(change), files)
    digests: dict[str, str] = {}
    for item in fetched:
        file = staged.get(item.name)
        if file is None:
            # Nothing to fetch: this very version is there already
            continue
        if item.sha256 and file.sha256 != item.sha256:
            raise Refused(f"{item.name} {item.after} on the host is another file than the one that was meant")
        digests[item.name] = file.sha256
        if keep:
            fetch(work, file)
    items = tuple(item.model_copy(update={"sha256": item.sha256 or digests.get(item.name)}) for item in change.items)
    return change.model_copy(update={"items": items})


def fetch(work: HostWork, file: Staged) -> None:
    """Copy a package file from the host into the artifact store, by its digest."""
    if work.artifacts.has(file.sha256):
        return
    work.progress(f"keeping {file.name}")
    with work.artifacts.writer(kind="package") as (target, hashes):
        found = work.shell.get(file.path, target, sudo=True)
    if found != file.sha256 or hashes != [file.sha256]:
        raise Refused(f"{file.name}: what came over is not what lies on the host")


def capture(work: HostWork, manager: PackageManager, change: Change, captured: Captured) -> Undo:
    """Where each old version is to be had, with whatever may be lost kept. What can't be had at all is `missing`."""
    old = manager.old(work.shell, [item.name for item in change.items], real=True)
    items = []
    for item in change.items:
        here = old.versions.get(item.name)
        if (here.version if here else None) != item.before:
            now = here.version if here else "not installed"
            raise Refused(f"{item.name} is {now}, and was {item.before or 'not installed'} a moment ago")
        undo = UndoItem(name=item.name, arch=item.arch, brought=item.after, where="none")
        items.append(undo if here is None else _old(work, manager, undo, here, captured))
    return Undo(manager=change.manager, items=tuple(items), conffiles=old.conffiles)


def _old(work: HostWork, manager: PackageManager, undo: UndoItem, here: OldVersion, captured: Captured) -> UndoItem:
    undo = undo.model_copy(update={"to": here.version, "arch": here.arch, "auto": here.auto})
    known = captured(here.name, here.version, here.arch)
    if known is not None and not work.artifacts.has(known):
        known = None
    if here.repository:
        # Noted beside the repository where it is there anyway: repositories lose versions
        return undo.model_copy(update={"where": "repository", "sha256": known})
    if known is not None:
        return undo.model_copy(update={"where": "captured", "sha256": known})
    if here.cached:
        files = manager.stage(work, [], rights(Change()), [(here.name, here.version, here.arch)])
        if here.name in files:
            fetch(work, files[here.name])
            return undo.model_copy(update={"where": "captured", "sha256": files[here.name].sha256})
    work.progress(f"rebuilding {here.name} {here.version} from its files")
    rebuilt = manager.rebuild(work, here.name)
    if rebuilt is None:
        why = "in no repository, not in the cache, and not to be rebuilt from its files"
        return undo.model_copy(update={"where": "missing", "why": why})
    try:
        fetch(work, rebuilt)
    finally:
        manager.discard(work, [rebuilt.path])
    work.notes.append(f"{here.name} {here.version} is in no repository; rebuilt from its installed files")
    return undo.model_copy(update={"where": "rebuilt", "sha256": rebuilt.sha256})


def index(undos: Sequence[Undo], changes: Sequence[Change] = ()) -> dict[tuple[str, str, str], str]:
    """(package, version, architecture) → digest of everything that earlier runs have kept: the `captured` of an operation."""
    found: dict[tuple[str, str, str], str] = {}
    for undo in undos:
        for old in undo.items:
            if old.sha256 and old.to and old.where == "captured":
                found[old.name, old.to, old.arch] = old.sha256
    for change in changes:
        for new in change.items:
            if new.sha256 and new.after:
                found[new.name, new.after, new.arch] = new.sha256
    return found

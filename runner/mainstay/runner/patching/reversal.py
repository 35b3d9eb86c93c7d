"""The rollback of a patch: the exact old versions back, as an operation like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Json
from mainstay.runner.operation import Forecast, HostWork, LeftOut, Look
from mainstay.runner.patching import capturing, resolving
from mainstay.runner.patching.change import Change, Conffile, PackageChange, Undo, UndoItem
from mainstay.runner.patching.contract import Installed, Old, Rights, Simulation
from mainstay.runner.patching.forecasting import refused
from mainstay.runner.patching.operation import PatchOperation
from mainstay.runner.patching.selection import matches
from mainstay.runner.patching.transaction import rights, wants

MIGRATING = (
    *("postgresql-[0-9]*", "mariadb-server*", "mysql-server*", "percona-server*", "mongodb*", "redis-server"),
    *("valkey-server", "elasticsearch", "opensearch", "influxdb*", "rabbitmq-server", "slapd", "gitlab-?e"),
)
"""Packages whose newer version may have changed the data so that the older one can't read it."""


@dataclass(slots=True)
class Back:
    """What going back comes to on a host as it is now. later: what somebody has changed since, in words."""

    items: list[PackageChange] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    already: int = 0
    held: tuple[str, ...] = ()


def back(undo: Undo, installed: Mapping[str, Installed], *, force: bool) -> Back:
    """Pure. A package that is back already is nothing to do, so that asking twice is safe."""
    found = Back()
    for item in undo.items:
        here = installed.get(item.name)
        version = here.version if here else None
        if version == item.to and (here is None or here.state == "installed"):
            found.already += 1
            continue
        if version not in (item.brought, item.to):
            now = version or "not installed"
            found.later.append(f"{item.name} is {now}, the run had brought {item.brought or 'its removal'}")
            if not force:
                continue
        if item.where == "missing":
            _leave(found, item, f"can't go back: {item.why}")
            continue
        if here and here.held:
            if not force:
                _leave(found, item, "held on the host; --force takes it back all the same", "held")
                continue
            found.held += (item.name,)
        found.items.append(_change(item, version))
    return found


def _leave(found: Back, item: UndoItem, detail: str, reason: str = "kept-back") -> None:
    found.left_out.append(LeftOut(item=item.name, version=item.to, reason=reason, detail=detail))


def _change(item: UndoItem, version: str | None) -> PackageChange:
    return PackageChange(
        name=item.name,
        arch=item.arch,
        before=version,
        after=item.to,
        sha256=item.sha256,
        size=item.size,
        pushed=item.where in ("captured", "rebuilt"),
        auto=item.auto,
    )


def touched_by_hand(noted: Sequence[Conffile], now: Sequence[Conffile]) -> tuple[str, ...]:
    """Configuration files edited since: neither as their package ships them now, nor as they were before the change."""
    before = {one.path: one.now for one in noted}
    return tuple(
        f"{one.package} {one.path}"
        for one in now
        if one.now is not None and one.now != one.shipped and one.now != before.get(one.path)
    )


class ReversalOperation(PatchOperation):
    """Operation[Change, Undo] that takes hosts back. undos: host → what its change can be undone by. force: also over
    later changes of the same packages, and over holds.

    Applying it captures the present, so that the rollback can itself be undone.
    """

    def __init__(self, patch: PatchOperation, undos: Mapping[str, Undo], *, force: bool = False) -> None:
        super().__init__(patch.plan, patch.manager, never=patch.never, captured=patch.captured)
        self.undos = undos
        self.force = force

    @classmethod
    def of(cls, data: Json, patch: Callable[[Json], PatchOperation]) -> ReversalOperation:
        """From `{undoes, undo: {host: U}, force}` as a rollback's request holds it. What is undone may itself have been
        a rollback: the patch at the bottom tells the rules."""
        plan = data
        while "undoes" in plan:
            plan = plan["undoes"]
        undos = {host: Undo.from_json(undo) for host, undo in data["undo"].items()}
        return cls(patch(plan), undos, force=bool(data.get("force")))

    @property
    def kind(self) -> str:
        return "rollback"

    def preview(self, look: Look) -> Forecast:
        undo = self.undos.get(look.host.name)
        if undo is None:
            return refused("nothing to go back to was captured here", self.manager)
        installed, _ = self.manager.inspect(look.shell, real=False)
        found = back(undo, installed, force=self.force)
        change = self._change(found)
        lost = self._lost(look, change)
        old = self.manager.old(look.shell, [one.name for one in change.items if one.before], real=False)
        gone = [(one.item, one.detail) for one in found.left_out] + sorted(lost.items())
        items = tuple((item.name, item.before or "", item.after or "") for item in change.items)
        return Forecast(
            change=change.to_json(),
            count=len(items),
            reversible=len(items) - len(lost),
            items=items,
            irreversible=tuple(gone),
            left_out=change.left_out,
            reboot="likely" if self.never_automatic(change) else "no",
            notes=self._notes(found, installed),
            limits=limits(undo, found, old),
            refused=self._refusal(found),
        )

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> Change:
        """Looks anew: what was back already when it was previewed may not be now, and the other way round."""
        if forecast.refused:
            raise Refused(forecast.refused)
        undo = self.undos.get(work.host.name)
        if undo is None:
            raise Refused("nothing to go back to was captured here")
        installed, complaints = self.manager.inspect(work.shell, real=True)
        found = back(undo, installed, force=self.force)
        if why := self._refusal(found):
            raise Refused(why, hint="--force goes back all the same")
        change = self._change(found)
        unwell = {name for name, one in installed.items() if one.state != "installed"}
        if complaints and not (unwell and unwell <= {item.name for item in change.items}):
            raise Refused(
                f"the package manager is not well: {'; '.join(complaints)[:300]}", hint="see dpkg --audit there"
            )
        # What is only half-configured at the right version is set up, not installed
        moving = [item for item in change.items if item.before != item.after]
        if moving:
            planned, moving = resolving.simulated(work, self.manager, moving, rights(change))
            moving = resolving.exact(moving, planned, {}, self.plan)
            resolving.room(work, moving)
        same = [item for item in change.items if item.before == item.after]
        items = tuple(sorted([*moving, *same], key=lambda item: item.name))
        return change.model_copy(update={"items": items})

    def capture(self, work: HostWork, change: Change) -> Undo:
        """A rollback is not refused because it could not itself be undone."""
        return capturing.capture(work, self.manager, change, self.captured)

    def _to_be_had(self, work: HostWork, change: Change) -> Change:
        return change  # found out when it was resolved

    def _change(self, found: Back) -> Change:
        items = tuple(sorted(found.items, key=lambda item: item.name))
        left = tuple(sorted(found.left_out, key=lambda one: one.item))
        return Change(manager=self.manager.name, items=items, left_out=left, back=True, held=found.held)

    def _lost(self, look: Look, change: Change) -> dict[str, str]:
        """Old versions that the repositories no longer have, and that nobody kept. Whether the host's cache still has them
        is found when it is resolved."""
        asked = [item for item in change.items if item.after and not item.pushed and item.before != item.after]
        if not asked:
            return {}
        simulation: Simulation = self.manager.simulate(
            look.shell, wants(asked, self.manager), Rights(remove=True, downgrade=True, held=True), real=False
        )
        arch = {item.name: item.arch for item in asked}
        version = {item.name: item.after or "" for item in asked}
        kept = {item.name for item in asked if item.sha256}
        return {
            name: f"{version[name]} is in no repository any more; at best the host's own cache has it"
            for name in simulation.missing
            if name in version and name not in kept and self.captured(name, version[name], arch[name]) is None
        }

    def _refusal(self, found: Back) -> str:
        if not found.later or self.force:
            return ""
        return f"changed since by somebody else: {'; '.join(found.later)} (--force goes back all the same)"

    def _notes(self, found: Back, installed: Mapping[str, Installed]) -> tuple[str, ...]:
        notes = [f"{found.already} packages are back already"] if found.already else []
        if found.later and self.force:
            notes.append(f"changed since by somebody else, forced: {'; '.join(found.later)}")
        return tuple(notes)


def limits(undo: Undo, found: Back, old: Old) -> tuple[str, ...]:
    """What going back can't do on this host."""
    lines = [
        f"configuration changed by hand since is kept: {path}"
        for path in touched_by_hand(undo.conffiles, old.conffiles)
    ]
    migrating = [item.name for item in found.items if matches(item.name, MIGRATING)]
    lines += [f"data that {name} has migrated since stays migrated" for name in migrating]
    removed = [item.name for item in undo.items if item.brought is None and item.to is not None]
    lines += [f"{name} was removed by the run; it comes back without what its removal deleted" for name in removed]
    new = [item.name for item in found.items if item.after is None]
    lines += [f"{name} was new with the run and is removed; data that it wrote stays" for name in new]
    lines += [f"{one.item} stays as it is: {one.detail}" for one in found.left_out]
    rebuilt = [item.name for item in undo.items if item.where == "rebuilt"]
    lines += [f"{name} comes back from a file that was rebuilt from the installed files" for name in rebuilt]
    return tuple(lines)

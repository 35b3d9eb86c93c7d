"""The patch: forecast, exact set, capture, change, proof and the way back. Which package manager does it is its own matter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import resources
from typing import Any

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, digest
from mainstay.runner.operation import Forecast, HostWork, LeftOut, Look, Outcome
from mainstay.runner.patching import capturing, forecasting, resolving
from mainstay.runner.patching.change import Change, PackageChange, Undo
from mainstay.runner.patching.contract import Broken, Captured, PackageManager
from mainstay.runner.patching.others import foreign
from mainstay.runner.patching.selection import matches
from mainstay.runner.patching.transaction import rights
from mainstay.runner.plan import PatchPlan
from mainstay.runner.shell.contract import Job, Shell

LEAST_FREE, LEAST_INODES = 500_000_000, 1000
SPACE_ASKED = ("/", "/var", "/var/cache/apt/archives")


@cache
def shipped_never_automatic() -> tuple[str, ...]:
    """Patterns of packages that are not taken back without a human, as they ship (never_automatic.txt)."""
    text = (resources.files(__package__) / "never_automatic.txt").read_text("utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


class PatchOperation:
    """Operation[Change, Undo]; see mainstay.runner.operation for what each method promises.

    never: patterns beside the shipped ones. captured: package files that earlier runs have kept. ahead: it only downloads,
    outside of any window: nothing is repaired.
    """

    def __init__(
        self,
        plan: PatchPlan,
        manager: PackageManager,
        *,
        never: Sequence[str] = (),
        captured: Captured = lambda name, version, arch: None,
        ahead: bool = False,
    ) -> None:
        for name, version in plan.updates.packages.items():
            if not manager.valid(name, version):
                raise UsageError(f"updates.packages: {name!r}: {version!r} is no package with a version")
        self.plan = plan
        self.manager = manager
        self.captured = captured
        self.ahead = ahead
        self._fresh: set[tuple[str, str]] = set()
        self.never = (*shipped_never_automatic(), *never)

    @property
    def kind(self) -> str:
        return "patch"

    @property
    def software(self) -> bool:
        return True

    def look_ahead(self, host: Host) -> None:
        pass

    def preview(self, look: Look) -> Forecast:
        return forecasting.forecast(look, self.plan.updates, self.manager, self.captured, self.fingerprint)

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        """What could not be repaired is said here and refused by `resolve`, so that the way back from a failed change
        may go on with packages that it replaces anyway."""
        for path in work.facts.filesystems:
            if path.path in SPACE_ASKED:
                _fit(path.path, path.free_bytes, path.free_inodes, path.read_only)
        self.manager.unlock(work, wait)
        try:
            found = [] if self.ahead else self.manager.repair(work)
        except Broken as broken:
            found = [broken.message]
        # Once for each run and host: the way back of a run must not hang on a mirror that has died since, in whichever
        # process it goes on.
        if not work.begun and (work.run, work.host.name) not in self._fresh:
            self.manager.refresh(work, wait)
            self._fresh.add((work.run, work.host.name))
        return found

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> Change:
        return resolving.resolve(work, self.manager, self.plan, forecast, tested)

    def fingerprint(self, change: Change) -> str:
        return digest([[item.name, item.before, item.after] for item in change.items])

    def changes(self, change: Change) -> int:
        return len(change.items)

    def left_out(self, change: Change) -> tuple[LeftOut, ...]:
        return change.left_out

    def stage(self, work: HostWork, change: Change, *, keep: bool) -> Change:
        return capturing.stage(work, self.manager, self._to_be_had(work, change), keep=keep)

    def _to_be_had(self, work: HostWork, change: Change) -> Change:
        """The way back of a run's own change: what has vanished from the repositories since it was captured is taken from
        where else it is (the artifact store, the host's own cache)."""
        moving = [item for item in change.items if item.before != item.after]
        if not change.back or not moving:
            return change
        _, had = resolving.simulated(work, self.manager, moving, rights(change))
        named = {item.name: item for item in had}
        return change.model_copy(update={"items": tuple(named.get(item.name, item) for item in change.items)})

    def capture(self, work: HostWork, change: Change) -> Undo:
        undo = capturing.capture(work, self.manager, change, self.captured)
        missing = [f"{item.name} {item.to}: {item.why}" for item in undo.items if item.where == "missing"]
        if missing and self.plan.undo_required:
            hint = "undo_required: false takes the risk"
            raise Refused(f"{len(missing)} of {len(undo.items)} could not go back: {'; '.join(missing)}", hint=hint)
        return undo

    def readiness(self, undo: Undo) -> tuple[int, int]:
        return sum(item.where != "missing" for item in undo.items), len(undo.items)

    def never_automatic(self, change: Change) -> tuple[str, ...]:
        return tuple(item.name for item in change.items if matches(item.name, self.never))

    def log_mark(self, shell: Shell) -> str:
        return self.manager.log_mark(shell)

    def changed_by_others(self, work: HostWork, mark: str, change: Change) -> tuple[str, ...]:
        return foreign(self.manager.log_since(work.shell, mark), change)

    def snapshot(self, work: HostWork, change: Change) -> Json:
        installed, _ = self.manager.inspect(work.shell, real=True)
        here = {name: one for name, one in installed.items() if one.state == "installed"}
        lines = sorted(f"{one.name.split(':')[0]}:{one.arch}={one.version}" for one in here.values())
        named = sorted(item.name for item in change.items if item.name in here)
        return {
            "packages": {name: here[name].version for name in named},
            "packages_digest": _sha256("\n".join(lines)),
        }

    def apply(self, work: HostWork, change: Change, name: str) -> Job:
        return self.manager.job(change, name, lock_wait=self.plan.lock_wait)

    def attend(self, work: HostWork, change: Change, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def stoppable(self) -> bool:
        return False

    def stop(self, work: HostWork, change: Change, name: str) -> None:
        raise TypeError("a change of software is brought to its end")

    def outcome(self, change: Change, exit: int | None, output: bytes) -> Outcome:
        return self.manager.outcome(exit, output)

    def progress(self, output: bytes, change: Change) -> str:
        return self.manager.progress(output, len(change.items))

    def kept(self, output: bytes) -> tuple[str, ...]:
        return self.manager.kept(output)

    def done(self, change: Change, measures: Mapping[str, Any]) -> str:
        return f"{self.changes(change)} changed, checked"

    def verify(self, work: HostWork, change: Change) -> tuple[str, ...]:
        installed, complaints = self.manager.inspect(work.shell, real=True)
        wrong = []
        for item in change.items:
            here = installed.get(item.name)
            if item.after is None:
                wrong += [f"{item.name} is still there, {here.version}"] if here else []
            elif here is None:
                wrong.append(f"{item.name} is not installed, {item.after} was meant")
            elif here.version != item.after:
                wrong.append(f"{item.name} is {here.version}, {item.after} was meant")
            elif here.state != "installed":
                wrong.append(f"{item.name} is {here.state}")
        return (*wrong, *(f"audit: {line}" for line in complaints if not wrong))

    def undo(self, undo: Undo) -> Change:
        items = [
            PackageChange(
                name=item.name,
                arch=item.arch,
                before=item.brought,
                after=item.to,
                sha256=item.sha256,
                size=item.size,
                pushed=item.where in ("captured", "rebuilt"),
                auto=item.auto,
            )
            for item in undo.items
            if item.where != "missing"
        ]
        left = [
            LeftOut(item=item.name, version=item.to, reason="kept-back", detail=f"can't go back: {item.why}")
            for item in undo.items
            if item.where == "missing"
        ]
        return Change(manager=undo.manager, items=tuple(items), left_out=tuple(left), back=True)

    def freeze(self, changes: list[Change]) -> Json:
        return resolving.freeze(changes, self.manager.compare)

    def read_change(self, data: Json) -> Change:
        return Change.from_json(data)

    def read_undo(self, data: Json) -> Undo:
        return Undo.from_json(data)


def _fit(path: str, free: int, inodes: int | None, read_only: bool) -> None:
    if read_only:
        raise Refused(f"{path} is read-only")
    if free < LEAST_FREE:
        raise Refused(f"{path} has {free // 1_000_000} MB free, {LEAST_FREE // 1_000_000} MB are needed")
    if inodes is not None and 0 < inodes < LEAST_INODES:
        raise Refused(f"{path} has {inodes} inodes free, {LEAST_INODES} are needed")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Machines in memory for tests of the rollout: packages are entries of a dict, and whatever shall go wrong is said in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value, digest
from mainstay.runner.operation import Forecast, HostWork, LeftOut, Look, Outcome
from mainstay.runner.plan import Carefulness, Check, Hook
from mainstay.runner.shell.contract import ContactLost, Job, Shell, Shells, Unreachable
from mainstay.runner.shell.fake import FakeHost
from mainstay.runner.upkeep import Judgement, RebootNeed, Restarted, Wellness


@dataclass
class Guest(FakeHost):
    """A fake host that tells when a job has been launched on it."""

    launched: Callable[[Job], object] = lambda job: None

    def start(self, job: Job) -> None:
        super().start(job)
        self.launched(job)


@dataclass
class Machine:
    """One host's insides. `wrong`: what shall go wrong, once each: apply, verify, health, before, after, prepare,
    prepare-lost, fence-lost, baseline, capture, reboot, undo.apply, stale, release; health breaks with the
    new version and mends with the old."""

    name: str
    there: Guest
    installed: dict[str, str]
    offers: dict[str, str]
    wrong: set[str] = field(default_factory=set)
    never: tuple[str, ...] = ()
    reboot: bool = False
    boots: int = 1
    cohort: str = "12"
    log: list[str] = field(default_factory=list)
    fenced: bool = False
    stays: tuple[str, ...] = ()
    """Packages that a rollback leaves as they are."""
    takes: float = 0.0
    """Seconds of the fake host's own time that a change takes."""
    meanwhile: Callable[[], object] = lambda: None
    """Happens as a change is made."""
    hooked: Callable[[str], object] = lambda word: None
    """Hears of each hook's words as it is run."""
    away: float = 0.0
    """Seconds for which it can't be reached, from when a change was first launched on it."""
    power_cut: bool = False
    """It is switched off meanwhile: a job in its midst is cut short, and it is in another boot when it is back."""
    broken: list[str] = field(default_factory=list)
    """What the package manager finds and repairs when it is asked next."""


class Moves(Value):
    """C and U alike: (name, from, to)."""

    version: int = 1
    host: str
    items: tuple[tuple[str, str, str], ...] = ()
    back: bool = False


@dataclass
class ScriptedOperation:
    """Operation[Moves, Moves] on these machines."""

    machines: Mapping[str, Machine]
    undo_of: dict[str, Json] = field(default_factory=dict)
    kind: str = "patch"

    def _machine(self, host: str) -> Machine:
        return self.machines[host]

    @property
    def software(self) -> bool:
        return True

    def look_ahead(self, host: Host) -> None:
        pass

    def preview(self, look: Look) -> Forecast:
        machine = self._machine(look.host.name)
        if self.undo_of:
            back = Moves.from_json(self.undo_of[machine.name])
            items = tuple((n, b, a) for n, a, b in back.items if machine.installed[n] == b and n not in machine.stays)
        else:
            items = tuple((n, machine.installed[n], v) for n, v in machine.offers.items() if machine.installed[n] != v)
        change = Moves(host=machine.name, items=items)
        blocked = look.blocked(self.fingerprint(change)) if items else None
        return Forecast(
            change=change.to_json(),
            count=len(items),
            reversible=len(items),
            items=items,
            left_out=self.left_out(change),
            seen=tuple(machine.offers.items()),
            refused=f"run {blocked} was rolled back with this" if blocked else "",
        )

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        machine = self._machine(work.host.name)
        if "prepare" in machine.wrong:
            raise Refused("dpkg's lock is held by apt (pid 7)")
        if "prepare-lost" in machine.wrong:
            machine.there.unreachable = "timed out"
            machine.there.reach()
        found, machine.broken = machine.broken, []
        return found

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> Moves:
        change = Moves.from_json(forecast.change)
        if tested is None:
            return change
        items = tuple((name, before, tested.get(name, after)) for name, before, after in change.items)
        return change.model_copy(update={"items": items})

    def fingerprint(self, change: Moves) -> str:
        return digest([list(item) for item in change.items])

    def changes(self, change: Moves) -> int:
        return len(change.items)

    def left_out(self, change: Moves) -> tuple[LeftOut, ...]:
        stays = self._machine(change.host).stays if self.undo_of else ()
        return tuple(LeftOut(item=name, reason="held", detail="held on the host") for name in stays)

    def stage(self, work: HostWork, change: Moves, *, keep: bool) -> Moves:
        self._machine(work.host.name).log.append("stage keep" if keep else "stage")
        return change

    def capture(self, work: HostWork, change: Moves) -> Moves:
        if "capture" in self._machine(work.host.name).wrong:
            raise Refused("1 of 1 could not go back")
        return change

    def readiness(self, undo: Moves) -> tuple[int, int]:
        return len(undo.items), len(undo.items)

    def never_automatic(self, change: Moves) -> tuple[str, ...]:
        return tuple(name for name, _, _ in change.items if name in self._machine(change.host).never)

    def log_mark(self, shell: Shell) -> str:
        return "0"

    def changed_by_others(self, work: HostWork, mark: str, change: Moves) -> tuple[str, ...]:
        return ("upgrade curl 1 → 2",) if "others" in self._machine(work.host.name).wrong else ()

    def snapshot(self, work: HostWork, change: Moves) -> Json:
        here = self._machine(work.host.name).installed
        return {"packages": {name: here[name] for name, _, _ in change.items}, "packages_digest": digest(here)}

    def apply(self, work: HostWork, change: Moves, name: str) -> Job:
        machine = self._machine(work.host.name)
        machine.there.job(name, output="working\n", seconds=machine.takes, effect=lambda there: self._make(change))
        return Job(name=name, script="", args=())

    def _make(self, change: Moves) -> None:
        machine = self._machine(change.host)
        machine.meanwhile()
        machine.log.append("back" if change.back else "apply")
        for name, _, after in change.items:
            machine.installed[name] = after

    def attend(self, work: HostWork, change: Moves, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def stoppable(self) -> bool:
        return False

    def stop(self, work: HostWork, change: Moves, name: str) -> None:
        raise TypeError("a change of software is brought to its end")

    def outcome(self, change: Moves, exit: int | None, output: bytes) -> Outcome:
        word = "undo.apply" if change.back else "apply"
        if word in self._machine(change.host).wrong:
            return Outcome(ok=False, detail="postinst failed")
        return Outcome(ok=exit == 0, detail=output.decode().strip())

    def progress(self, output: bytes, change: Moves) -> str:
        return f"1 of {len(change.items)}"

    def done(self, change: Moves, measures: Mapping[str, Any]) -> str:
        return f"{self.changes(change)} changed, checked"

    def verify(self, work: HostWork, change: Moves) -> tuple[str, ...]:
        machine = self._machine(work.host.name)
        if "verify" in machine.wrong and not change.back:
            return ("openssl is still 1",)
        return tuple(name for name, _, after in change.items if machine.installed[name] != after)

    def kept(self, output: bytes) -> tuple[str, ...]:
        return ()

    def undo(self, undo: Moves) -> Moves:
        return undo.model_copy(update={"items": tuple((n, a, b) for n, b, a in undo.items), "back": True})

    def freeze(self, changes: list[Moves]) -> Json:
        return {name: after for change in changes for name, _, after in change.items}

    def read_change(self, data: Json) -> Moves:
        return Moves.from_json(data)

    def read_undo(self, data: Json) -> Moves:
        return Moves.from_json(data)


@dataclass
class CalmUpkeep:
    """Upkeep of a machine that is well unless it was told otherwise."""

    machines: Mapping[str, Machine]

    def _machine(self, name: str) -> Machine:
        return self.machines[name]

    def _reach(self, shell: Shell) -> Machine:
        machine = self._machine(shell.host.name)
        machine.there.reach()
        return machine

    def probe(self, shell: Shell) -> Facts:
        machine = self._reach(shell)
        return Facts(
            os_id="debian",
            os_version=machine.cohort,
            arch="amd64",
            machine_id=machine.name,
            boot_id=f"boot-{machine.boots}",
        )

    def judge(self, facts: Facts, plan: Carefulness, *, packages: bool = True) -> Judgement:
        return Judgement()

    def well(self, work: HostWork, checks: Sequence[Check]) -> Wellness:
        machine = self._reach(work.shell)
        return Wellness("baseline" not in machine.wrong, "http 503" if "baseline" in machine.wrong else "http 200")

    def until_well(self, work: HostWork, checks: Sequence[Check], before: Facts) -> Wellness:
        machine = self._reach(work.shell)
        broken = "health" in machine.wrong and any(v == "2" for v in machine.installed.values())
        machine.log.append("health")
        return Wellness(not broken, "demo-web did not come up" if broken else "http 200")

    def hook(self, work: HostWork, hook: Hook) -> Outcome:
        machine = self._reach(work.shell)
        word = (hook.command or ("?",))[0]
        machine.log.append(word)
        machine.hooked(word)
        return Outcome(ok=word not in machine.wrong, detail=f"{word} exited 1" if word in machine.wrong else "")

    def fence_updaters(self, work: HostWork, seconds: float, wait: float) -> tuple[str, ...]:
        machine = self._reach(work.shell)
        machine.fenced = True
        if "fence-lost" in machine.wrong:
            raise ContactLost(work.host.name, "the connection broke")
        return ("apt-daily.service",)

    def release_updaters(self, work: HostWork) -> tuple[str, ...]:
        self._reach(work.shell).fenced = False
        return ()

    def stale(self, work: HostWork) -> tuple[str, ...]:
        return ("cron.service",) if "stale" in self._reach(work.shell).wrong else ()

    def restart(self, work: HostWork, plan: Carefulness) -> Restarted:
        machine = self._reach(work.shell)
        return Restarted(("nginx.service",), (), ("dbus.service (why)",) if "stale" in machine.wrong else ())

    def reboot_need(self, work: HostWork) -> RebootNeed:
        return RebootNeed(self._reach(work.shell).reboot, ("libc6",) if self._machine(work.host.name).reboot else ())

    def reboot_start(self, work: HostWork, name: str, boot_id: str) -> None:
        machine = self._reach(work.shell)
        if f"boot-{machine.boots}" == boot_id:
            machine.boots += 1
            machine.log.append("reboot")

    def reboot_wait(self, shells: Shells, host: Host, boot_id: str, deadline: float) -> Facts:
        machine = self._machine(host.name)
        if "reboot" in machine.wrong:
            raise ContactLost(host.name, "not back within 600 s")
        facts = self.probe(shells.open(host))
        if facts.boot_id == boot_id:
            raise Unreachable(host.name, "still the same boot")
        return facts

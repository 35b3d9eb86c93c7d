"""What a run does on a simulated machine: an operation on packages that are entries of a dict, and the upkeep around it.
All of it reaches the machine through `SimShell.command`, where contact breaks and the fence is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value, digest
from mainstay.runner.operation import Forecast, HostWork, LeftOut, Look, Outcome
from mainstay.runner.plan import Carefulness, Check, Hook
from mainstay.runner.reboot import RebootFailed
from mainstay.runner.shell.contract import ContactLost, Job, Shell, ShellError, Shells
from mainstay.runner.upkeep import Judgement, RebootNeed, Restarted, Wellness
from tests.sim.hosts import Machine, SimShell

if TYPE_CHECKING:
    from tests.sim.process import Process


class Moves(Value):
    """C and U alike: (name, from, to)."""

    version: int = 1
    items: tuple[tuple[str, str, str], ...] = ()
    back: bool = False


def _sim(shell: Shell) -> SimShell:
    return cast(SimShell, shell)


def _there(work: HostWork | Look) -> Machine:
    return _sim(work.shell).machine


class PackageMoves:
    """Operation[Moves, Moves]: brings some packages from version 1 to version 2."""

    kind = "patch"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    @property
    def software(self) -> bool:
        return True

    def look_ahead(self, host: Host) -> None:
        pass

    def preview(self, look: Look) -> Forecast:
        here = _sim(look.shell).command("preview", lambda: dict(_there(look).packages))
        items = tuple((name, here[name], "2") for name in self._names if here.get(name) == "1")
        change = Moves(items=items)
        blocked = look.blocked(self.fingerprint(change)) if items else None
        return Forecast(
            change=change.to_json(),
            count=len(items),
            reversible=len(items),
            items=items,
            refused=f"run {blocked} was rolled back with this" if blocked else "",
        )

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        machine = _there(work)

        def repair() -> list[str]:
            if "prepare-refused" in machine.wrong:
                raise Refused("dpkg's lock is held by apt (pid 7)")
            was, machine.half = machine.half, False
            return ["configured what was half-configured"] if was else []

        return _sim(work.shell).command("prepare", repair, work.fence)

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> Moves:
        here = _sim(work.shell).command("resolve", lambda: dict(_there(work).packages))
        change = Moves.from_json(forecast.change)
        return change.model_copy(update={"items": tuple(item for item in change.items if here[item[0]] == item[1])})

    def fingerprint(self, change: Moves) -> str:
        return digest([list(item) for item in change.items])

    def changes(self, change: Moves) -> int:
        return len(change.items)

    def left_out(self, change: Moves) -> tuple[LeftOut, ...]:
        return ()

    def stage(self, work: HostWork, change: Moves, *, keep: bool) -> Moves:
        _sim(work.shell).command("stage", lambda: None, work.fence)
        return change

    def capture(self, work: HostWork, change: Moves) -> Moves:
        machine = _there(work)
        _sim(work.shell).command("capture", lambda: None, work.fence)
        if "capture-refused" in machine.wrong:
            raise Refused("1 of 1 could not go back")
        return change

    def readiness(self, undo: Moves) -> tuple[int, int]:
        return len(undo.items), len(undo.items)

    def never_automatic(self, change: Moves) -> tuple[str, ...]:
        return ()

    def log_mark(self, shell: Shell) -> str:
        return "0"

    def changed_by_others(self, work: HostWork, mark: str, change: Moves) -> tuple[str, ...]:
        return ()

    def snapshot(self, work: HostWork, change: Moves) -> Json:
        here = _sim(work.shell).command("snapshot", lambda: dict(_there(work).packages))
        return {"packages": {name: here[name] for name, _, _ in change.items}, "packages_digest": digest(here)}

    def apply(self, work: HostWork, change: Moves, name: str) -> Job:
        words = {"kind": "change", "run": work.run, "back": change.back, "items": [list(item) for item in change.items]}
        return Job(name=name, script=json.dumps(words))

    def attend(self, work: HostWork, change: Moves, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def stoppable(self) -> bool:
        return False

    def stop(self, work: HostWork, change: Moves, name: str) -> None:
        raise TypeError("a change of software is brought to its end")

    def outcome(self, change: Moves, exit: int | None, output: bytes) -> Outcome:
        return Outcome(ok=exit == 0, detail="" if exit == 0 else "postinst failed")

    def progress(self, output: bytes, change: Moves) -> str:
        return ""

    def done(self, change: Moves, measures: Mapping[str, Any]) -> str:
        return f"{self.changes(change)} changed, checked"

    def verify(self, work: HostWork, change: Moves) -> tuple[str, ...]:
        here = _sim(work.shell).command("verify", lambda: dict(_there(work).packages))
        return tuple(f"{name} is {here[name]}" for name, _, after in change.items if here[name] != after)

    def kept(self, output: bytes) -> tuple[str, ...]:
        return ()

    def undo(self, undo: Moves) -> Moves:
        return Moves(items=tuple((name, after, before) for name, before, after in undo.items), back=True)

    def freeze(self, changes: list[Moves]) -> Json:
        return {name: after for change in changes for name, _, after in change.items}

    def read_change(self, data: Json) -> Moves:
        return Moves.from_json(data)

    def read_undo(self, data: Json) -> Moves:
        return Moves.from_json(data)


class SimUpkeep:
    """Implements Upkeep for one process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def probe(self, shell: Shell) -> Facts:
        machine = _sim(shell).machine
        boot_id = _sim(shell).command("probe", lambda: machine.boot_id)
        return Facts(os_id="debian", os_version=machine.cohort, arch="amd64", machine_id=machine.name, boot_id=boot_id)

    def judge(self, facts: Facts, plan: Carefulness, *, packages: bool = True) -> Judgement:
        return Judgement()

    def well(self, work: HostWork, checks: Sequence[Check]) -> Wellness:
        ok = _sim(work.shell).command("baseline", _there(work).well)
        return Wellness(ok, "http 200" if ok else "http 503")

    def until_well(self, work: HostWork, checks: Sequence[Check], before: Facts) -> Wellness:
        machine = _there(work)

        def look() -> bool:
            ok = machine.well()
            machine.tell("health", host=machine.name, run=work.run, green=ok)
            return ok

        ok = _sim(work.shell).command("health", look)
        return Wellness(ok, "http 200" if ok else "demo-web did not come up")

    def hook(self, work: HostWork, hook: Hook) -> Outcome:
        machine, word = _there(work), (hook.command or ("?",))[0]

        def act() -> bool:
            machine.tell("hook", host=machine.name, run=work.run, hook=word)
            return f"{word}-fails" not in machine.wrong

        ok = _sim(work.shell).command(f"hook {word}", act, work.fence)
        return Outcome(ok=ok, detail="" if ok else f"{word} exited 1")

    def fence_updaters(self, work: HostWork, seconds: float, wait: float) -> tuple[str, ...]:
        _sim(work.shell).command("fence updaters", lambda: None, work.fence)
        return ("apt-daily.service",)

    def release_updaters(self, work: HostWork) -> tuple[str, ...]:
        _sim(work.shell).command("release updaters", lambda: None, work.fence)
        return ()

    def stale(self, work: HostWork) -> tuple[str, ...]:
        return ()

    def restart(self, work: HostWork, plan: Carefulness) -> Restarted:
        _sim(work.shell).command("restart", lambda: None, work.fence)
        return Restarted()

    def reboot_need(self, work: HostWork) -> RebootNeed:
        machine = _there(work)
        return RebootNeed(_sim(work.shell).command("reboot need", lambda: machine.reboot_wanted), ())

    def reboot_start(self, work: HostWork, name: str, boot_id: str) -> None:
        work.shell.launch(Job(name=name, script=json.dumps({"kind": "reboot", "boot_id": boot_id})), work.fence)

    def reboot_wait(self, shells: Shells, host: Host, boot_id: str, deadline: float) -> Facts:
        process, answered = self._process, False
        until = process.monotonic() + deadline
        while process.monotonic() < until:
            try:
                facts = self.probe(shells.open(host))
                answered = True
            except ShellError:
                answered = False
            else:
                if facts.boot_id != boot_id:
                    return facts
            process.sleep(0.5)
        if answered:
            raise RebootFailed(host.name, "it answers, and it is still the same boot")
        raise ContactLost(host.name, f"not back within {deadline:.0f} s")


def operation_for(names: Sequence[str]) -> Callable[[object], PackageMoves]:
    return lambda request: PackageMoves(names)

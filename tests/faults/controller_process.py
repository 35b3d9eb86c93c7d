"""A controller that dies or freezes where it is told to: `python controller_process.py LOG [options] -- run web-update …`.

The program is the real one, with the arguments that stand behind `--`. Its engine, hosts and state are watched from outside,
and every moment that may matter has a name:
`kept HOST STEP`: a checkpoint is written; HOST is `run` for the rollout's own;
`send HOST STEP WHAT`: a command that changes something there is about to be sent;
`host HOST STEP NUMBER WHAT`: the n-th such command within the step's work has ended;
`state METHOD HOST`: the state is about to be written.

LOG gets one line per event in one write each, so that what was repeated or lost can be counted whatever dies in between:
`begin|end|kept WORKFLOW STEP`, `done|refused HOST FENCE WHAT`, `died|froze NAME`. A name that somebody has died at kills
nobody again: the next process goes on to the next one.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from mainstay.console import bootstrap, cli
from mainstay.inventory.host import Host
from mainstay.runner.engine.adapters import dbos_client
from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, Engine, Handle, JsonValue
from mainstay.runner.engine.liveness import Timing
from mainstay.runner.shell.contract import Command, Fence, FenceRefused, Job, JobState, Output, Shell, Shells
from mainstay.runner.shell.scripts import CHANGE_LOCK
from mainstay.runner.state.contract import State

WRITES = ("set_run", "write_part", "note_outcome", "note_step", "add_undo", "mark_undone", "block", "next_fence")


class Fate:
    """Where this process dies and where it freezes; and what has happened, in the log."""

    def __init__(self, log: Path, die: Sequence[str], freeze: Sequence[str]) -> None:
        self._log = log
        self._die = [re.compile(one) for one in die]
        self._freeze = [re.compile(one) for one in freeze]
        self._frozen: set[str] = set()
        self._here = threading.local()
        self._one_at_a_time = threading.Lock()

    def note(self, *words: object) -> None:
        number = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(number, (" ".join(str(word) for word in words) + "\n").encode())
        os.close(number)

    def met(self, name: str) -> None:
        """This is the moment called `name`."""
        if any(one.fullmatch(name) for one in self._die):
            with self._one_at_a_time:
                if f"died {name}\n" not in (self._log.read_text() if self._log.exists() else ""):
                    self.note("died", name)
                    os.kill(os.getpid(), signal.SIGKILL)
        if name not in self._frozen and any(one.fullmatch(name) for one in self._freeze):
            self._frozen.add(name)
            self.note("froze", name)
            # To this thread: with one to the process it could run on for a moment, into what it is to stand still before.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def sending(self, host: str, what: str) -> None:
        self.met(f"send {host} {getattr(self._here, 'step', ('?', 0))[0]} {what}")

    def changed(self, host: str, fence: int, what: str) -> None:
        self.note("done", host, fence, what)
        step, number = getattr(self._here, "step", ("?", 0))
        self._here.step = (step, number + 1)
        self.met(f"host {host} {step} {number + 1} {what}")

    def watched(self, workflow: str, step: str, work: Callable[[], JsonValue]) -> JsonValue:
        self.note("begin", workflow, step)
        self._here.step = (step, 0)
        try:
            return work()
        finally:
            self.note("end", workflow, step)


class WatchedContext:
    def __init__(self, context: Context, fate: Fate) -> None:
        self._context = context
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        live = False

        def watched() -> JsonValue:
            nonlocal live
            live = True
            return self._fate.watched(self.id, name, work)

        def kept() -> None:
            # What was replayed from its checkpoint was met by the process that wrote it.
            if live:
                self._fate.note("kept", self.id, name)
                self._fate.met(f"kept {self.id.partition('/')[2] or 'run'} {name}")

        try:
            value = self._context.step(name, watched)
        except (
            Exception
        ):  # the step's own failure, which is a checkpoint too; an engine that lets go raises no Exception
            kept()
            raise
        kept()
        return value


class WatchedEngine:
    """The engine, handing watched contexts to the workflows."""

    def __init__(self, engine: Engine, fate: Fate) -> None:
        self._engine = engine
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def register(self, workflow: str, body: Callable[[Context, JsonValue], JsonValue]) -> None:
        fate = self._fate
        self._engine.register(workflow, lambda context, argument: body(WatchedContext(context, fate), argument))

    def start(self, workflow: str, id: str, argument: JsonValue) -> Handle:
        return self._engine.start(workflow, id, argument)


class WatchedShell:
    def __init__(self, shell: Shell, fate: Fate) -> None:
        self._shell = shell
        self._fate = fate

    @property
    def host(self) -> Host:
        return self._shell.host

    def run(self, command: Command) -> Output:
        lock = len(command.argv) > 6 and command.argv[2] == CHANGE_LOCK
        if command.fence is None and not lock:
            return self._shell.run(command)
        if not lock:
            assert command.fence is not None
            done: Output = self._change(command.fence.number, "command", lambda: self._shell.run(command))
            return done
        action, number = command.argv[4], int(command.argv[6])
        self._fate.sending(self.host.name, action)
        output = self._shell.run(command)
        if output.text.startswith("mainstay-lock ok"):
            self._fate.changed(self.host.name, number, action)
        else:
            self._fate.note("refused", self.host.name, number, action)
        return output

    def put(self, source: bytes | Path, path: str, *, fence: Fence, mode: int = 0o600) -> None:
        self._change(fence.number, "put", lambda: self._shell.put(source, path, fence=fence, mode=mode))

    def get(self, path: str, into: BinaryIO, *, sudo: bool = False, limit: int = 1 << 31) -> str:
        return self._shell.get(path, into, sudo=sudo, limit=limit)

    def launch(self, job: Job, fence: Fence) -> None:
        self._change(fence.number, "launch", lambda: self._shell.launch(job, fence))

    def poll(self, name: str, offset: int = 0, *, patience: float = 0.0) -> JobState:
        return self._shell.poll(name, offset, patience=patience)

    def forward(self, local: tuple[str, int], port: int = 0) -> AbstractContextManager[int]:
        return self._shell.forward(local, port)

    def close(self) -> None:
        self._shell.close()

    def _change(self, fence: int, what: str, change: Callable[[], Any]) -> Any:
        self._fate.sending(self.host.name, what)
        try:
            done = change()
        except FenceRefused:
            self._fate.note("refused", self.host.name, fence, what)
            raise
        self._fate.changed(self.host.name, fence, what)
        return done


class WatchedShells:
    def __init__(self, shells: Shells, fate: Fate) -> None:
        self._shells = shells
        self._fate = fate

    def open(self, host: Host, *, write: bool = True) -> WatchedShell:
        return WatchedShell(self._shells.open(host, write=write), self._fate)

    def close(self) -> None:
        self._shells.close()


class WatchedState:
    def __init__(self, state: State, fate: Fate) -> None:
        self._state = state
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._state, name)
        if name not in WRITES:
            return there

        def write(*arguments: Any, **more: Any) -> Any:
            # (run, host, …), (run, part), (row) or (run): named by the host it is about
            named = [one.host for one in arguments if hasattr(one, "host")] or arguments[1:2]
            about = named[0] if named else "run"
            self._fate.met(f"state {name} {about}")
            return there(*arguments, **more)

        return write


class WatchedApplication(bootstrap.Application):
    fate: Fate

    @property
    def shells(self) -> Shells:
        return WatchedShells(super().shells, self.fate)

    @property
    def state(self) -> State:
        return WatchedState(super().state, self.fate)

    @cached_property
    def engine(self) -> Engine:  # type: ignore[override]  # it stands in for the one in use
        return WatchedEngine(super().engine, self.fate)


def shorten_leases(seconds: float) -> None:
    """Of this process's engine, and as it sees those of others."""
    quick = Timing(lease=seconds, give_up=seconds * 2 / 3, beat=seconds / 10)
    assert DbosEngine.__init__.__kwdefaults__ is not None
    DbosEngine.__init__.__kwdefaults__["timing"] = quick
    vars(dbos_client)["Timing"] = lambda: quick


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--die", action="append", default=[], metavar="PATTERN", help="kill itself at these moments")
    parser.add_argument("--freeze", action="append", default=[], metavar="PATTERN", help="stop itself, once at each")
    parser.add_argument("--lease", type=float, metavar="SECONDS", help="after which a frozen controller is given up")
    parser.add_argument("arguments", nargs="+", metavar="mainstay's arguments")
    options = parser.parse_args()
    if options.lease:
        shorten_leases(options.lease)
    WatchedApplication.fate = Fate(options.log, options.die, options.freeze)
    bootstrap.Application = WatchedApplication  # type: ignore[misc]  # the one place where the application is chosen
    sys.exit(cli.run(options.arguments))


if __name__ == "__main__":
    main()

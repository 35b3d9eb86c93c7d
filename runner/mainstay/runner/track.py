"""One host's way through a run: what is known so far, and the live connection. Made anew after a restart, from checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value
from mainstay.runner.operation import Forecast, HostWork, Operation
from mainstay.runner.record import HostPart
from mainstay.runner.request import RunRequest
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import ContactLost, Fence, FenceRefused, HostKeyRefused, Shell, Unreachable
from mainstay.runner.steps import Recorder, StepIO
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.verdict import Verdict

T = TypeVar("T")


@dataclass(slots=True)
class Track:
    """Everything below `measures` is filled in as the work goes on, always from the results of steps."""

    tools: Toolbox
    request: RunRequest
    operation: Operation  # type: ignore[type-arg]  # C and U are the operation's own business
    host: Host
    recorder: Recorder
    wave: int
    cohort: str
    forecast: Forecast
    tested: Json | None = None
    keep: bool = False
    concerns: list[str] = field(default_factory=list)
    """What makes a host that is otherwise well degraded; named whatever the verdict."""
    measures: dict[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    change: Value | None = None
    undo: Value | None = None
    before: Json = field(default_factory=dict)
    after: Json = field(default_factory=dict)
    log_mark: str = ""
    held: bool = False
    """The host's lock is ours (as far as the checkpoints tell)."""
    updaters_fenced: bool = False
    drained: bool = False
    _shell: Shell | None = None
    _fence: Fence | None = None

    @property
    def shell(self) -> Shell:
        if self._shell is None:
            self._shell = self.tools.shells.open(self.host)
        return self._shell

    def work(self, io: StepIO) -> HostWork:
        """The host's work with the fence of this process: one that goes on after another claims the host anew, with a
        higher number, so that the other can change nothing any more."""
        if self._fence is None:
            self._fence = self._claim()
        return HostWork(
            run=self.request.id,
            host=self.host,
            shell=self.shell,
            fence=self._fence,
            facts=self.facts,
            artifacts=self.tools.artifacts,
            output=io.output,
            progress=io.progress,
            notes=io.notes,
        )

    def _claim(self) -> Fence:
        fence = self._next_fence()
        try:
            hostlock.acquire(self.shell, fence)
        except FenceRefused:
            holding = hostlock.read(self.shell)
            other = self.tools.state.run(holding.lock_run) if holding.lock_run else None
            free = not holding.lock_run or (other is not None and other.state == "ended")
            if holding.state != fence.state or not free:
                raise
            # Left behind by a run that has ended, or the host is ahead of a state that was restored from a backup.
            self.tools.state.raise_fence(holding.fence)
            fence = self._next_fence()
            hostlock.acquire(self.shell, fence, stale=frozenset({holding.lock_run} - {""}))
        return fence

    def _next_fence(self) -> Fence:
        state = self.tools.state
        return Fence(number=state.next_fence(), state=state.id, run=self.request.id, site=self.request.site_name)

    def step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        """One checkpoint; see Recorder. Raises Stopped."""
        return self.recorder(name, work)

    def patiently(self, io: StepIO, attempt: Callable[[], T]) -> T:
        """Again after contact was lost, for `patience` seconds: only for what may be asked or done twice."""
        started = self.tools.monotonic()
        while True:
            try:
                return attempt()
            except (Unreachable, ContactLost) as error:
                if isinstance(error, HostKeyRefused) or self.tools.monotonic() - started > self.tools.patience:
                    raise
                io.progress("no contact, trying again")
                self.tools.sleep(1.0)

    def job(self, step: str) -> str:
        """A unit's name: unique per run, host and step."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.request.id}-{self.host.name}-{step}")

    def part(self, verdict: Verdict, reason: str) -> HostPart:
        if self.concerns:
            verdict = Verdict.DEGRADED if verdict is Verdict.SUCCEEDED else verdict
            reason = "; ".join([reason, *self.concerns] if reason else self.concerns)
        measures = {**self.measures, "notes": list(dict.fromkeys(self.recorder.notes))}
        return HostPart(
            host=self.host.name,
            verdict=verdict,
            reason=reason,
            wave=self.wave,
            cohort=self.cohort,
            steps=tuple(self.recorder.steps),
            before=self.before,
            after=self.after,
            measures=measures,
        )

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()

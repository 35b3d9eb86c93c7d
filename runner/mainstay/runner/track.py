"""One host's way through a run: what is known so far, and the live connection. Made anew after a restart, from checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value
from mainstay.runner.leftover import refuse_unknown
from mainstay.runner.operation import Forecast, HostWork, Operation
from mainstay.runner.record import STAGE, HostPart
from mainstay.runner.request import RunRequest
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import (
    ContactLost,
    Fence,
    FenceRefused,
    HostKeyRefused,
    Shell,
    ShellError,
    Unreachable,
)
from mainstay.runner.steps import GaveUp, Recorder, StepIO, Stopped, rfc3339
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.verdict import Verdict

T = TypeVar("T")

Phase = Literal["prepare", "before", "change", "back", "finish", "undo", "look"]
"""How far a host's work has come: what has to be done with it when it was lost depends on it."""

RETRY = 1.0
"""Seconds between two tries to reach a host in hand."""

NOTICED = 30.0
"""Seconds after which a dead connection is noticed at the latest: a long command that breaks was silent for no longer."""


class Silence:
    """How long a host in hand has not been heard of. Made at the last contact."""

    def __init__(self, track: Track, io: StepIO) -> None:
        self._track, self._io = track, io
        self._last = track.tools.monotonic()
        self._first = True

    def over(self) -> float:
        """It was heard of just now. Returns how many seconds it had been silent for; 0 where no try had failed."""
        now = self._track.tools.monotonic()
        silent = 0.0 if self._first else now - self._last
        self._last, self._first = now, True
        return silent

    def bear(self, error: ShellError) -> None:
        """There was no answer: say so and wait a little. Raises GaveUp after `lost_after` seconds without one."""
        tools, lost_after = self._track.tools, self._track.request.careful.lost_after
        now = tools.monotonic()
        if self._first:
            self._last = max(self._last, now - NOTICED)
        silent = now - self._last
        if silent > lost_after and not self._first:
            self._io.silent = silent
            raise GaveUp(self._track.host.name, f"no contact for {silent:.0f} s ({error.plain})") from error
        self._io.progress(f"no contact for {silent:.0f} s: {error.plain}")
        if not self._first:
            tools.sleep(RETRY)
        self._first = False  # a connection that only broke is there again at once


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
    total: int = 0
    """Hosts in the rollout."""
    concerns: list[str] = field(default_factory=list)
    """What makes a host that is otherwise well degraded; named whatever the verdict."""
    measures: dict[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    change: Value | None = None
    undo: Value | None = None
    back: Json | None = None
    """The change that goes back, staged."""
    before: Json = field(default_factory=dict)
    after: Json = field(default_factory=dict)
    log_mark: str = ""
    held: bool = False
    """The host's lock is ours (as far as the checkpoints tell)."""
    updaters_fenced: bool = False
    drained: bool = False
    taken_back: bool = False
    """It was well, in service and given back once already, and goes back with its whole run."""
    of: str = ""
    """The run whose work on the host this is, where it is not the request's own: that one is reconciled."""
    phase: Phase = "prepare"
    why: str = ""
    """Why it is taken back, with phase `back`."""
    ended: tuple[Verdict, str] | None = None
    """Verdict and reason, once they are known: what follows only puts the host back into service and gives it back."""
    limit: float | None = None
    """Seconds that a job is watched for; None: the plan's `apply_timeout`."""
    boot: str = ""
    """Id of the boot that it is in, as far as known. Another one that this run has not asked for is a concern."""
    need: Json = field(default_factory=dict)
    """What `reboot.need` found."""
    cut: bool = False
    """The job that makes the change did not end by itself: only the host can tell what it did."""
    stopped: str = ""
    """Why the job was ended before it was done, in words: the run was cancelled."""
    rebooted: bool = False
    """The host went down in the middle of the job."""
    again: bool = False
    """What is left of the change is made in a second job."""
    ends: str = ""
    """When the window ends that it was begun in, RFC 3339 UTC; empty where none does."""
    lost: str = ""
    """The step in which contact was lost and not found again."""
    fault: str = ""
    """Our own fault that broke the work off instead."""
    carried: Json | None = None
    """What reconciling a lost host goes on from."""
    lost_since: str = ""
    """When the host was last heard of, RFC 3339 UTC."""
    _shell: Shell | None = None
    _fence: Fence | None = None
    _beside: ExitStack | None = None

    @property
    def found(self) -> dict[str, Any]:
        """The measures so far."""
        return {**self.recorder.measures, **self.measures}

    @property
    def attended(self) -> bool:
        return self._beside is not None

    def attend(self, work: HostWork, change: Value, name: str) -> None:
        """Set up what has to stand beside the job; again is success. `leave` takes it down."""
        if self._beside is None:
            with ExitStack() as stack:
                stack.enter_context(self.operation.attend(work, change, name))
                self._beside = stack.pop_all()

    def leave(self) -> None:
        if self._beside is not None:
            beside, self._beside = self._beside, None
            beside.close()

    @property
    def shell(self) -> Shell:
        if self._shell is None:
            self._shell = self.tools.shells.open(self.host)
        return self._shell

    def work(self, io: StepIO) -> HostWork:
        """The host's work with the fence of this process: one that goes on after another claims the host anew, with a
        higher number, so that the other can change nothing any more."""
        if self._fence is None:
            self._fence = self.patiently(io, self._claim) if self.held else self._claim()
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
            concerns=io.concerns,
            measures=io.measures,
            found=self.found,
            begun=self.recorder.touched,
        )

    def _claim(self) -> Fence:
        fence = self._next_fence()
        try:
            hostlock.acquire(self.shell, fence)
        except FenceRefused:
            holding = hostlock.read(self.shell)
            other = self.tools.state.run(holding.lock_run) if holding.lock_run else None
            # One that only stages has given this host's place to us: it has left it, or lost contact to it.
            free = not holding.lock_run or (other is not None and (other.state == "ended" or other.kind == STAGE))
            if holding.state != fence.state or not free:
                raise
            # Left behind by a run that has ended, or the host is ahead of a state that was restored from a backup.
            if not self.request.links.reconciles:
                refuse_unknown(self.tools.state, holding.lock_run, self.host.name)
            self.tools.state.raise_fence(holding.fence)
            fence = self._next_fence()
            hostlock.acquire(self.shell, fence, stale=frozenset({holding.lock_run} - {""}))
        return fence

    def _next_fence(self) -> Fence:
        state = self.tools.state
        number = state.next_fence()
        # One that was frozen just before it drew would have a higher number than whoever took the run over from it.
        self.recorder.context.stay()
        return Fence(number=number, state=state.id, run=self.request.id, site=self.request.site_name)

    def step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        """One checkpoint; see Recorder. Raises Stopped."""
        try:
            return self.recorder(name, work)
        except Stopped as stop:
            if stop.kind == "contact-lost":
                said = datetime.fromisoformat(self.recorder.steps[-1].finished_at)
                self.lose(name, said - timedelta(seconds=stop.silent))
            raise

    def lose(self, step: str, since: datetime, fault: str = "") -> None:
        """The host's work is broken off in this step. since: when it was last heard of. fault: one of ours, where that was
        the reason; otherwise contact was lost."""
        if self.carried is None:
            self.lost, self.lost_since, self.fault = step, rfc3339(since), fault
            # As it is now: what is said from here on, of a host that nobody can ask, may be mended later.
            self.carried = carry(self)

    def patient_step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        """A step that may be done again as a whole when contact was lost in it; see patiently."""
        return self.step(name, lambda io: self.patiently(io, lambda: work(io)))

    def patiently(self, io: StepIO, attempt: Callable[[], T]) -> T:
        """Again after contact was lost, for `lost_after` seconds: only for what may be asked or done twice. Raises GaveUp."""
        silence = Silence(self, io)
        while True:
            try:
                return attempt()
            except (Unreachable, ContactLost) as error:
                if isinstance(error, (HostKeyRefused, GaveUp)):
                    raise
                silence.bear(error)

    def booted(self, boot_id: str, when: str = "while this run worked on it") -> bool:
        """The host is in this boot. Returns whether it has rebooted without being asked, which is a concern."""
        unexpected = bool(self.boot and boot_id and boot_id != self.boot)
        self.boot = boot_id or self.boot
        if unexpected:
            self.concerns.append(f"the host rebooted by itself {when}")
        return unexpected

    def job(self, step: str) -> str:
        """A unit's name: unique per run, host and step."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", f"{self.of or self.request.id}-{self.host.name}-{step}")

    def part(self, verdict: Verdict, reason: str) -> HostPart:
        concerns = [*self.concerns, *self.recorder.concerns]
        if concerns:
            verdict = Verdict.DEGRADED if verdict is Verdict.SUCCEEDED else verdict
            reason = "; ".join([reason, *concerns] if reason else concerns)
        measures = {**self.found, "notes": list(dict.fromkeys(self.recorder.notes))}
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
        self.leave()
        self.tools.hands.give_back(self.recorder.context.id)
        if self._shell is not None:
            self._shell.close()


_CARRIED = (
    *("before", "after", "log_mark", "held", "updaters_fenced", "drained", "phase", "why", "back", "boot", "need"),
    *("cut", "rebooted", "again", "measures", "concerns", "taken_back", "ends", "stopped"),
)


def carry(track: Track) -> Json:
    """All that another workflow needs to go on with a host where this one lost it. Plain JSON."""
    found = {name: getattr(track, name) for name in _CARRIED}
    copied: Json = json.loads(json.dumps(found))
    copied["concerns"] += track.recorder.concerns
    copied["measures"] = {**track.recorder.measures, **copied["measures"]}
    return {
        **copied,
        "of": track.of or track.request.id,
        "facts": track.facts.to_json(),
        "change": track.change.to_json() if track.change is not None else None,
        "undo": track.undo.to_json() if track.undo is not None else None,
        "ended": [track.ended[0].value, track.ended[1]] if track.ended else None,
        "step": track.lost,
        "since": track.lost_since,
        "fault": track.fault,
        "notes": list(track.recorder.notes),
        "touched": track.recorder.touched,
        "sent": track.recorder.sent,
    }


def nothing_known(run: str, since: str) -> Json:
    """As carry, of a host of which only that is known: its work was under way in that run, and ended nobody knows how."""
    empty: Json = {"before": {}, "after": {}, "need": {}, "measures": {}, "concerns": [], "notes": []}
    words = dict.fromkeys(("log_mark", "why", "ends", "boot"), "") | dict.fromkeys(("back", "change", "undo", "ended"))
    flags = dict.fromkeys(("held", "updaters_fenced", "drained", "taken_back", "cut", "rebooted", "again"), False)
    place = {"of": run, "phase": "look", "step": "apply", "since": since, "fault": "", "touched": True, "sent": True}
    return {**empty, **words, **flags, **place, "facts": Facts().to_json()}


def take_up(track: Track, carried: Json) -> None:
    """The other end of carry: the track is then as it was when contact was lost."""
    for name in _CARRIED:
        if name in carried:  # a run from before there was such a thing does without
            setattr(track, name, carried[name])
    track.of = carried["of"]
    operation, recorder = track.operation, track.recorder
    track.facts = Facts.from_json(carried["facts"])
    track.change = operation.read_change(carried["change"]) if carried["change"] else None
    track.undo = operation.read_undo(carried["undo"]) if carried["undo"] else None
    track.ended = (Verdict(carried["ended"][0]), carried["ended"][1]) if carried["ended"] else None
    recorder.notes, recorder.touched, recorder.sent = list(carried["notes"]), carried["touched"], carried["sent"]

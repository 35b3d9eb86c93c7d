"""Operation: what a run does on a host. It can preview, apply, verify and undo itself.

The rollout owns everything around it: lock, gates, hooks, restart, reboot, health, waves and budget. A patch, a rollback,
a backup and a restore are operations like any other. What is done for a host without sending it anything is an errand
(`mainstay.runner.errand`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.shell.contract import Fence, Job, Shell


class LeftOut(Value):
    """Something that is not done on a host, and why. `who`: who can change that."""

    item: str
    """A package's name."""
    version: str | None = None
    """The version that is left out."""
    reason: str
    """One word: held, pinned, excluded, too-young, phased, kept-back, not-security, untested, newer, blocked, dependency."""
    detail: str = ""
    """A sentence for people: `2 d old, plan asks 3 d`."""
    until: str | None = None
    """RFC 3339 UTC, where it ends by itself at a known time."""


def not_taken_back(left_out: Iterable[LeftOut]) -> str:
    """What a rollback leaves as the run has made it, in words; empty where it takes all back."""
    named = [f"{one.item} ({one.detail or one.reason})" for one in left_out]
    return f"not taken back: {', '.join(named)}" if named else ""


class Forecast(Value):
    """What a run would do on one host, found without changing anything there."""

    version: int = 1
    change: Json
    """The operation's own C, as JSON."""
    count: int
    """How many items would change; 0: nothing to do."""
    reversible: int
    """How many of them could go back, as far as can be known now."""
    items: tuple[tuple[str, str, str], ...] = ()
    """(name, version before or "", version after or ""), sorted by name."""
    irreversible: tuple[tuple[str, str], ...] = ()
    """(name, why it could not go back)."""
    left_out: tuple[LeftOut, ...] = ()
    reboot: Literal["no", "likely", "unknown"] = "unknown"
    download_bytes: int | None = None
    seen: tuple[tuple[str, str], ...] = ()
    """Every (name, version) on offer, for the first-seen ledger."""
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    """What this operation can't do on this host (a rollback's conffiles, data migrations)."""
    refused: str = ""
    """Why this host would be refused; empty where it would not."""


class Outcome(Value):
    """How an applied job ended, read from its exit status and (for the wording) its output."""

    ok: bool
    detail: str = ""
    unknown: bool = False
    """The job was lost (killed, host went down): only `verify` can tell what it did."""
    stopped: bool = False
    """It has ended as `stop` had asked, with something not done; `verify` tells what was."""
    concerns: tuple[str, ...] = ()
    """It is done, and somebody should look at this: the host is degraded by it."""
    measures: dict[str, Any] = {}
    """For the host's part of the record."""


@dataclass(frozen=True, slots=True)
class Look:
    """What reading a host needs: no sudo, no trace, no fence."""

    host: Host
    shell: Shell
    facts: Facts
    now: float
    """Unix seconds."""
    sightings: Mapping[tuple[str, str], str]
    """(package, version) → first seen, RFC 3339 UTC, in this host's cohort."""
    blocked: Callable[[str], str | None] = lambda digest: None
    """A change's digest → the run that was rolled back with it on this host."""


@dataclass(slots=True)
class HostWork:
    """What changing a host needs. One per host and run, made anew after a restart.

    output: takes the raw bytes of whatever the host prints; the step keeps them. progress: one short line for people.
    """

    run: str
    host: Host
    shell: Shell
    fence: Fence
    facts: Facts
    artifacts: Artifacts
    output: Callable[[bytes], None] = lambda data: None
    progress: Callable[[str], None] = lambda line: None
    job: str = ""
    """Name for what the step starts detached: the same whenever the step is begun again."""
    notes: list[str] = field(default_factory=list)
    """Said in the host's part; a note alone does not make a host degraded."""
    concerns: list[str] = field(default_factory=list)
    """Said in the host's part, and makes it degraded."""
    measures: dict[str, Any] = field(default_factory=dict)
    """Put into the host's part."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """The measures that earlier steps have put into the host's part."""
    begun: bool = False
    """The change has begun: what is asked for from here on must not hang on a repository."""


C = TypeVar("C", bound=Value)
U = TypeVar("U", bound=Value)


class Operation(Protocol[C, U]):
    """C: the change. U: all that going back needs. Both frozen, versioned, plain JSON, so that another process next week
    can go on or undo. What U points to lies in the artifact store.

    Whatever is raised as `Refused` before `apply` leaves the host untouched and refused.
    """

    @property
    def kind(self) -> str: ...

    @property
    def software(self) -> bool:
        """Whether it changes the host's software. Only then are other updaters fenced, is the way back captured, are services
        restarted that run old code, and reboots made; an operation without is `Unchanging`."""

    def look_ahead(self, host: Host) -> None:
        """Begin with what of `preview` needs nothing of the host and takes its time, beside connecting to it. Never raises:
        how that ends is heard in `preview`, where it comes to that."""

    def preview(self, look: Look) -> Forecast:
        """What would change here. Reads only."""

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        """The operation's own preflight: locks (waits up to so many seconds), interrupted transactions (repaired or
        refused), repositories. Returns what it found and repaired, for the record. Raises Refused."""

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> C:
        """The exact set, from the forecast made at the start of the run and (after the first wave) what was tested.
        A newer version that has appeared since is not taken. Raises Refused."""

    def fingerprint(self, change: C) -> str:
        """The same for the same items from and to the same versions: what `blocked` is asked with."""

    def changes(self, change: C) -> int:
        """How many items; 0: nothing to do, the host is well as it is."""

    def left_out(self, change: C) -> tuple[LeftOut, ...]: ...

    def stage(self, work: HostWork, change: C, *, keep: bool) -> C:
        """Bring what will be installed onto the host, installing nothing. keep: also into the artifact store, by hash."""

    def capture(self, work: HostWork, change: C) -> U:
        """Prove that the change can be undone, and keep what is needed for it. Raises Refused where it can't."""

    def readiness(self, undo: U) -> tuple[int, int]:
        """(items that can go back, items)."""

    def never_automatic(self, change: C) -> tuple[str, ...]:
        """Names in it that must not be taken back without a human (libc, systemd, kernels, database servers…)."""

    def log_mark(self, shell: Shell) -> str:
        """A place in the host's own log of changes: its end now."""

    def changed_by_others(self, work: HostWork, mark: str, change: C) -> tuple[str, ...]:
        """What somebody else changed since the mark, each in words: `upgrade curl 7.1 → 7.2`."""

    def snapshot(self, work: HostWork, change: C) -> Json:
        """`{packages: {name: version}, packages_digest}` now, for `before` and `after`; packages: those of the change."""

    def apply(self, work: HostWork, change: C, name: str) -> Job:
        """The detached job, called `name`, that makes the change. Launched by the rollout, so not here."""

    def attend(self, work: HostWork, change: C, name: str) -> AbstractContextManager[None]:
        """What has to stand beside the job from before it is launched until it has ended (a forward, a gateway). Entered
        again, in another process too, where the work is gone on with. Raises what a launch may raise."""

    @property
    def stoppable(self) -> bool:
        """Whether the job is stopped where the run is cancelled, and not only what would come after it. Never what changes
        software: that is brought to its end."""

    def stop(self, work: HostWork, change: C, name: str) -> None:
        """Ask the job to end in order, and soon. Asked again every few seconds for as long as it is at work, in another process
        too; its end is awaited as ever. Raises ShellError, which is no more than tried again."""

    def outcome(self, change: C, exit: int | None, output: bytes) -> Outcome:
        """exit: None where the job was lost; then only the measures count and whether it was stopped, and only of what leaves the
        software as it is."""

    def progress(self, output: bytes, change: C) -> str:
        """One line about how far the job is: `12 of 20  libssl3`. Pure."""

    def verify(self, work: HostWork, change: C) -> tuple[str, ...]:
        """What is not as the change meant it; empty: all is. Asked of whatever knows best: the host, the repository."""

    def done(self, change: C, measures: Mapping[str, Any]) -> str:
        """What was done, in words, once it is proved: `12 changed, checked`. Pure."""

    def kept(self, output: bytes) -> tuple[str, ...]:
        """Configuration files that were kept although the new version brings others."""

    def undo(self, undo: U) -> C:
        """The change that goes back. Pure."""

    def freeze(self, changes: list[C]) -> Json:
        """What the hosts of a cohort's first wave installed, as `resolve` takes it for the later waves. Pure."""

    def read_change(self, data: Json) -> C: ...

    def read_undo(self, data: Json) -> U: ...


class Nothing(Value):
    """What going back needs where there is nothing to go back from."""

    version: int = 1


class Unchanging(Generic[C]):
    """The half of Operation[C, Nothing] that is the same for all that leave the host's software as it is."""

    software = False
    stoppable = False

    def look_ahead(self, host: Host) -> None:
        pass

    def left_out(self, change: C) -> tuple[LeftOut, ...]:
        return ()

    def stage(self, work: HostWork, change: C, *, keep: bool) -> C:
        return change

    def fingerprint(self, change: C) -> str:
        return ""

    def capture(self, work: HostWork, change: C) -> Nothing:
        return Nothing()

    def readiness(self, undo: Nothing) -> tuple[int, int]:
        return 0, 0

    def never_automatic(self, change: C) -> tuple[str, ...]:
        return ()

    def log_mark(self, shell: Shell) -> str:
        return ""

    def changed_by_others(self, work: HostWork, mark: str, change: C) -> tuple[str, ...]:
        return ()

    def snapshot(self, work: HostWork, change: C) -> Json:
        return {}

    def attend(self, work: HostWork, change: C, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def stop(self, work: HostWork, change: C, name: str) -> None:
        raise TypeError("nothing of it is stopped")

    def kept(self, output: bytes) -> tuple[str, ...]:
        return ()

    def undo(self, undo: Nothing) -> C:
        raise TypeError("nothing was changed that could go back")

    def freeze(self, changes: Sequence[C]) -> Json:
        return {}

    def read_undo(self, data: Json) -> Nothing:
        return Nothing.from_json(data)

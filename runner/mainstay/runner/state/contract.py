"""The state's port: mainstay.db without the ledger's table. One method, one short transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mainstay.inventory.errors import MainstayError, UsageError
from mainstay.inventory.value import Json, Value
from mainstay.runner.record import HostPart, Intervention
from mainstay.runner.verdict import Verdict

RunState = Literal["preparing", "running", "paused", "stopping", "ended"]
"""`preparing` until the waves are known; `ended` once the record is sealed."""


class RunRow(Value):
    """A run as it was asked for, and where it is."""

    id: str
    kind: str
    plan: str
    state: RunState
    request: Json
    """Everything the run needs, resolved: plan, hosts, options, who asked. What a restart reads."""
    wave: int | None = None
    started_at: str
    ended_at: str | None = None
    wish: Literal["", "pause", "cancel"] = ""
    """What somebody asked of it; read between hosts."""
    wish_by: str = ""
    wish_reason: str = ""


RUNS_BACK = 20
"""How far back the parts of a plan's runs are looked at for what its work takes."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run is and what was asked of it: a RunRow without the request, which is as long as the run has hosts."""

    state: RunState
    wish: Literal["", "pause", "cancel"] = ""
    wish_by: str = ""
    wish_reason: str = ""


class UndoRow(Value):
    """What is needed to take one host back, kept per host and run."""

    run: str
    host: str
    operation: str
    """Kind of the operation that can read `undo`."""
    undo: Json
    made_at: str
    keep_until: str
    undone_by: str | None = None


class Sighting(Value):
    """When a version of a package was first seen, by our own observation of any host of the site."""

    cohort: str
    package: str
    version: str
    seen_at: str


class State(Protocol):
    @property
    def id(self) -> str:
        """Of this state, made once; what the owner file on a host names."""

    def next_fence(self) -> int:
        """A number higher than any handed out before."""

    def raise_fence(self, seen: int) -> None:
        """Never hand out a number at or below `seen` (a restored state meets a host that is ahead)."""

    def add_run(self, row: RunRow) -> None:
        """Again with the same id and request is success."""

    def run(self, id: str) -> RunRow | None: ...
    def standing(self, id: str) -> Standing | None:
        """What is read again and again while a run goes on, by each of its hosts."""

    def runs(self, *, in_flight: bool = False) -> list[RunRow]: ...
    def ended_before(self, moment: str) -> list[str]:
        """Ids of the runs that ended before it (RFC 3339 UTC), the oldest first."""

    def set_run(
        self, id: str, *, state: RunState | None = None, wave: int | None = None, ended_at: str | None = None
    ) -> None:
        """A run that has ended stays ended, whatever a process says that goes over its checkpoints once more."""

    def set_waves(self, run: str, waves: Sequence[Sequence[str]]) -> None:
        """Once per run, hosts by wave: how it was laid out, for whoever shows it. A later layout changes nothing."""

    def waves(self, run: str) -> list[list[str]]:
        """Empty until they are known."""

    def wish(self, id: str, wish: Literal["", "pause", "cancel"], *, by: str, reason: str) -> None:
        """Ask something of a run; it is kept as an intervention too. A cancel is final: nothing that is asked later takes
        it back."""

    def interventions(self, run: str) -> list[Intervention]:
        """Oldest first."""

    def take_slots(self, run: str, host: str, limits: Mapping[str, int]) -> bool:
        """Take one place in every scope (`site`, `tag:rack=r1`) for this host of this run, or none at all where a scope
        holds so many hosts of runs in flight already. Again for the same host is success."""

    def free_slots(self, run: str, host: str | None = None) -> None:
        """Give the places of one host, or of the whole run, back. None held is success."""

    def slots(self) -> dict[str, list[tuple[str, str]]]:
        """scope → (run, host) of those that hold a place in it, of runs in flight."""

    def write_part(self, run: str, part: HostPart) -> None:
        """Once per host and run; again with the same content is success, with another an error."""

    def parts(self, run: str) -> list[HostPart]:
        """Sorted by host."""

    def each_part(self, run: str) -> Iterator[HostPart]:
        """The same, one after the other: all parts of a run together are much."""

    def last_part(self, host: str) -> tuple[str, HostPart] | None:
        """(run id, part) of the host's newest part, but for those of runs that left its software as it was."""

    def recent_parts(self, plan: str, host: str | None, last: int) -> list[HostPart]:
        """At most `last`, the newest first, of the newest RUNS_BACK ended runs of the plan, but for those that are
        not what the plan is for; of one host, or of all."""

    def note_outcome(self, run: str, host: str, verdict: Verdict) -> None:
        """How a host ended, as soon as it is known: what the budget counts while the run goes on. The last one stands; once
        the host's part is written, nothing changes it any more."""

    def outcomes(self, run: str, among: Collection[Verdict] = ()) -> dict[str, Verdict]:
        """Of all hosts that have ended, or only of those that ended in one of these ways."""

    def note_step(self, run: str, host: str, step: str, detail: str) -> None:
        """What is being done right now, for `runs` in another process; overwritten, not history."""

    def notes(self, run: str) -> dict[str, Json]:
        """host → {step, detail, since, wave} of a run in flight."""

    def add_undo(self, row: UndoRow) -> None: ...
    def undos(self, *, run: str | None = None, host: str | None = None, needed_at: str | None = None) -> list[UndoRow]:
        """Oldest first. needed_at: only those that are kept for longer than that moment and have not been used."""

    def mark_undone(self, run: str, host: str, by: str) -> None: ...

    def see(self, cohort: str, versions: list[tuple[str, str]], at: str) -> None:
        """Note (package, version) as seen; an earlier sighting stays."""

    def sightings(self, cohort: str) -> dict[tuple[str, str], str]:
        """(package, version) → seen_at."""

    def block(self, host: str, change_digest: str, run: str) -> None:
        """This change was rolled back on this host; it is not tried again until unblocked (`--retry`)."""

    def blocked(self, host: str, change_digest: str) -> str | None:
        """The run that was rolled back, or None."""

    def unblock(self, host: str) -> None: ...

    def close(self) -> None: ...


class StateConflict(MainstayError):
    """What is written already is something else; it stays as it is."""

    kind = "state"


class NoSuchRun(UsageError):
    """No run has this id."""

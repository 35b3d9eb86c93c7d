"""A look at every host from time to time, as a preview takes it: reads only, without sudo, without a trace on the hosts.
What is on offer there gets its first-seen date, and what was seen of the host is remembered for whoever asks later.

Hosts are spread over the time between two looks by their names, each at a moment of its own that stays the same; of several
processes that observe one holds the duty at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mainstay.inventory.host import Host
from mainstay.inventory.value import Json, Value
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.ports import Clock
from mainstay.runner.state.contract import State
from mainstay.runner.steps import rfc3339

PREFIX = "observed/"
DUTY = "observe"
ROUND = 60.0
"""Seconds between two rounds."""
HELD = timedelta(minutes=15)
"""For how long the duty is another's after the holder was heard of; longer than a round may take."""
FEWEST = 40
"""Hosts that a round looks at, at the most; more only where that would not suffice for all of them."""
PARALLEL = (4, 20)
LONGEST = 300
"""Characters of an error that is remembered."""


class Memory(Protocol):
    """What is asked of the schedules' store: marks (small values under a name), and a duty that one process has at a time."""

    def marks(self, prefix: str) -> dict[str, str]: ...
    def set_mark(self, name: str, value: str) -> None: ...
    def lease(self, name: str, holder: str, *, now: str, until: str) -> bool: ...


class Observed(Value):
    """What the last look at a host told. Times are RFC 3339 UTC. The texts are the host's own: clean them before a screen."""

    at: str
    """When it was tried."""
    seen_at: str = ""
    """When it last answered; what follows is from then. Empty: never yet."""
    error: str = ""
    """Why the last look told nothing; empty where it did."""
    unreachable: bool = False
    plan: str = ""
    """Whose eyes it was looked at with."""
    cohort: str = ""
    kernel: str = ""
    boot_id: str = ""
    reboot_required: bool = False
    pending: int | None = None
    """Updates that the plan would take."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A host, and the plan that it is looked at for."""

    host: Host
    plan: str


Look = Callable[[str, Sequence[Host], int], Mapping[str, HostForecast]]
"""(plan, hosts, how many at once) → what was found; an error of one host is data."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did. waiting: hosts that were due and are left to the next one."""

    looked: int = 0
    failed: int = 0
    waiting: int = 0


class Observer:
    """every: seconds between two looks at one host. holder: of the duty, another one for each process."""

    def __init__(
        self,
        watched: Iterable[Watched],
        look: Look,
        memory: Memory,
        state: State,
        clock: Clock,
        *,
        every: float,
        holder: str,
    ) -> None:
        self._watched = {one.host.name: one for one in watched}
        self._look = look
        self._memory = memory
        self._state = state
        self._clock = clock
        self._every = every
        self._holder = holder
        self._most = max(FEWEST, -int(-2 * len(self._watched) * ROUND // every))  # twice what keeps up with them
        self._parallel = min(PARALLEL[1], max(PARALLEL[0], self._most // 10))

    def round(self) -> Round:
        """Look at those that are due, as many as fit into a round. Nothing where the duty is another's. Safe to be cut off
        anywhere: who was not noted is due again."""
        now = self._clock.now()
        if not self._memory.lease(DUTY, self._holder, now=rfc3339(now), until=rfc3339(now + HELD)):
            return Round()
        known = observations(self._memory)
        hands = in_hand(self._state)
        due = [
            name
            for name in self._watched
            if name not in hands and is_due(name, known[name].at if name in known else None, now, self._every)
        ]
        due.sort(key=lambda name: (known[name].at if name in known else "", name))
        mine = due[: self._most]
        failed = 0
        for plan in sorted({self._watched[name].plan for name in mine}):
            hosts = [self._watched[name].host for name in mine if self._watched[name].plan == plan]
            for name, found in self._look(plan, hosts, self._parallel).items():
                noted = note(found, plan, rfc3339(now), known.get(name))
                failed += bool(noted.error)
                self._memory.set_mark(PREFIX + name, json.dumps(noted.to_json(), separators=(",", ":")))
        return Round(len(mine), failed, len(due) - len(mine))


def note(found: HostForecast, plan: str, at: str, before: Observed | None) -> Observed:
    """What is remembered of a look; of one that told nothing, what was known before beside its error."""
    facts = found.facts
    if facts is None:
        kept = before or Observed(at=at)
        changed: Json = {"at": at, "plan": plan, "error": found.error[:LONGEST], "unreachable": found.unreachable}
        return kept.model_copy(update=changed)
    return Observed(
        at=at,
        seen_at=at,
        error=found.error[:LONGEST],
        plan=plan,
        cohort=facts.cohort,
        kernel=facts.kernel,
        boot_id=facts.boot_id,
        reboot_required=facts.reboot_required,
        pending=found.forecast.count if found.forecast else None,
    )


def observations(memory: Memory, beginning: str = "") -> dict[str, Observed]:
    """host → what the last look told, of every host that was ever looked at (and whose name begins so). What a newer version
    wrote is not known here."""
    found = {}
    for name, mark in memory.marks(PREFIX + beginning).items():
        with suppress(ValueError):
            found[name.removeprefix(PREFIX)] = Observed.from_json(json.loads(mark))
    return found


def observation(memory: Memory, name: str) -> Observed | None:
    """Of one host."""
    return observations(memory, name).get(name)


def is_due(name: str, last: str | None, now: datetime, every: float) -> bool:
    """Whether the host's own moment has come again since the last look. One that was never looked at is due at once."""
    if last is None:
        return True
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    moment = now.timestamp()
    newest = (moment - share * every) // every * every + share * every
    looked = datetime.fromisoformat(last).timestamp()
    return looked < newest or looked > moment  # the clock was set back: what it says of then is no measure


def in_hand(state: State) -> Collection[str]:
    """Hosts that a run works on right now."""
    found: set[str] = set()
    for row in state.runs(in_flight=True):
        found |= set(state.notes(row.id)) - set(state.outcomes(row.id))
    return found

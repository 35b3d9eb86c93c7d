"""The state without a database, held to the suite that the real one passes."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from ulid import ULID

from mainstay.inventory.value import Json
from mainstay.runner.ports import Clock, SystemClock
from mainstay.runner.record import ASIDE, NO_SOFTWARE, HostPart, Intervention
from mainstay.runner.state.contract import RUNS_BACK, NoSuchRun, RunRow, RunState, Standing, StateConflict, UndoRow
from mainstay.runner.verdict import Verdict


class MemoryState:
    """Implements State."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._id = str(ULID())
        self._lock = threading.RLock()
        self._fence = 0
        self._runs: dict[str, RunRow] = {}
        self._parts: dict[tuple[str, str], HostPart] = {}
        self._outcomes: dict[tuple[str, str], Verdict] = {}
        self._notes: dict[tuple[str, str], Json] = {}
        self._undos: dict[tuple[str, str], UndoRow] = {}
        self._sightings: dict[str, dict[tuple[str, str], str]] = {}
        self._blocks: dict[tuple[str, str], str] = {}
        self._interventions: dict[str, list[Intervention]] = {}
        self._slots: dict[tuple[str, str], tuple[str, ...]] = {}
        self._waves: dict[str, list[list[str]]] = {}

    @property
    def id(self) -> str:
        return self._id

    def next_fence(self) -> int:
        with self._lock:
            self._fence += 1
            return self._fence

    def raise_fence(self, seen: int) -> None:
        with self._lock:
            self._fence = max(self._fence, seen)

    def add_run(self, row: RunRow) -> None:
        with self._lock:
            there = self._runs.setdefault(row.id, row)
        if there.request != row.request:
            raise StateConflict(f"run {row.id} is there already, and was asked for something else")

    def run(self, id: str) -> RunRow | None:
        return self._runs.get(id)

    def standing(self, id: str) -> Standing | None:
        row = self._runs.get(id)
        return None if row is None else Standing(row.state, row.wish, row.wish_by, row.wish_reason)

    def runs(self, *, in_flight: bool = False) -> list[RunRow]:
        with self._lock:
            return [row for row in self._runs.values() if not in_flight or row.state != "ended"]

    def ended_before(self, moment: str) -> list[str]:
        with self._lock:
            ended = [(row.ended_at, row.id) for row in self._runs.values() if row.ended_at]
        return [id for at, id in sorted(ended) if at < moment]

    def set_run(
        self, id: str, *, state: RunState | None = None, wave: int | None = None, ended_at: str | None = None
    ) -> None:
        given = {"state": state, "wave": wave, "ended_at": ended_at}
        self._change_run(id, {name: value for name, value in given.items() if value is not None})

    def set_waves(self, run: str, waves: Sequence[Sequence[str]]) -> None:
        with self._lock:
            self._waves[run] = self._waves.get(run) or [list(hosts) for hosts in waves]

    def waves(self, run: str) -> list[list[str]]:
        with self._lock:
            return [list(hosts) for hosts in self._waves.get(run, [])]

    def wish(self, id: str, wish: Literal["", "pause", "cancel"], *, by: str, reason: str) -> None:
        now = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        asked = {"wish": wish, "wish_by": by, "wish_reason": reason}
        with self._lock:
            final = id in self._runs and self._runs[id].wish == "cancel"
            self._change_run(id, {} if final else asked)
            said = Intervention(at=now, wish=wish, by=by, reason=reason)
            self._interventions.setdefault(id, []).append(said)

    def interventions(self, run: str) -> list[Intervention]:
        with self._lock:
            return list(self._interventions.get(run, []))

    def take_slots(self, run: str, host: str, limits: Mapping[str, int]) -> bool:
        with self._lock:
            if (run, host) in self._slots:
                return True
            held = self.slots()
            if any(len(held.get(scope, [])) >= limit for scope, limit in limits.items()):
                return False
            self._slots[run, host] = tuple(limits)
            return True

    def free_slots(self, run: str, host: str | None = None) -> None:
        with self._lock:
            for key in [key for key in self._slots if key[0] == run and host in (None, key[1])]:
                del self._slots[key]

    def slots(self) -> dict[str, list[tuple[str, str]]]:
        held: dict[str, list[tuple[str, str]]] = {}
        with self._lock:
            for key, scopes in sorted(self._slots.items()):
                if key[0] in self._runs and self._runs[key[0]].state == "ended":
                    continue
                for scope in scopes:
                    held.setdefault(scope, []).append(key)
        return held

    def _change_run(self, id: str, values: dict[str, Any]) -> None:
        with self._lock:
            if not values:
                return
            if id not in self._runs:
                raise NoSuchRun(f"there is no run {id}", hint="`mainstay runs` and `mainstay records` list them.")
            if self._runs[id].state == "ended":
                values = {**values, "state": "ended"}
            self._runs[id] = self._runs[id].model_copy(update=values)

    def write_part(self, run: str, part: HostPart) -> None:
        with self._lock:
            there = self._parts.setdefault((run, part.host), part)
        if there != part:
            raise StateConflict(f"the part of {part.host} in run {run} is written already, and is another")

    def parts(self, run: str) -> list[HostPart]:
        with self._lock:
            return sorted((part for (of, _), part in self._parts.items() if of == run), key=lambda part: part.host)

    def each_part(self, run: str) -> Iterator[HostPart]:
        yield from self.parts(run)

    def last_part(self, host: str) -> tuple[str, HostPart] | None:
        with self._lock:
            others = {id for id, row in self._runs.items() if row.kind in NO_SOFTWARE}
            found = [(run, part) for (run, on), part in self._parts.items() if on == host and run not in others]
        return found[-1] if found else None

    def recent_parts(self, plan: str, host: str | None, last: int) -> list[HostPart]:
        with self._lock:
            rows = [row for row in self._runs.values() if row.plan == plan and row.kind not in ASIDE]
            runs = [row.id for row in rows if row.state == "ended"][-RUNS_BACK:]
            found = [part for (run, on), part in self._parts.items() if run in runs and host in (None, on)]
        return found[: -last - 1 : -1]

    def note_outcome(self, run: str, host: str, verdict: Verdict) -> None:
        with self._lock:
            if (run, host) not in self._parts:
                self._outcomes[run, host] = verdict

    def outcomes(self, run: str, among: Collection[Verdict] = ()) -> dict[str, Verdict]:
        with self._lock:
            found = {host: verdict for (of, host), verdict in sorted(self._outcomes.items()) if of == run}
        return {host: verdict for host, verdict in found.items() if not among or verdict in among}

    def note_step(self, run: str, host: str, step: str, detail: str) -> None:
        now = self._clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        with self._lock:
            before = self._notes.get((run, host), {})
            since = before["since"] if before.get("step") == step else now
            wave = self._runs[run].wave if run in self._runs else None
            self._notes[run, host] = {"step": step, "detail": detail, "since": since, "wave": wave}

    def notes(self, run: str) -> dict[str, Json]:
        with self._lock:
            return {host: dict(note) for (of, host), note in sorted(self._notes.items()) if of == run}

    def add_undo(self, row: UndoRow) -> None:
        with self._lock:
            there = self._undos.get((row.run, row.host))
            kept = row if there is None else row.model_copy(update={"undone_by": there.undone_by})
            self._undos[row.run, row.host] = kept

    def undos(self, *, run: str | None = None, host: str | None = None, needed_at: str | None = None) -> list[UndoRow]:
        with self._lock:
            found = [row for row in self._undos.values() if run in (None, row.run) and host in (None, row.host)]
        return [row for row in found if needed_at is None or (row.undone_by is None and row.keep_until > needed_at)]

    def mark_undone(self, run: str, host: str, by: str) -> None:
        with self._lock:
            if (run, host) in self._undos:
                self._undos[run, host] = self._undos[run, host].model_copy(update={"undone_by": by})

    def see(self, cohort: str, versions: list[tuple[str, str]], at: str) -> None:
        with self._lock:
            known = self._sightings.setdefault(cohort, {})
            for version in versions:
                known[version] = min(known.get(version, at), at)

    def sightings(self, cohort: str) -> dict[tuple[str, str], str]:
        with self._lock:
            return dict(self._sightings.get(cohort, {}))

    def block(self, host: str, change_digest: str, run: str) -> None:
        with self._lock:
            self._blocks[host, change_digest] = run

    def blocked(self, host: str, change_digest: str) -> str | None:
        return self._blocks.get((host, change_digest))

    def unblock(self, host: str) -> None:
        with self._lock:
            for key in [key for key in self._blocks if key[0] == host]:
                del self._blocks[key]

    def close(self) -> None:
        """Nothing is open."""

"""The state in a database."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from ulid import ULID

from mainstay.inventory.value import Json, canonical, digest
from mainstay.runner.ports import Clock, SystemClock
from mainstay.runner.record import ASIDE, NO_SOFTWARE, HostPart, Intervention
from mainstay.runner.state.adapters import tables
from mainstay.runner.state.adapters.database import Database, persistent, storable
from mainstay.runner.state.adapters.migrating import ready
from mainstay.runner.state.contract import (
    RUNS_BACK,
    NoSuchRun,
    RunRow,
    RunState,
    Standing,
    StateConflict,
    UndoRow,
)
from mainstay.runner.verdict import Verdict

# Written at each step of each host, so as text: to put it together anew costs several times what it does. Another detail of
# the same step: it has been going on since it was first noted.
_NOTE = sa.text(
    "INSERT INTO note (run, host, step, detail, since, wave) "
    "VALUES (:run, :host, :step, :detail, :since, (SELECT wave FROM run WHERE id = :run)) "
    "ON CONFLICT (run, host) DO UPDATE SET step = excluded.step, detail = excluded.detail, wave = excluded.wave, "
    "since = CASE WHEN note.step = excluded.step THEN note.since ELSE excluded.since END"
)


class SqlState:
    """Implements State. Makes its tables where they are not."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        ready(database)
        self._id = self._set_up()

    @persistent
    def _set_up(self) -> str:
        first = {"state_id": str(ULID()), "fence": "0", "schema_version": str(tables.SCHEMA_VERSION)}
        query = sa.select(tables.meta.c.value).where(tables.meta.c.name == "state_id")
        with self._database.read() as of:
            there: str | None = of.execute(query).scalar_one_or_none()
        if there is not None:
            return there
        with self._database.write() as to:
            rows = [{"name": name, "value": value} for name, value in first.items()]
            to.execute(self._database.insert(tables.meta).on_conflict_do_nothing(), rows)
            made: str = to.execute(query).scalar_one()
        return made

    @property
    def id(self) -> str:
        return self._id

    def next_fence(self) -> int:
        return self._lift_fence(sa.cast(tables.meta.c.value, tables.NUMBER) + 1)

    def raise_fence(self, seen: int) -> None:
        self._lift_fence(self._database.greatest(sa.cast(tables.meta.c.value, tables.NUMBER), seen))

    @persistent
    def _lift_fence(self, value: sa.ColumnElement[int]) -> int:
        change = (
            sa.update(tables.meta)
            .where(tables.meta.c.name == "fence")
            .values(value=sa.cast(value, sa.Text))
            .returning(tables.meta.c.value)
        )
        with self._database.write() as to:
            return int(to.execute(change).scalar_one())

    @persistent
    def add_run(self, row: RunRow) -> None:
        values = row.to_json() | {"request": _text(row.request)}
        with self._database.write() as to:
            there = to.execute(sa.select(tables.run.c.request).where(tables.run.c.id == row.id)).scalar_one_or_none()
            if there is None:
                to.execute(sa.insert(tables.run).values(**values))
            elif there != values["request"]:
                raise StateConflict(f"run {row.id} is there already, and was asked for something else")

    @persistent
    def run(self, id: str) -> RunRow | None:
        with self._database.read() as of:
            row = of.execute(sa.select(tables.run).where(tables.run.c.id == id)).mappings().one_or_none()
        return None if row is None else _run_row(row)

    @persistent
    def standing(self, id: str) -> Standing | None:
        row = tables.run.c
        query = sa.select(row.state, row.wish, row.wish_by, row.wish_reason).where(row.id == id)
        with self._database.read() as of:
            found = of.execute(query).one_or_none()
        return None if found is None else Standing(*found)

    @persistent
    def runs(self, *, in_flight: bool = False) -> list[RunRow]:
        query = sa.select(tables.run).order_by(tables.run.c.number)
        if in_flight:
            query = query.where(tables.run.c.state != "ended")
        with self._database.read() as of:
            return [_run_row(row) for row in of.execute(query).mappings()]

    @persistent
    def ended_before(self, moment: str) -> list[str]:
        table = tables.run
        query = sa.select(table.c.id).where(table.c.ended_at < moment).order_by(table.c.ended_at, table.c.id)
        with self._database.read() as of:
            return list(of.execute(query).scalars())

    def set_run(
        self, id: str, *, state: RunState | None = None, wave: int | None = None, ended_at: str | None = None
    ) -> None:
        stays = sa.case((tables.run.c.state == "ended", "ended"), else_=state) if state is not None else None
        given = {"state": stays, "wave": wave, "ended_at": ended_at}
        self._change_run(id, {name: value for name, value in given.items() if value is not None})

    @persistent
    def set_waves(self, run: str, waves: Sequence[Sequence[str]]) -> None:
        table = tables.wave
        rows = [{"run": run, "number": number, "hosts": _text(list(hosts))} for number, hosts in enumerate(waves, 1)]
        if not rows or self.waves(run):
            return  # every process that goes on with the run says so again
        with self._database.write() as to:
            if to.execute(sa.select(table.c.run).where(table.c.run == run).limit(1)).first() is None:
                to.execute(sa.insert(table), rows)

    @persistent
    def waves(self, run: str) -> list[list[str]]:
        table = tables.wave
        with self._database.read() as of:
            rows = of.execute(sa.select(table.c.hosts).where(table.c.run == run).order_by(table.c.number))
            return [json.loads(hosts) for hosts in rows.scalars()]

    def wish(self, id: str, wish: Literal["", "pause", "cancel"], *, by: str, reason: str) -> None:
        by, reason = storable(by), storable(reason)
        now = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = self._database.insert(tables.intervention).values(
            id=str(ULID()), run=id, at=now, wish=wish, by=by, reason=reason
        )
        said = said.on_conflict_do_nothing()  # the same one again, where the first answer was lost
        asked, row = {"wish": wish, "wish_by": by, "wish_reason": reason}, tables.run.c
        final = {name: sa.case((row.wish == "cancel", row[name]), else_=value) for name, value in asked.items()}
        self._change_run(id, final, said)

    @persistent
    def _change_run(self, id: str, values: dict[str, Any], also: Any = None) -> None:
        if not values:
            return
        with self._database.write() as to:
            done = to.execute(sa.update(tables.run).where(tables.run.c.id == id).values(**values))
            if done.rowcount == 0:
                raise NoSuchRun(f"there is no run {id}", hint="`mainstay runs` and `mainstay records` list them.")
            if also is not None:
                to.execute(also)

    @persistent
    def interventions(self, run: str) -> list[Intervention]:
        table = tables.intervention
        with self._database.read() as of:
            rows = of.execute(sa.select(table).where(table.c.run == run).order_by(table.c.number)).mappings().all()
        return [Intervention.from_json({name: row[name] for name in Intervention.model_fields}) for row in rows]

    @persistent
    def take_slots(self, run: str, host: str, limits: Mapping[str, int]) -> bool:
        table = tables.slot
        mine = (table.c.run == run, table.c.host == host)
        with self._database.write() as to:
            if not limits or to.execute(sa.select(table.c.scope).where(*mine).limit(1)).first() is not None:
                return True
            held = Counter(row.scope for row in to.execute(self._live_slots()))
            if any(held[scope] >= limit for scope, limit in limits.items()):
                return False
            to.execute(sa.insert(table), [{"run": run, "host": host, "scope": scope} for scope in limits])
            return True

    @persistent
    def free_slots(self, run: str, host: str | None = None) -> None:
        table = tables.slot
        gone = sa.delete(table).where(table.c.run == run)
        with self._database.write() as to:
            to.execute(gone if host is None else gone.where(table.c.host == host))

    @persistent
    def slots(self) -> dict[str, list[tuple[str, str]]]:
        table, held = tables.slot, dict[str, list[tuple[str, str]]]()
        with self._database.read() as of:
            for row in of.execute(self._live_slots().order_by(table.c.scope, table.c.run, table.c.host)):
                held.setdefault(row.scope, []).append((row.run, row.host))
        return held

    def _live_slots(self) -> sa.Select[Any]:
        """A run that has ended holds nothing, whatever its process could still say."""
        # Asked of each slot's own run: a state holds more runs that have ended than slots.
        ended = sa.exists().where(tables.run.c.id == tables.slot.c.run, tables.run.c.state == "ended")
        return sa.select(tables.slot).where(~ended)

    @persistent
    def write_part(self, run: str, part: HostPart) -> None:
        table, body = tables.host_part, _text(part.to_json())
        mine = (table.c.run == run, table.c.host == part.host)
        with self._database.write() as to:
            there = to.execute(sa.select(table.c.body).where(*mine)).scalar_one_or_none()
            if there is None:
                to.execute(sa.insert(table).values(run=run, host=part.host, body=body))
            elif there != body:
                raise StateConflict(f"the part of {part.host} in run {run} is written already, and is another")

    def parts(self, run: str) -> list[HostPart]:
        return list(self.each_part(run))

    def each_part(self, run: str) -> Iterator[HostPart]:
        last = ""
        while page := self._parts_after(run, last):
            yield from page
            last = page[-1].host

    @persistent
    def _parts_after(self, run: str, host: str) -> list[HostPart]:
        table = tables.host_part
        query = sa.select(table.c.body).where(table.c.run == run, table.c.host > host).order_by(table.c.host).limit(200)
        with self._database.read() as of:
            return [HostPart.from_json(json.loads(body)) for body in of.execute(query).scalars()]

    @persistent
    def hosts_digest(self, run: str) -> str:
        """`record.hosts_digest` of the run's parts, taken from what is written without reading it: fast, and strict."""
        table = tables.host_part
        bytes_of = (self._database.bytes_of(column).label(column.name) for column in (table.c.host, table.c.body))
        with self._database.read() as of:
            rows = of.execute(sa.select(*bytes_of).where(table.c.run == run)).all()
        parts = [[row.host.decode("utf-8", "backslashreplace"), hashlib.sha256(row.body).hexdigest()] for row in rows]
        return digest(sorted(parts))

    @persistent
    def last_part(self, host: str) -> tuple[str, HostPart] | None:
        table = tables.host_part
        others = sa.select(tables.run.c.id).where(tables.run.c.id == table.c.run, tables.run.c.kind.in_(NO_SOFTWARE))
        query = sa.select(table.c.run, table.c.body).where(table.c.host == host, ~others.exists())
        query = query.order_by(table.c.number.desc())
        with self._database.read() as of:
            row = of.execute(query.limit(1)).one_or_none()
        return None if row is None else (row.run, HostPart.from_json(json.loads(row.body)))

    @persistent
    def recent_parts(self, plan: str, host: str | None, last: int) -> list[HostPart]:
        table, runs = tables.host_part, tables.run
        ended = sa.select(runs.c.id).where(runs.c.plan == plan, runs.c.state == "ended", runs.c.kind.not_in(ASIDE))
        with self._database.read() as of:
            newest = of.execute(ended.order_by(runs.c.number.desc()).limit(RUNS_BACK)).scalars().all()
            query = sa.select(table.c.body).where(table.c.run.in_(newest)).order_by(table.c.number.desc()).limit(last)
            if host is not None:
                query = query.where(table.c.host == host)
            return [HostPart.from_json(json.loads(body)) for body in of.execute(query).scalars()]

    @persistent
    def note_outcome(self, run: str, host: str, verdict: Verdict) -> None:
        row = self._database.insert(tables.outcome).values(run=run, host=host, verdict=str(verdict))
        row = row.on_conflict_do_update(index_elements=["run", "host"], set_={"verdict": row.excluded.verdict})
        table = tables.host_part
        part = sa.select(table.c.number).where(table.c.run == run, table.c.host == host)
        with self._database.write() as to:
            # A process that was frozen before it said this may wake when another has long ended the host.
            if to.execute(part).first() is None:
                to.execute(row)

    @persistent
    def outcomes(self, run: str, among: Collection[Verdict] = ()) -> dict[str, Verdict]:
        query = sa.select(tables.outcome).where(tables.outcome.c.run == run).order_by(tables.outcome.c.host)
        if among:
            query = query.where(tables.outcome.c.verdict.in_(sorted(among)))
        with self._database.read() as of:
            return {row.host: Verdict(row.verdict) for row in of.execute(query)}

    @persistent
    def note_step(self, run: str, host: str, step: str, detail: str) -> None:
        now = self._clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")
        with self._database.noting() as to:
            to.execute(_NOTE, {"run": run, "host": host, "step": step, "detail": storable(detail), "since": now})

    @persistent
    def notes(self, run: str) -> dict[str, Json]:
        table = tables.note
        query = sa.select(table.c.host, table.c.step, table.c.detail, table.c.since, table.c.wave)
        with self._database.read() as of:
            rows = of.execute(query.where(table.c.run == run).order_by(table.c.host)).mappings().all()
        return {row["host"]: {name: value for name, value in row.items() if name != "host"} for row in rows}

    @persistent
    def add_undo(self, row: UndoRow) -> None:
        values = row.to_json() | {"undo": _text(row.undo)}
        statement = self._database.insert(tables.undo).values(**values)
        # A capture that was interrupted is made again; whether it has been used since is not forgotten.
        new = {name: statement.excluded[name] for name in ("operation", "undo", "made_at", "keep_until")}
        with self._database.write() as to:
            to.execute(statement.on_conflict_do_update(index_elements=["run", "host"], set_=new))

    @persistent
    def undos(self, *, run: str | None = None, host: str | None = None, needed_at: str | None = None) -> list[UndoRow]:
        table = tables.undo
        query = sa.select(table).order_by(table.c.number)
        if run is not None:
            query = query.where(table.c.run == run)
        if host is not None:
            query = query.where(table.c.host == host)
        if needed_at is not None:
            query = query.where(table.c.undone_by.is_(None), table.c.keep_until > needed_at)
        with self._database.read() as of:
            rows = of.execute(query).mappings().all()
        return [
            UndoRow.from_json({name: row[name] for name in UndoRow.model_fields} | {"undo": json.loads(row["undo"])})
            for row in rows
        ]

    @persistent
    def mark_undone(self, run: str, host: str, by: str) -> None:
        mine = (tables.undo.c.run == run, tables.undo.c.host == host)
        with self._database.write() as to:
            to.execute(sa.update(tables.undo).where(*mine).values(undone_by=by))

    @persistent
    def see(self, cohort: str, versions: list[tuple[str, str]], at: str) -> None:
        known = self.sightings(cohort)
        new = [(name, version) for name, version in versions if known.get((name, version), "~") > at]
        if not new:
            return  # looking at a fleet again and again must not write
        rows = [{"cohort": cohort, "package": name, "version": version, "seen_at": at} for name, version in new]
        statement = self._database.insert(tables.sighting)
        earlier = self._database.least(tables.sighting.c.seen_at, statement.excluded.seen_at)
        key = ["cohort", "package", "version"]
        with self._database.write() as to:
            to.execute(statement.on_conflict_do_update(index_elements=key, set_={"seen_at": earlier}), rows)

    @persistent
    def sightings(self, cohort: str) -> dict[tuple[str, str], str]:
        with self._database.read() as of:
            rows = of.execute(sa.select(tables.sighting).where(tables.sighting.c.cohort == cohort))
            return {(row.package, row.version): row.seen_at for row in rows}

    @persistent
    def block(self, host: str, change_digest: str, run: str) -> None:
        row = self._database.insert(tables.block).values(host=host, change_digest=change_digest, run=run)
        row = row.on_conflict_do_update(index_elements=["host", "change_digest"], set_={"run": row.excluded.run})
        with self._database.write() as to:
            to.execute(row)

    @persistent
    def blocked(self, host: str, change_digest: str) -> str | None:
        table = tables.block
        query = sa.select(table.c.run).where(table.c.host == host, table.c.change_digest == change_digest)
        with self._database.read() as of:
            return of.execute(query).scalar_one_or_none()

    @persistent
    def unblock(self, host: str) -> None:
        with self._database.write() as to:
            to.execute(sa.delete(tables.block).where(tables.block.c.host == host))

    def close(self) -> None:
        self._database.close()


def _text(data: Json | list[str]) -> str:
    return canonical(data).decode()


def _run_row(row: Any) -> RunRow:
    return RunRow.from_json({name: row[name] for name in RunRow.model_fields} | {"request": json.loads(row["request"])})

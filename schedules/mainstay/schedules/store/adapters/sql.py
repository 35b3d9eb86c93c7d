"""What the clock remembers, in the state's database.

A value lies there as it is, in JSON; beside it stand only what it is found by and what changes. Whatever looks before it
writes does so in one `write`, which is alone in its time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from mainstay.inventory.value import Value, canonical
from mainstay.runner.state.adapters import tables
from mainstay.runner.state.adapters.database import Database, persistent, storable
from mainstay.schedules.store.contract import Approval, Carried, Notice, Vote, incredible

V = TypeVar("V", bound=Value)


class SqlSchedules:
    """Implements ScheduleStore on a database whose tables are there. Closes nothing: the database is the state's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    def begin(self, schedule: str, at: str) -> str:
        table = tables.watermark
        query = sa.select(table.c.at).where(table.c.schedule == schedule)
        with self._database.read() as of:
            there: str | None = of.execute(query).scalar_one_or_none()
        if there is not None:
            return there
        with self._database.write() as to:
            to.execute(self._database.insert(table).values(schedule=schedule, at=at).on_conflict_do_nothing())
            stands: str = to.execute(query).scalar_one()
        return stands

    @persistent
    def begin_all(self, schedules: Collection[str], at: str) -> None:
        rows = [{"schedule": schedule, "at": at} for schedule in sorted(schedules)]
        if not rows:
            return
        with self._database.write() as to:
            to.execute(self._database.insert(tables.watermark).on_conflict_do_nothing(), rows)

    @persistent
    def watermarks(self) -> dict[str, str]:
        table = tables.watermark
        with self._database.read() as of:
            return {row.schedule: row.at for row in of.execute(sa.select(table).order_by(table.c.schedule))}

    def advance(self, schedule: str, to: str) -> None:
        self.advance_all({schedule: to})

    @persistent
    def advance_all(self, to: Mapping[str, str]) -> None:
        table, rows = tables.watermark, [{"schedule": schedule, "at": at} for schedule, at in sorted(to.items())]
        if not rows:
            return
        row = self._database.insert(table)
        later = self._database.greatest(table.c.at, row.excluded.at)
        with self._database.write() as writing:
            writing.execute(row.on_conflict_do_update(index_elements=["schedule"], set_={"at": later}), rows)

    @persistent
    def carry(self, carried: Carried) -> None:
        row = {"plan": carried.plan, "host": carried.host, "at": carried.at, "body": _text(carried)}
        with self._database.write() as to:
            to.execute(self._database.insert(tables.carried).values(**row).on_conflict_do_nothing())

    @persistent
    def carried(self, plan: str | None = None) -> list[Carried]:
        table = tables.carried
        query = sa.select(table.c.body).order_by(table.c.at, table.c.plan, table.c.host)
        return self._read(Carried, query if plan is None else query.where(table.c.plan == plan))

    @persistent
    def settle(self, plan: str, host: str) -> None:
        table = tables.carried
        with self._database.write() as to:
            to.execute(sa.delete(table).where(table.c.plan == plan, table.c.host == host))

    @persistent
    def ask(self, approval: Approval) -> None:
        table = tables.approval
        row = {
            "run": approval.run,
            "hash": approval.hash,
            "asked_at": approval.asked_at,
            "expires_at": approval.expires_at,
            "withdrawn_at": approval.withdrawn_at,
            "body": _text(approval.model_copy(update={"withdrawn_at": None})),
        }
        others = (table.c.run == approval.run, table.c.hash != approval.hash, table.c.withdrawn_at.is_(None))
        stands = self._database.insert(table).values(**row)
        stands = stands.on_conflict_do_update(index_elements=["run", "hash"], set_={"withdrawn_at": None})
        with self._database.write() as to:
            to.execute(sa.update(table).where(*others).values(withdrawn_at=approval.asked_at))
            to.execute(stands)

    @persistent
    def approval(self, run: str) -> Approval | None:
        table = tables.approval
        found = self._approvals(table.c.run == run, table.c.withdrawn_at.is_(None))
        return found[0] if found else None

    @persistent
    def approvals(self, *, open_at: str | None = None) -> list[Approval]:
        if open_at is None:
            return self._approvals()
        table = tables.approval
        return self._approvals(table.c.withdrawn_at.is_(None), table.c.expires_at > open_at)

    def _approvals(self, *where: sa.ColumnElement[bool]) -> list[Approval]:
        table = tables.approval
        query = sa.select(table.c.body, table.c.withdrawn_at).order_by(table.c.asked_at, table.c.run, table.c.hash)
        with self._database.read() as of:
            rows = of.execute(query.where(*where)).all()
        return [Approval.from_json(json.loads(row.body) | {"withdrawn_at": row.withdrawn_at}) for row in rows]

    @persistent
    def vote(self, vote: Vote) -> None:
        row = {"run": vote.run, "hash": vote.hash, "by": storable(vote.by), "at": vote.at, "body": _text(vote)}
        with self._database.write() as to:
            to.execute(self._database.insert(tables.vote).values(**row).on_conflict_do_nothing())

    @persistent
    def votes(self, run: str) -> list[Vote]:
        table = tables.vote
        query = sa.select(table.c.body).where(table.c.run == run)
        return self._read(Vote, query.order_by(table.c.at, table.c.hash, table.c.by))

    @persistent
    def put_notice(self, notice: Notice) -> None:
        changing = {"next_try_at": notice.next_try_at, "delivered_at": notice.delivered_at}
        row = {"id": storable(notice.id), "made_at": notice.made_at, "body": _text(notice), **changing}
        with self._database.write() as to:
            to.execute(self._database.insert(tables.notice).values(**row).on_conflict_do_nothing())

    def due_notices(self, now: str) -> list[Notice]:
        return self._undelivered(tables.notice.c.next_try_at <= now)

    def undelivered(self) -> list[Notice]:
        return self._undelivered()

    @persistent
    def _undelivered(self, *where: sa.ColumnElement[bool]) -> list[Notice]:
        table = tables.notice
        query = sa.select(table.c.body).where(table.c.delivered_at.is_(None), *where)
        return self._read(Notice, query.order_by(table.c.made_at, table.c.id))

    @persistent
    def note_try(self, id: str, *, at: str, error: str = "", next_try_at: str = "") -> None:
        table = tables.notice
        mine = (table.c.id == storable(id), table.c.delivered_at.is_(None))
        with self._database.write() as to:
            body = to.execute(sa.select(table.c.body).where(*mine)).scalar_one_or_none()
            if body is None:
                return
            there = Notice.from_json(json.loads(body))
            new: dict[str, Any] = {"next_try_at": next_try_at, "delivered_at": None if error else at}
            tried = there.model_copy(update=new | {"error": error, "tries": there.tries + 1})
            to.execute(sa.update(table).where(*mine).values(body=_text(tried), **new))

    @persistent
    def mark(self, name: str) -> str | None:
        table = tables.mark
        with self._database.read() as of:
            return of.execute(sa.select(table.c.value).where(table.c.name == name)).scalar_one_or_none()

    @persistent
    def marks(self, prefix: str) -> dict[str, str]:
        table = tables.mark
        query = sa.select(table).where(table.c.name.startswith(prefix, autoescape=True)).order_by(table.c.name)
        with self._database.read() as of:
            # LIKE of SQLite takes upper for lower case.
            return {row.name: row.value for row in of.execute(query) if row.name.startswith(prefix)}

    @persistent
    def set_mark(self, name: str, value: str) -> None:
        row = self._database.insert(tables.mark).values(name=name, value=storable(value))
        with self._database.write() as to:
            to.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value}))

    @persistent
    def raise_mark(self, name: str, value: str) -> bool:
        table = tables.mark
        row = self._database.insert(table).values(name=name, value=storable(value))
        row = row.on_conflict_do_update(
            index_elements=["name"], set_={"value": row.excluded.value}, where=table.c.value < row.excluded.value
        )
        with self._database.write() as to:
            return to.execute(row.returning(table.c.name)).first() is not None

    @persistent
    def lease(self, name: str, holder: str, *, now: str, until: str) -> bool:
        table = tables.lease
        row = self._database.insert(table).values(name=name, holder=holder, until=until)
        mine = sa.or_(table.c.holder == holder, table.c.until <= now, table.c.until > incredible(until))
        taken = {"holder": row.excluded.holder, "until": row.excluded.until}
        row = row.on_conflict_do_update(index_elements=["name"], set_=taken, where=mine)
        with self._database.write() as to:
            return to.execute(row.returning(table.c.name)).first() is not None

    def close(self) -> None:
        return None

    def _read(self, model: type[V], query: sa.Select[Any]) -> list[V]:
        with self._database.read() as of:
            return [model.from_json(json.loads(body)) for body in of.execute(query).scalars()]


def _text(value: Value) -> str:
    return canonical(value.to_json()).decode()

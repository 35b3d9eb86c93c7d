"""Recovery points and what belongs to them, in the state's database.

A value lies there as it is, in JSON; beside it stand only what it is found by and what changes. Moments in columns are
written alike, so that they compare as text. What looks before it writes does so in one `write`, alone in its time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import sqlalchemy as sa

from mainstay.inventory.value import canonical
from mainstay.recovery.freshness import PROVES
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack, Tended, Vault
from mainstay.recovery.points.memory import in_order, moment, proofs_in_order
from mainstay.runner.state.adapters import tables
from mainstay.runner.state.adapters.database import Database, persistent, storable

AT_ONCE = 500
"""Names in one query; databases take a limited number of parameters."""

Where = sa.ColumnElement[bool]
_POINT, _PROOF = tables.recovery_point, tables.proof
_TENDED = ["repository", "host", "what", "subject", "part"]
_ROW = (_POINT.c.body, _POINT.c.removed_at, _POINT.c.removed_by)


class SqlPoints:
    """Implements PointStore on a database whose tables are there. Closes nothing: the database is the state's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @persistent
    def add_point(self, point: RecoveryPoint) -> None:
        row = {
            **_found_by(point),
            "id": point.id,
            "anomalous": int(bool(point.anomalies)),
            "removed_at": moment(point.removed_at) if point.removed_at else None,
            "removed_by": point.removed_by,
            "body": _text(point.model_copy(update={"removed_at": None, "removed_by": None}).to_json()),
        }
        with self._database.write() as to:
            to.execute(self._database.insert(_POINT).values(**row).on_conflict_do_nothing())

    @persistent
    def points(
        self,
        *,
        hosts: Collection[str] | None = None,
        plan: str | None = None,
        source: str | None = None,
        repository: str | None = None,
        run: str | None = None,
        removed: bool = False,
        anomalous: bool = False,
    ) -> list[RecoveryPoint]:
        given = {"plan": plan, "source": source, "repository": repository, "run": run}
        where = [_POINT.c[name] == value for name, value in given.items() if value is not None]
        where += [] if removed else [_POINT.c.removed_at.is_(None)]
        where += [_POINT.c.anomalous == 1] if anomalous else []
        with self._database.read() as of:
            return _points(of, [sa.select(*_ROW).where(*where, *mine) for mine in _among(_POINT.c.host, hosts)])

    @persistent
    def newest(
        self, *, hosts: Collection[str] | None = None, plan: str | None = None, until: str | None = None
    ) -> list[RecoveryPoint]:
        where = [_POINT.c.removed_at.is_(None), *_of_plan(_POINT, plan)]
        where += [] if until is None else [_POINT.c.at <= moment(until)]
        group = [*_group(_POINT), _POINT.c.verdict]
        queries = []
        for mine in _among(_POINT.c.host, hosts):
            last = (
                sa.select(*group, sa.func.max(_POINT.c.at).label("at")).where(*where, *mine).group_by(*group).subquery()
            )
            same = [_POINT.c[column.name] == column for column in last.c]
            queries.append(sa.select(*_ROW).join(last, sa.and_(*same)).where(_POINT.c.removed_at.is_(None)))
        with self._database.read() as of:
            found = _points(of, queries)
        # Of two with the same moment one is enough.
        return in_order({(_key(one), one.verdict): one for one in found}.values())

    @persistent
    def proved(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[RecoveryPoint]:
        where = [_POINT.c.removed_at.is_(None), _PROOF.c.verdict.in_(PROVES), *_of_plan(_POINT, plan)]
        same = sa.and_(_PROOF.c.point == _POINT.c.id, _PROOF.c.repository == _POINT.c.repository)
        order = (_POINT.c.at.desc(), _POINT.c.id.desc())
        by_moment = sa.func.row_number().over(partition_by=_group(_POINT), order_by=order)
        by_proof = sa.func.row_number().over(partition_by=_group(_POINT), order_by=(_PROOF.c.at.desc(), *order))
        queries = []
        for mine in _among(_POINT.c.host, hosts):
            ranked = (
                sa.select(_POINT.c.id, _POINT.c.repository, by_moment.label("one"), by_proof.label("other"))
                .join(_PROOF, same)
                .where(*where, *mine)
                .subquery()
            )
            wanted = sa.select(ranked.c.id, ranked.c.repository).where(sa.or_(ranked.c.one == 1, ranked.c.other == 1))
            chosen = wanted.distinct().subquery()
            here = sa.and_(_POINT.c.id == chosen.c.id, _POINT.c.repository == chosen.c.repository)
            queries.append(sa.select(*_ROW).join(chosen, here))
        with self._database.read() as of:
            return _points(of, queries)

    @persistent
    def newest_proofs(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[Proof]:
        group = [*_group(_PROOF), _PROOF.c.verdict]
        where = _of_plan(_PROOF, plan)
        queries = []
        for mine in _among(_PROOF.c.host, hosts):
            last = (
                sa.select(*group, sa.func.max(_PROOF.c.at).label("at")).where(*where, *mine).group_by(*group).subquery()
            )
            same = [_PROOF.c[column.name] == column for column in last.c]
            queries.append(sa.select(_PROOF.c.body).join(last, sa.and_(*same)))
        with self._database.read() as of:
            found = _proofs(of, queries)
        return proofs_in_order({(_key(one), one.verdict): one for one in found}.values())

    @persistent
    def find(self, prefix: str) -> list[RecoveryPoint]:
        if not prefix:
            return []
        low = storable(prefix)
        within = (_POINT.c.id >= low, _POINT.c.id < low + "\U0010ffff")
        with self._database.read() as of:
            found = _points(of, [sa.select(*_ROW).where(*within)])
        return [one for one in found if one.id.startswith(prefix)]

    @persistent
    def mark_going(self, repository: str, ids: Sequence[str], run: str) -> None:
        self._mark(repository, ids, {"removed_by": run or None})

    @persistent
    def mark_removed(self, repository: str, ids: Sequence[str], run: str, at: str) -> None:
        self._mark(repository, ids, {"removed_at": moment(at), "removed_by": run})

    def _mark(self, repository: str, ids: Sequence[str], gone: dict[str, str | None]) -> None:
        mine = (_POINT.c.repository == repository, _POINT.c.removed_at.is_(None))
        with self._database.write() as to:
            for some in _among(_POINT.c.id, ids):
                to.execute(sa.update(_POINT).where(*mine, *some).values(**gone))

    @persistent
    def hand_over(self, old: str, new: str, mine: Callable[[str], bool] = lambda run: True) -> None:
        with self._database.write() as to:
            for table in (_POINT, _PROOF):
                keys = list(table.primary_key.columns)
                rows = to.execute(sa.select(*keys, table.c.body).where(table.c.plan == storable(old))).mappings().all()
                which = sa.and_(*(column == sa.bindparam(f"its_{column.name}") for column in keys))
                handed = [
                    {f"its_{column.name}": row[column.name] for column in keys}
                    | {"plan": storable(new), "body": _text(body | {"plan": new})}
                    for row in rows
                    if mine((body := json.loads(row["body"]))["run"])
                ]
                if handed:
                    to.execute(sa.update(table).where(which), handed)
            table = tables.tended
            for body in to.execute(sa.select(table.c.body).where(table.c.subject == storable(old))).scalars().all():
                was = Tended(**json.loads(body))
                if not mine(was.run):
                    continue
                put = _putting(self._database, replace(was, subject=new))
                to.execute(
                    put.on_conflict_do_update(
                        index_elements=_TENDED, set_=_newer(put), where=put.excluded.at > table.c.at
                    )
                )
                key = {name: storable(str(getattr(was, name))) for name in _TENDED}
                to.execute(sa.delete(table).where(*(table.c[name] == value for name, value in key.items())))

    @persistent
    def add_proof(self, proof: Proof) -> None:
        row = {**_found_by(proof), "point": proof.point, "body": _text(proof.to_json())}
        with self._database.write() as to:
            to.execute(self._database.insert(_PROOF).values(**row).on_conflict_do_nothing())

    @persistent
    def proofs(
        self, *, hosts: Collection[str] | None = None, source: str | None = None, points: Collection[str] | None = None
    ) -> list[Proof]:
        where = [] if source is None else [_PROOF.c.source == source]
        queries = [
            sa.select(_PROOF.c.body).where(*where, *mine, *about)
            for mine in _among(_PROOF.c.host, hosts)
            for about in _among(_PROOF.c.point, points)
        ]
        with self._database.read() as of:
            return _proofs(of, queries)

    @persistent
    def vault(self, repository: str, host: str) -> Vault | None:
        table = tables.vault
        query = sa.select(table.c.body).where(table.c.repository == repository, table.c.host == host)
        with self._database.read() as of:
            body = of.execute(query).scalar_one_or_none()
        return None if body is None else Vault(**json.loads(body))

    @persistent
    def vaults(self) -> list[Vault]:
        table = tables.vault
        query = sa.select(table.c.body).order_by(table.c.repository, table.c.host)
        with self._database.read() as of:
            return [Vault(**json.loads(body)) for body in of.execute(query).scalars()]

    @persistent
    def note_vault(self, vault: Vault) -> None:
        row = {"repository": vault.repository, "host": vault.host, "body": _text(asdict(vault))}
        put = self._database.insert(tables.vault).values(**row)
        with self._database.write() as to:
            to.execute(
                put.on_conflict_do_update(index_elements=["repository", "host"], set_={"body": put.excluded.body})
            )

    @persistent
    def tended(
        self, *, repository: str | None = None, host: str | None = None, part: str | None = None
    ) -> list[Tended]:
        table = tables.tended
        given = {"repository": repository, "host": host, "part": part}
        where = [table.c[name] == value for name, value in given.items() if value is not None]
        query = sa.select(table.c.body).where(*where).order_by(*table.primary_key.columns)
        with self._database.read() as of:
            return [Tended(**json.loads(body)) for body in of.execute(query).scalars()]

    @persistent
    def note_tended(self, tended: Tended) -> None:
        put = _putting(self._database, tended)
        with self._database.write() as to:
            to.execute(put.on_conflict_do_update(index_elements=_TENDED, set_=_newer(put)))

    @persistent
    def acknowledge(self, ack: Ack) -> None:
        row = {name: storable(value) for name, value in asdict(ack).items() if name != "reason"}
        row |= {"at": moment(ack.at), "body": _text(asdict(ack))}
        with self._database.write() as to:
            to.execute(self._database.insert(tables.ack).values(**row).on_conflict_do_nothing())

    @persistent
    def acks(self) -> list[Ack]:
        table = tables.ack
        query = sa.select(table.c.body).order_by(table.c.at, table.c.item, table.c.host, table.c.source, table.c.by)
        with self._database.read() as of:
            return [Ack(**json.loads(body)) for body in of.execute(query).scalars()]

    @persistent
    def tidy(self, before: str) -> int:
        gone = (_POINT.c.removed_at.is_not(None), _POINT.c.removed_at < moment(before))
        of_gone = sa.exists().where(_POINT.c.id == _PROOF.c.point, _POINT.c.repository == _PROOF.c.repository, *gone)
        with self._database.write() as to:
            to.execute(sa.delete(_PROOF).where(of_gone))
            return to.execute(sa.delete(_POINT).where(*gone)).rowcount


def _putting(database: Database, one: Tended) -> Any:
    row = {name: storable(getattr(one, name)) for name in _TENDED}
    return database.insert(tables.tended).values(**row, at=moment(one.at), body=_text(asdict(one)))


def _newer(put: Any) -> dict[str, Any]:
    return {"at": put.excluded.at, "body": put.excluded.body}


def _found_by(one: RecoveryPoint | Proof) -> dict[str, Any]:
    """What both tables have beside the value itself. A database's name comes from a host, and may hold anything."""
    names = ("host", "plan", "source", "item", "repository", "run", "verdict")
    return {name: storable(getattr(one, name)) for name in names} | {"at": moment(one.at)}


def _among(column: sa.Column[Any], names: Collection[str] | None) -> Iterator[list[Where]]:
    """Conditions that together pick them: as many queries as it takes. None: no condition."""
    if names is None:
        yield []
        return
    left = iter(sorted(set(names)))
    while some := list(islice(left, AT_ONCE)):
        yield [column.in_(map(storable, some))]


def _of_plan(table: sa.Table, plan: str | None) -> list[Where]:
    return [] if plan is None else [table.c.plan == plan]


def _group(table: sa.Table) -> list[sa.Column[Any]]:
    return [table.c.host, table.c.plan, table.c.source, table.c.item, table.c.repository]


def _key(one: RecoveryPoint | Proof) -> tuple[str, ...]:
    return one.host, one.plan, one.source, one.item, one.repository


def _points(of: sa.Connection, queries: Sequence[sa.Select[Any]]) -> list[RecoveryPoint]:
    rows = [row for query in queries for row in of.execute(query)]
    gone = [{"removed_at": row.removed_at, "removed_by": row.removed_by} for row in rows]
    return in_order(RecoveryPoint.from_json(json.loads(row.body) | its) for row, its in zip(rows, gone, strict=True))


def _proofs(of: sa.Connection, queries: Sequence[sa.Select[Any]]) -> list[Proof]:
    return proofs_in_order(
        Proof.from_json(json.loads(body)) for query in queries for body in of.execute(query).scalars()
    )


def _text(data: dict[str, Any]) -> str:
    return canonical(data).decode()

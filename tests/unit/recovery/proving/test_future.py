"""A row dated ahead, in a whole drill: what it is compared with, on the controller and elsewhere."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.proving.drills import Drill
from tests.unit.recovery.tending.desk import World, plan

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving.far.operation import DrillOperation
from mainstay.recovery.proving.noting import complete
from mainstay.recovery.proving.order import DrillOrder
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
SQLITE: dict[str, Any] = {"db": {"sqlite": ["/srv/app.db"]}}
CHECK = {"source": "db", "database": "/srv/app.db", "query": "SELECT max(at) FROM t", "newer_than": "2h"}


def database(folder: Path, *rows: str) -> bytes:
    path = folder / "app.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE t (at)")
        made.executemany("INSERT INTO t VALUES (?)", [(one,) for one in rows])
    made.close()
    return path.read_bytes()


@pytest.mark.server
def test_one_row_of_2099_does_not_hide_that_nothing_comes_in_any_more(tmp_path: Path) -> None:
    drill = Drill(tmp_path)
    stdin = ("app.db", database(tmp_path, "2026-08-01 00:00:00", "2099-01-01 00:00:00"))
    drill.world.backup(source="db", item="srv/app.db", stdin=stdin, at=AT)
    with pytest.raises(
        Stopped, match=r"from the future: `SELECT max\(at\) FROM t` is 2099-01-01 00:00:00, .*2026-11-22T12:00:00Z"
    ):
        drill.do(SQLITE, check=[CHECK])
    assert [one.verdict for one in drill.proofs()] == [Verdict.FAILED]


@pytest.mark.server
def test_what_came_in_while_the_point_was_made_is_not_from_the_future(tmp_path: Path) -> None:
    drill = Drill(tmp_path)
    stdin = ("app.db", database(tmp_path, "2026-11-22 12:50:00"))
    made_at = (AT + timedelta(hours=1)).isoformat()
    drill.world.backup(source="db", item="srv/app.db", stdin=stdin, at=AT, made_at=made_at)
    said, _ = drill.do(SQLITE, check=[CHECK])
    assert said.startswith("1 of 1 point proved")


def test_who_restores_elsewhere_is_told_when_the_point_was_complete() -> None:
    world = World()
    stdin = {"/app.db": b"x"}
    made = world.repository().back_up(stdin, host="web1", tags=["mainstay"], at=before(hours=2))
    its = {"source": "db", "item": "srv/app.db"}
    one = point(before(hours=2), id=made, made_at=before(hours=1), **its)
    asked = plan(sources=SQLITE, prove={"check": [CHECK]})
    operation = DrillOperation(DrillOrder(plan=asked, points={"web1": (one,)}, on="drill1"), world.depot)
    (take,) = operation._takes(operation.noting("RUN1", "drill1"))
    assert (take.order["at"], take.order["made_at"]) == (before(hours=2), before(hours=1))


@pytest.mark.parametrize(
    ("seconds", "made", "held"),
    [
        (600, 3600, "2026-11-22T12:10:00.000Z"),
        (600, 60, "2026-11-22T12:01:00.000Z"),
        (None, 3600, "2026-11-22T12:00:00.000Z"),
        (600, -60, "2026-11-22T12:00:00.000Z"),
    ],
)
def test_a_copy_holds_nothing_of_later_than_what_it_was_copied_from(seconds: Any, made: int, held: str) -> None:
    def copy(of: str | None) -> RecoveryPoint:
        made_at = (AT + timedelta(seconds=made)).isoformat()
        return point(AT.isoformat(), made_at=made_at, copy_of=of, measures={"seconds": seconds})

    assert complete(copy("a" * 64)) == held
    assert complete(copy(None)) == (AT + timedelta(seconds=made)).isoformat()

"""A backup of the state holds what backups of hosts have left behind, and a state made from it has it again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import opened, with_tables
from tests.unit.recovery.points import before, point, proof

from mainstay.inventory.secrets import Secret
from mainstay.recovery.points.adapters.sql import SqlPoints
from mainstay.recovery.points.contract import Ack, PointStore, Tended, Vault
from mainstay.runner.state.adapters.stores import Stores, open_state
from mainstay.runner.state.archive import backup, restore

ODD = "ü\t\\n 'x' % \\."


def fill(store: PointStore) -> None:
    old, new = point(before(3), item=ODD, anomalies=(ODD,), measures={"x": [1.5, None]}), point(before(1))
    for one in (old, new):
        store.add_point(one)
    store.add_proof(proof(old, before(2)))
    store.mark_removed("main", [old.id], "r9", before(1))
    store.note_vault(Vault("main", "web1", "id", before(9), "r0", before(8), ODD))
    store.note_tended(Tended("main", "web1", "check", "", "3/28", "r1", before(3), "succeeded", ODD))
    store.acknowledge(Ack("r1", "web1", "", "anna", before(2), ODD))


def kept(store: PointStore) -> list[Any]:
    return [store.points(removed=True), store.proofs(), store.vaults(), store.tended(), store.acks(), store.proved()]


@pytest.mark.parametrize("way", ["sqlite to sqlite", "postgres to postgres", "sqlite to postgres"])
def test_points_come_back(way: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    here, there = way.split(" to ")
    with ExitStack() as until:

        def state(folder: str, url: str, password: Secret | None = None) -> Stores:
            made = open_state(url, tmp_path / folder, directory=tmp_path / folder / "state", password=password)
            until.callback(made.close)
            return made

        def server() -> Postgres:
            found: Postgres = request.getfixturevalue("postgres")
            return found

        if here == "sqlite":
            old = state("old", "sqlite:///state/mainstay.db")
        else:
            old = state("old", server().url(with_tables(server(), engine=True)), Secret(server().PASSWORD))
        fill(SqlPoints(old.database))
        before_it = kept(SqlPoints(old.database))
        assert all(before_it[:5])
        backup(old, tmp_path / "backup.tar")
        if there == "sqlite":
            restore(tmp_path / "backup.tar", tmp_path / "new" / "state")
            new = state("new", "sqlite:///state/mainstay.db")
        else:
            empty = opened(server(), server().database())
            until.callback(empty.close)
            restore(tmp_path / "backup.tar", tmp_path / "new" / "state", database=empty)
            new = state("new", str(empty.address), Secret(server().PASSWORD))
        assert kept(SqlPoints(new.database)) == before_it

"""A ledger in PostgreSQL whose server goes down and comes back in the midst of sealing, as after a crash of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.sealing import Sealer, assert_sound
from tests.servers.postgres import Postgres

from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.stores import Stores, open_state


class Shared:
    """A state that two machines share: each has a folder and an anchor of its own, and the same key."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        self.url = postgres.url(postgres.database())
        self.key = folder / "ledger.key"
        self.machines = {name: folder / name for name in "ab"}
        for root in self.machines.values():
            root.mkdir()
        self.open("a").close()

    def open(self, machine: str) -> Stores:
        return open_state(self.url, self.machines[machine], key=self.key, password=Secret(self.postgres.PASSWORD))

    def sealer(self, machine: str, prefix: str) -> Sealer:
        env = {
            "LEDGER_PROCESS_URL": self.url,
            "LEDGER_PROCESS_KEY": str(self.key),
            "LEDGER_PROCESS_PASSWORD": self.postgres.PASSWORD,
        }
        return Sealer(self.machines[machine], prefix, 0, pause=0.1, env=env)


@pytest.mark.parametrize("rounds", [2, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_a_server_that_restarts_loses_nothing_acknowledged(
    postgres: Postgres, tmp_path: Path, mode: str, rounds: int
) -> None:
    shared = Shared(postgres, tmp_path)
    sealers = [shared.sealer(machine, machine) for machine in "ab"]
    for sealer in sealers:
        sealer.until_sealed(3)
    for _ in range(rounds):
        postgres.restart(mode)
        counts = [len(sealer.told.sealed) for sealer in sealers]
        for sealer, count in zip(sealers, counts, strict=True):
            sealer.until_sealed(count + 3)  # the same process goes on by itself
    for sealer in sealers:
        sealer.kill()
    first, second = (sealer.told.sealed for sealer in sealers)
    assert not first.keys() & second.keys(), "two were told the same number"
    for machine in "ab":
        stores = shared.open(machine)
        try:
            head = assert_sound(stores, first | second, next_seal=f"next-{machine}")
            assert sorted(stores.ledger.index()) == list(range(1, head + 1))
        finally:
            stores.close()


def test_one_that_is_killed_holding_the_lock_of_the_appender_frees_it(postgres: Postgres, tmp_path: Path) -> None:
    shared = Shared(postgres, tmp_path)
    for turn in range(2):
        both = [shared.sealer(machine, f"{machine}{turn}") for machine in "ab"]
        for sealer in both:
            sealer.until_sealed(2)
        both[0].kill()
        both[1].until_sealed(len(both[1].told.sealed) + 5)
        both[1].kill()
        stores = shared.open("a")
        try:
            assert_sound(stores, both[0].told.sealed | both[1].told.sealed, next_seal=f"after-{turn}")
        finally:
            stores.close()

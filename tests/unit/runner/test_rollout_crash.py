"""The controller dies at every checkpoint of a rollout, before and after it is kept; another process goes on."""

import pytest
from tests.unit.runner.world import World, verdicts

from mainstay.runner.engine.memory import Crash, MemoryStore
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.runs import Runs, record
from mainstay.runner.verdict import Verdict

PLAN = {
    "waves": [1, "100%"],
    "parallel": 2,
    "before": {"command": "drain"},
    "after": {"command": "undrain"},
    "other_updaters": "fence",
    "reboot": "when-needed",
    "on_failure": "rollback-host",
    "budget": 1,
}


def make() -> World:
    world = World("w1 w2 w3", **PLAN)
    world["w1"].reboot = True
    world["w3"].wrong = {"health"}
    return world


def go_on(world: World, dead: Runs, run: str) -> MaintenanceRecord:
    """What a new process does: take over, begin what had only been written down, wait for the end."""
    dead.engine.close()
    after = world.runs()
    after.resume()
    after.start(run).result()
    return record(after.tools, run)


def checkpoints() -> int:
    world = make()
    store: MemoryStore = world.store
    world.run()
    return store.checkpoints


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_applied_twice_and_the_run_ends_whichever_checkpoint_it_dies_at(when: str) -> None:
    total = checkpoints()
    assert total > 40, "the sweep is over a real rollout"
    for number in range(1, total + 1):
        world = make()
        request = world.request()
        runs = world.runs(crash=(number, when))
        runs.submit(request)
        with pytest.raises(Crash):
            runs.start(request.id)
        sealed = go_on(world, runs, request.id)
        where = f"crash {when} checkpoint {number} of {total}"
        assert verdicts(sealed) == {"w1": "succeeded", "w2": "succeeded", "w3": "rolled-back"}, where
        assert sealed.summary.verdict is Verdict.ROLLED_BACK, where
        for name, machine in world.machines.items():
            assert machine.log.count("apply") == 1, f"{where}: {name} {machine.log}"
            assert machine.log.count("back") == (1 if name == "w3" else 0), f"{where}: {name} {machine.log}"
            assert machine.log.count("reboot") == (1 if name == "w1" else 0), f"{where}: {name} {machine.log}"
            assert machine.there.lock.run == "" and not machine.fenced, f"{where}: {name}"
            assert machine.installed["openssl"] == ("1" if name == "w3" else "2"), where
        assert len(list(world.ledger.entries())) == 1 and world.ledger.verify() == [], where


def test_who_takes_over_claims_the_hosts_with_a_higher_number() -> None:
    """The one that was frozen and wakes up carries a lower number: its host refuses it."""
    world = make()
    request = world.request()
    runs = world.runs(crash=(12, "after"))
    runs.submit(request)
    with pytest.raises(Crash):
        runs.start(request.id)
    held = {name: machine.there.lock.fence for name, machine in world.machines.items() if machine.there.lock.run}
    assert held, "it died while it held a host"
    go_on(world, runs, request.id)
    assert all(world[name].there.lock.fence > number for name, number in held.items())


def test_taking_all_back_ends_well_whichever_checkpoint_it_dies_at() -> None:
    """What was noted as undone before the crash is still ours to bring to its end."""

    def all_back() -> World:
        world = World("w1 w2", waves=[1, 1], on_failure="rollback-all", after={"command": "undrain"})
        world["w2"].wrong = {"health"}
        return world

    whole = all_back()
    whole.run()
    for number in range(1, whole.store.checkpoints + 1):
        world = all_back()
        request = world.request()
        runs = world.runs(crash=(number, "after"))
        runs.submit(request)
        with pytest.raises(Crash):
            runs.start(request.id)
        sealed = go_on(world, runs, request.id)
        where = f"crash after checkpoint {number}"
        assert verdicts(sealed) == {"w1": "rolled-back", "w2": "rolled-back"}, where
        assert all(machine.there.lock.run == "" for machine in world.machines.values()), where
        assert all(machine.log.count("back") == 1 for machine in world.machines.values()), where

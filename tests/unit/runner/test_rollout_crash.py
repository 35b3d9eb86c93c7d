"""The controller dies at every checkpoint of a rollout, before and after it is kept, and at random moments in between;
another process goes on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.value import Json
from mainstay.runner.engine.contract import Context, JsonValue
from mainstay.runner.engine.memory import Crash, MemoryStore
from mainstay.runner.ledger.contract import Entry
from mainstay.runner.reconciling import reconcile_request
from mainstay.runner.record import HostPart, MaintenanceRecord
from mainstay.runner.request import Asking, RunRequest
from mainstay.runner.runs import Runs, record
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.no_cover

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


def died_and_gone_on(world: World, checkpoint: int, when: str) -> MaintenanceRecord:
    """A run whose process dies before or after that checkpoint is kept, and another one goes on."""
    request = world.request()
    runs = world.runs(crash=(checkpoint, when))
    runs.submit(request)
    with pytest.raises(Crash):
        runs.start(request.id)
    return go_on(world, runs, request.id)


def checkpoints() -> int:
    world = make()
    store: MemoryStore = world.store
    world.run()
    return store.checkpoints


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_applied_twice_and_the_run_ends_whichever_checkpoint_it_dies_at(when: str) -> None:
    total = checkpoints()
    assert total > 40, "the sweep is over a real rollout"
    for number in range(1, total + 1):
        world = make()
        sealed = died_and_gone_on(world, number, when)
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


@pytest.mark.thorough
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


class Watched:
    """Everything that a controller reaches for, so that it can die as it does: before it has it, or after."""

    def __init__(self, there: Any, moment: Callable[[], None]) -> None:
        self._there = there
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._there, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._moment()
            done = found(*arguments, **more)
            self._moment()
            return Watched(done, self._moment) if name == "open" else done

        return call


class Life:
    """A world whose controllers die at random moments. Counts steps whose work began again after they had been kept."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.world = World("w1 w2 w3 w4", **{**PLAN, "waves": [1, 1, "100%"], "parallel": chance.choice([1, 2])})
        self.world.plan = self.world.plan.model_copy(update={"on_failure": chance.choice(["halt", "rollback-host"])})
        for name in ("w2", "w3", "w4"):
            self.world[name].wrong = set(chance.choice([(), (), ("health",), ("verify",), ("stale",), ("prepare",)]))
        self.world[chance.choice(["w1", "w4"])].reboot = True
        self.moments = 0
        self.deadly: Iterator[int] = iter(())
        self.next = 0
        self.runs: Runs | None = None
        self.kept: set[tuple[str, str]] = set()
        self.repeated: Counter[tuple[str, str]] = Counter()
        for part in ("state", "ledger", "artifacts", "shells"):
            setattr(self.world, part, Watched(getattr(self.world, part), self._moment))

    def _moment(self) -> None:
        self.moments += 1
        if self.moments == self.next and self.runs is not None:
            self.next = next(self.deadly, 0)
            self.runs.engine.die()  # type: ignore[attr-defined]  # the one in memory

    def begin(self) -> Runs:
        """A new process."""
        self.runs = self.world.runs()
        bodies = self.runs.engine._bodies  # type: ignore[attr-defined]  # the one in memory
        for name, body in list(bodies.items()):
            bodies[name] = lambda context, argument, body=body: body(Steps(context, self), argument)
        return self.runs

    def live(self, deadly: list[int]) -> tuple[MaintenanceRecord, int]:
        """The record in the end, and how many have died for it."""
        request = self.world.request(id="01KYB000000000000000000000")
        self.deadly = iter(sorted(deadly))
        self.next, deaths = next(self.deadly, 0), 0
        while True:
            runs = self.begin()
            try:
                if self.world.state.run(request.id) is None:
                    runs.submit(request)
                runs.resume()
                return runs.execute(request.id), deaths
            except Crash:
                deaths += 1
                runs.engine.close()


class Steps:
    def __init__(self, context: Context, life: Life) -> None:
        self._context = context
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        me = (self._context.id, name)

        def watched() -> JsonValue:
            self._life.repeated[me] += me in self._life.kept
            return work()

        value = self._context.step(name, watched)
        self._life.kept.add(me)
        return value


@pytest.mark.parametrize("seed", [*range(40), *(pytest.param(n, marks=pytest.mark.long) for n in range(40, 200))])
def test_killed_at_random_moments_a_run_comes_to_the_same_end(seed: int) -> None:
    """Up to three deaths each. Replay one: pytest -k 'random_moments and [SEED]'."""
    calm = Life(seed)
    expected, _ = calm.live([])
    chance = random.Random(-seed)
    life = Life(seed)
    sealed, deaths = life.live([chance.randint(1, calm.moments) for _ in range(chance.randint(1, 3))])
    assert deaths, "it was alive all the time"
    assert verdicts(sealed) == verdicts(expected) and sealed.summary.verdict == expected.summary.verdict
    assert not +life.repeated, life.repeated
    assert len(list(life.world.ledger.entries())) == 1 and life.world.ledger.verify() == []
    assert life.world.state.runs(in_flight=True) == []
    for name, machine in life.world.machines.items():
        well = calm.world[name]
        assert machine.installed == well.installed, name
        assert {word: machine.log.count(word) for word in ("apply", "back", "reboot")} == {
            word: well.log.count(word) for word in ("apply", "back", "reboot")
        }, f"{name} {machine.log}"
        assert (machine.there.lock.run, machine.fenced) == (well.there.lock.run, well.fenced), name


@pytest.mark.thorough
@pytest.mark.parametrize("odd", ["before", pytest.param("after", marks=pytest.mark.long)])
@pytest.mark.parametrize("power_cut", [False, True])
def test_a_lost_host_is_reconciled_once_whichever_checkpoint_it_dies_at(power_cut: bool, odd: str) -> None:
    """w2 is lost in mid-change and comes back only at the end of the run; with a power cut it is completed then. It dies before
    each odd checkpoint is kept and after each even one, or the other way: after one is nearly before the next."""

    def lost() -> World:
        world = World("w1 w2 w3", waves=[1, "100%"], parallel=2, budget=1, before=[{"command": "drain"}])
        world["w2"].away, world["w2"].power_cut = 300, power_cut
        world["w2"].takes = 2 if power_cut else 0
        world.while_asleep = lambda: world["w2"].there.time.advance(1)
        return world

    well = {"w1": "succeeded", "w2": "degraded" if power_cut else "succeeded", "w3": "succeeded"}
    whole = lost()
    assert verdicts(whole.run()) == well
    for number in range(1, whole.store.checkpoints + 1):
        when = odd if number % 2 else {"before": "after", "after": "before"}[odd]
        world = lost()
        sealed = died_and_gone_on(world, number, when)
        where = f"crash {when} checkpoint {number} of {whole.store.checkpoints}"
        assert verdicts(sealed) == well, where
        for name, machine in world.machines.items():
            assert machine.log.count("apply") == 1, f"{where}: {name} {machine.log}"
            assert machine.there.lock.run == "", f"{where}: {name}"
        assert len(list(world.ledger.entries())) == 1 and world.ledger.verify() == [], where


@pytest.mark.parametrize("method", ["write_part", "note_outcome", "seal", "set_run", "add_undo", "block"])
def test_what_a_frozen_controller_writes_when_it_wakes_changes_nothing(method: str) -> None:
    """It stands still before each such write in turn, in the midst of a step, while another ends the run; then it writes."""
    number = 0
    while _woke_before(method, number := number + 1):
        assert number < 50, "it is called for each host and wave"
    assert number > 1, f"{method} is never called"


def _woke_before(method: str, number: int) -> bool:
    """False where there are not so many calls of it."""
    world = World("w1 w2 w3", **{**PLAN, "waves": ["100%"], "parallel": 1, "budget": 3})
    world["w1"].wrong, world["w2"].offers = {"health"}, {}
    there: Any = world.ledger if method == "seal" else world.state
    write, request, runs = getattr(there, method), world.request(), world.runs()
    calls = 0
    left: list[Any] = []

    def frozen(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += not left
        if calls == number and not left:
            left.append(None)
            runs.engine.lose()  # type: ignore[attr-defined]  # the one in memory
            successor = world.runs()
            successor.resume()
            successor.execute(request.id)
            left.append(seen(world, request.id))
        return write(*arguments, **more)

    setattr(there, method, frozen)
    runs.submit(request)
    with suppress(Crash):
        runs.start(request.id)
    assert not left or seen(world, request.id) == left[1], f"{method} {number}"
    return bool(left)


def seen(world: World, run: str) -> Any:
    """What anybody can see of a run that has ended."""
    row = world.state.run(run)
    assert row is not None and row.state == "ended"
    parts = [part.to_json() for part in world.state.parts(run)]
    sealed = [entry.to_json() for entry in world.ledger.entries()]
    blocked = [world.state.blocked(name, "x") for name in world.machines]
    hosts = {name: (machine.there.lock, machine.installed, machine.log[:]) for name, machine in world.machines.items()}
    return row, parts, sealed, world.state.outcomes(run), blocked, repr(hosts), world.ledger.verify()


def test_who_comes_second_takes_what_the_first_has_written() -> None:
    """Two processes that take each other for dead come to the same place in the same moment, at two times of the clock."""
    world = World("w1 w2")
    world["w2"].offers = {}
    write, seal = world.state.write_part, world.ledger.seal
    other = "2026-01-01T00:00:09.000Z"

    def both_write(run: str, part: HostPart) -> None:
        if part.reason == "nothing to do":
            first = part.steps[0].model_copy(update={"finished_at": other})
            write(run, part.model_copy(update={"steps": (first,)}))
        write(run, part)

    def both_seal(id: str, body: Json) -> Entry:
        seal(id, {**body, "finished_at": other})
        return seal(id, body)

    world.state.write_part, world.ledger.seal = both_write, both_seal  # type: ignore[method-assign]  # for this world
    request, runs = world.request(), world.runs()
    runs.submit(request)
    runs.start(request.id).result()
    sealed = record(runs.tools, request.id)
    assert sealed.summary.verdict is Verdict.SUCCEEDED and sealed.summary.reason == ""
    assert sealed.summary.finished_at == other
    assert next(part for part in sealed.hosts if part.host == "w2").steps[0].finished_at == other
    assert world.ledger.verify() == [] and world.state.runs(in_flight=True) == []


@pytest.mark.thorough
def test_a_run_that_reconciles_another_goes_on_whichever_checkpoint_it_dies_at() -> None:
    def left() -> tuple[World, RunRequest]:
        world = World("w1", before={"command": "drain"}, after={"command": "undrain"}, reconcile_for="1m")
        world["w1"].away, world["w1"].power_cut, world["w1"].takes = 100_000, True, 2
        world.while_asleep = lambda: world["w1"].there.time.advance(1)
        ended = world.run()
        world.pass_time(100_000)
        asking = Asking(requested_by="anna", asked_at="2026-01-02T00:00:00.000Z", site_name="acme")
        hosts = tuple(world.hosts.values())
        return world, reconcile_request(world.runs().tools, ended.summary.id, hosts, asking)

    world, request = left()
    before = world.store.checkpoints
    runs = world.runs()
    runs.submit(request)
    assert verdicts(runs.execute(request.id)) == {"w1": "degraded"}
    total = world.store.checkpoints - before
    assert total > 10
    for number in range(1, total + 1):
        for when in ("before", "after"):
            world, request = left()
            runs = world.runs(crash=(number, when))
            runs.submit(request)
            with pytest.raises(Crash):
                runs.start(request.id)
            sealed = go_on(world, runs, request.id)
            where = f"crash {when} checkpoint {number} of {total}"
            assert verdicts(sealed) == {"w1": "degraded"}, where
            machine = world["w1"]
            assert machine.log.count("apply") == 1, f"{where}: {machine.log}"
            assert 1 <= machine.log.count("undrain") <= (2 if when == "before" else 1), "only one in flight runs again"
            assert machine.there.lock.run == "" and world.ledger.verify() == [], where

"""How many hosts are in flight together: never more than the limits say, over all runs, and nobody waits for ever."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from tests.unit.runner.test_rollout import reason
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.limits import Limits
from mainstay.runner import places
from mainstay.runner.engine.memory import Crash
from mainstay.runner.operation import HostWork
from mainstay.runner.places import in_words, limits_in_words, never, scopes, waiting_for, width
from mainstay.runner.reconciling import unknown_hosts
from mainstay.runner.runs import record
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

DEADLINE = 30.0


def spread_world(names: str, **plan: object) -> World:
    """web1-r1 stands in rack r1."""
    world = World(names, **plan)
    for name, host in world.hosts.items():
        rack = name.partition("-")[2]
        world.hosts[name] = host.model_copy(update={"tags": {"rack": rack} if rack else {}})
    return world


class Counted:
    """Counts who changes something at the same time, and holds everybody until as many are there as shall be."""

    def __init__(self, world: World, until: Callable[[Counter[str]], bool]) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.met = False
        self._changed = threading.Condition()
        self._until = until
        for name, machine in world.machines.items():
            machine.meanwhile = lambda name=name: self(name)  # type: ignore[misc]  # bound now
        world.while_asleep = self._doze

    def _doze(self) -> None:
        with self._changed:
            self._changed.wait(0.02)

    def __call__(self, host: str) -> None:
        rack = host.partition("-")[2]
        with self._changed:
            self.now.update(("all", rack))
            self.most |= self.now
            self.met = self.met or self._until(self.now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.met, DEADLINE), f"only {self.now} together"
            self.now.subtract(("all", rack))
            self._changed.notify_all()


def run_all(world: World, *limits: Limits) -> list[dict[str, str]]:
    """One run of the world's plan for each of these limits, together, in threads."""
    runs = world.runs(threads=True)
    requests = [world.request(limits=one) for one in limits]
    handles = [runs.start(runs.submit(request)) for request in requests]
    for handle in handles:
        handle.result(DEADLINE)
    return [verdicts(record(runs.tools, request.id)) for request in requests]


NINE = "a-r1 b-r1 c-r1 d-r2 e-r2 f-r2 g-r3 h-r3 i-r3"


def test_a_plan_has_so_many_of_each_failure_domain_in_flight_and_no_more() -> None:
    world = spread_world(NINE, waves=["100%"], parallel=9, spread={"rack": 2})
    counted = Counted(world, lambda now: now["all"] == 6)
    (ended,) = run_all(world, Limits())
    assert set(ended.values()) == {"succeeded"}
    assert counted.most == {"all": 6, "r1": 2, "r2": 2, "r3": 2}
    assert world.state.slots() == {}


def test_the_site_has_so_many_in_flight_over_all_its_runs() -> None:
    world = spread_world(f"{NINE} {NINE.replace('-', '2-')}", waves=["100%"], parallel=9)
    hosts, limits = list(world.hosts.values()), Limits(parallel=4, spread={"rack": 2})
    requests = [world.request(limits=limits, hosts=tuple(half)) for half in (hosts[:9], hosts[9:])]
    counted = Counted(world, lambda now: now["all"] == 4)
    runs = world.runs(threads=True)
    for handle in [runs.start(runs.submit(request)) for request in requests]:
        handle.result(DEADLINE)
    for request in requests:
        assert set(verdicts(record(runs.tools, request.id)).values()) == {"succeeded"}
    assert counted.most["all"] == 4
    assert max(counted.most[rack] for rack in ("r1", "r2", "r3")) == 2
    assert world.state.slots() == {}


def test_what_two_plans_share_takes_so_many_of_both_at_once() -> None:
    world = spread_world(f"{NINE} {NINE.replace('-', '2-')}", waves=["100%"], parallel=9)
    hosts, shares = list(world.hosts.values()), {"repository main": 4}
    requests = [
        world.request(hosts=tuple(half), shares=shares, plan=plan)
        for half, plan in ((hosts[:9], "nightly"), (hosts[9:], "weekly"))
    ]
    counted = Counted(world, lambda now: now["all"] == 4)
    runs = world.runs(threads=True)
    for handle in [runs.start(runs.submit(request)) for request in requests]:
        handle.result(DEADLINE)
    assert {verdict for one in requests for verdict in verdicts(record(runs.tools, one.id)).values()} == {"succeeded"}
    assert counted.most["all"] == 4
    assert world.state.slots() == {}


def test_an_errand_waits_for_no_run_on_its_host_but_for_what_it_shares() -> None:
    world = spread_world("a")
    (host,) = world.hosts.values()
    errand = world.request(errand=True, shares={"repository main": 1}, limits=Limits(parallel=1))
    assert scopes(errand, host) == {"errand:a": 1, "share:repository main": 1}
    assert in_words("share:repository main") == "repository main"


def test_hosts_without_the_tag_are_not_held_up_by_it() -> None:
    world = spread_world("a b c d-r1", waves=["100%"], parallel=4, spread={"rack": 1})
    counted = Counted(world, lambda now: now["all"] == 4)
    (ended,) = run_all(world, Limits())
    assert set(ended.values()) == {"succeeded"}
    assert counted.most["all"] == 4


def other_run(world: World, id: str, *hosts: str, **scopes: int) -> str:
    """A run in flight of somebody else, which has these hosts in hand."""
    row = RunRow(id=id, kind="patch", plan="p", state="running", request={}, started_at="2026-01-01T00:00:00Z")
    world.state.add_run(row)
    for host in hosts:
        assert world.state.take_slots(id, host, {"tag:rack=r1": 1})
    return id


def test_who_waits_says_for_whom_and_goes_on_when_the_place_is_free() -> None:
    world = spread_world("web1-r1")
    request = world.request(limits=Limits(spread={"rack": 1}))
    other_run(world, "0OTHER", "web9")
    said: list[str] = []

    def look() -> None:
        said.append(world.state.notes(request.id)["web1-r1"]["detail"])
        if len(said) == 7:
            world.state.free_slots("0OTHER")

    world.while_asleep = look
    runs = world.runs()
    runs.submit(request)
    assert verdicts(runs.execute(request.id)) == {"web1-r1": "succeeded"}
    assert set(said) == {"waiting for a place in rack=r1 (web9 of run 0OTHER)"}
    assert world.slept[:7] == sorted(world.slept[:7]) and world.slept[0] == 0.5 and world.slept[6] == 2.0


def test_waiting_for_a_place_writes_nothing_but_once() -> None:
    world = spread_world("web1-r1")
    request = world.request(limits=Limits(spread={"rack": 1}))
    other_run(world, "0OTHER", "web9")
    written: list[str] = []
    note, take = world.state.note_step, world.state.take_slots

    def note_step(run: str, host: str, step: str, detail: str) -> None:
        written.append(f"{step}: {detail}")
        note(run, host, step, detail)

    def take_slots(run: str, host: str, limits: Mapping[str, int]) -> bool:
        written.append("take")
        return take(run, host, limits)

    world.state.note_step, world.state.take_slots = note_step, take_slots  # type: ignore[method-assign]  # listened to
    world.while_asleep = lambda: world.state.free_slots("0OTHER") if len(world.slept) == 40 else None
    runs = world.runs()
    runs.submit(request)
    runs.execute(request.id)
    admitted = [word for word in written if word.startswith(("admit", "take"))]
    assert admitted == ["admit: ", "admit: waiting for a place in rack=r1 (web9 of run 0OTHER)", "take"]


@pytest.mark.parametrize("wish", ["cancel", "pause"])
def test_a_run_that_waits_for_a_place_hears_what_is_asked_of_it(wish: str) -> None:
    world = spread_world("web1-r1")
    request = world.request(limits=Limits(spread={"rack": 1}))
    other_run(world, "0OTHER", "web9")
    said: list[str] = []

    def ask() -> None:
        said.append(world.state.notes(request.id)["web1-r1"]["detail"])
        if len(said) == 2:
            world.state.wish(request.id, "cancel" if wish == "cancel" else "pause", by="anna", reason="wait")
        if len(said) == 5:
            world.state.free_slots("0OTHER")
        if len(said) == 8:
            world.state.wish(request.id, "", by="anna", reason="go on")

    world.while_asleep = ask
    runs = world.runs()
    runs.submit(request)
    sealed = runs.execute(request.id)
    assert verdicts(sealed) == {"web1-r1": "cancelled" if wish == "cancel" else "succeeded"}
    assert world.state.slots().get("tag:rack=r1", []) == ([("0OTHER", "web9")] if wish == "cancel" else [])
    if wish == "pause":
        assert said[3:8] == ["paused by anna"] * 5


def test_a_host_that_became_unknown_keeps_its_domain_and_the_others_in_it_are_refused() -> None:
    world = spread_world("a b-r1 c-r1 d-r2", waves=[1, "100%"], budget=2, unreachable="100%", spread={"rack": 1})
    world["b-r1"].wrong = {"prepare-lost"}
    sealed = world.run()
    assert verdicts(sealed) == {"a": "succeeded", "b-r1": "unknown", "c-r1": "refused", "d-r2": "succeeded"}
    assert reason(sealed, "c-r1") == "no place left in rack=r1: b-r1 is unknown"
    assert world["c-r1"].log == []
    assert world.state.slots() == {}, "and it ends with the run"


def test_one_that_is_lost_as_it_is_given_back_keeps_its_domain_and_nobody_waits_for_it() -> None:
    """It was proved well, and is `unknown` all the same until it answers: whoever waited for its place waited for ever."""
    world = spread_world(
        "a b-r1 c-r1", waves=[1, "100%"], budget=2, spread={"rack": 1}, other_updaters="fence", lost_after="30s"
    )
    original, rounds = world.upkeep.release_updaters, Counter[str]()

    def vanishes(work: HostWork) -> tuple[str, ...]:
        if work.host.name == "b-r1" and not world.back_at:
            world.leave(world["b-r1"], 50_000)
        return original(work)

    def asleep() -> None:
        rounds["asleep"] += 1
        assert rounds["asleep"] < 5000, "it waits for ever"

    world.upkeep.release_updaters = vanishes  # type: ignore[method-assign]  # a fault where none is foreseen
    world.while_asleep = asleep
    sealed = world.run()
    assert verdicts(sealed) == {"a": "succeeded", "b-r1": "unknown", "c-r1": "refused"}
    assert reason(sealed, "c-r1") == "no place left in rack=r1: b-r1 is unknown"
    assert list(unknown_hosts(world.runs().tools, sealed.summary.id)) == ["b-r1"], "it can be reconciled, as it says"


def test_runs_that_hold_what_the_other_waits_for_do_not_wait_for_each_other() -> None:
    """Each has a host that is unknown in the domain that the other needs: the earlier one is refused, the later waits."""
    world = spread_world("a-r1")
    for run, host, rack in (("1EARLY", "x", "r1"), ("2LATE", "y", "r2")):
        other_run(world, run)
        world.state.take_slots(run, host, {f"tag:rack={rack}": 1})
        world.state.note_outcome(run, host, Verdict.UNKNOWN)
    held = world.state.slots()
    assert never(world.state, held, "tag:rack=r2", "1EARLY") == "no place left in rack=r2: y of run 2LATE is unknown"
    assert never(world.state, held, "tag:rack=r1", "2LATE") == ""
    world.state.note_outcome("2LATE", "y", Verdict.SUCCEEDED)
    assert never(world.state, held, "tag:rack=r2", "1EARLY") == "", "it is only about to be given back"


@pytest.mark.thorough
def test_whichever_checkpoint_it_dies_at_who_goes_on_has_its_places_and_gives_them_back() -> None:
    def make() -> World:
        return spread_world("a-r1 b-r1", waves=[1, 1], spread={"rack": 1})

    whole = make()
    whole.run(limits=Limits(parallel=1))
    for number in range(1, whole.store.checkpoints + 1):
        for when in ("before", "after"):
            world = make()
            request = world.request(limits=Limits(parallel=1))
            runs = world.runs(crash=(number, when))
            runs.submit(request)
            with pytest.raises(Crash):
                runs.start(request.id)
            held = world.state.slots()
            assert all(len(holders) == 1 for holders in held.values()), f"{number} {when}: {held}"
            runs.engine.close()
            after = world.runs()
            after.resume()
            after.start(request.id).result()
            assert set(verdicts(record(after.tools, request.id)).values()) == {"succeeded"}, f"{number} {when}"
            assert world.state.slots() == {}, f"{number} {when}"


@pytest.mark.parametrize("broken", ["write_part", "probe"])
def test_a_fault_of_ours_gives_the_place_back(broken: str) -> None:
    """Where even the host's part can't be written, and where its work fails in the middle."""
    world = spread_world("a-r1 b-r1", waves=["100%"], budget=2, spread={"rack": 1})
    runs = world.runs()
    request = world.request()
    runs.submit(request)
    owner = world.state if broken == "write_part" else runs.tools.upkeep
    once, real = iter([True]), getattr(owner, broken)

    def fail(*arguments: object) -> object:
        if next(once, False):
            raise RuntimeError("a bug")
        return real(*arguments)

    setattr(owner, broken, fail)
    world.while_asleep = lambda: pytest.fail("the next one waits for a place that nobody needs")
    sealed = runs.execute(request.id)
    assert sealed.summary.verdict is not Verdict.SUCCEEDED
    assert world.state.slots() == {}


def test_taking_all_back_takes_places_too_and_is_not_held_up_by_what_is_unknown() -> None:
    world = spread_world("a-r1 b-r2 c-r2", waves=[1, 1, 1], on_failure="rollback-all", budget=1, spread={"rack": 1})
    world["c-r2"].wrong = {"prepare-lost"}
    world["b-r2"].wrong = {"health"}
    sealed = world.run()
    assert verdicts(sealed)["a-r1"] == "rolled-back"
    undone = next(part for part in sealed.hosts if part.host == "a-r1")
    assert [step.name for step in undone.steps].count("undo.admit") == 1
    assert world.state.slots() == {}


def test_scopes_and_words() -> None:
    world = spread_world("web1-r1 web2", spread={"rack": 1})
    request = world.request(limits=Limits(parallel=50, spread={"rack": 2, "zone": 3}))
    plan = "plan:patch-web:rack=r1"
    assert scopes(request, world.hosts["web1-r1"]) == {"host:web1-r1": 1, "site": 50, "tag:rack=r1": 2, plan: 1}
    assert scopes(request, world.hosts["web2"]) == {"host:web2": 1, "site": 50}
    assert [in_words(scope) for scope in ("site", "tag:rack=r1", plan)] == ["the site", "rack=r1", "rack=r1"]
    assert limits_in_words(request) == (
        "50 hosts in the whole site",
        "2 hosts with the same rack in the whole site",
        "3 hosts with the same zone in the whole site",
        "1 host with the same rack in this plan",
    )
    held = {"site": [("R", "a"), ("Q", "b"), ("R", "c"), ("R", "d")]}
    assert waiting_for(held, "site", "R") == "waiting for a place in the site (a, b of run Q and 2 more)"


def test_a_value_with_a_colon_stays_whole() -> None:
    assert in_words("plan:p:topology.kubernetes.io/zone=a:b") == "topology.kubernetes.io/zone=a:b"


def test_no_more_are_handed_out_than_can_be_in_flight_at_once() -> None:
    world = spread_world(NINE, spread={"rack": 1})
    assert width(world.request(), list(world.hosts), 10) == 3
    assert width(world.request(), ["a-r1", "b-r1"], 10) == 1
    assert width(world.request(limits=Limits(parallel=2)), list(world.hosts), 10) == 2
    assert width(spread_world("a b").request(), ["a", "b"], 10) == 10


def test_without_limits_a_host_takes_its_own_place_alone_and_gives_it_back() -> None:
    world = spread_world("a-r1")
    assert scopes(world.request(), world.hosts["a-r1"]) == {"host:a-r1": 1}
    held: list[dict[str, list[tuple[str, str]]]] = []
    world["a-r1"].meanwhile = lambda: held.append(world.state.slots())
    record = world.run()
    assert verdicts(record) == {"a-r1": "succeeded"}
    assert held == [{"host:a-r1": [(record.summary.id, "a-r1")]}] and world.state.slots() == {}
    assert places.spread_over(world.request()) == ()


def test_a_host_that_was_lost_and_is_reconciled_makes_room_for_the_others_of_its_domain() -> None:
    world = spread_world("a b-r1 c-r1", waves=[1, 1, 1], budget=1, unreachable="100%", spread={"rack": 1})
    world["b-r1"].wrong = {"prepare-lost"}
    seen: list[dict[str, list[tuple[str, str]]]] = []

    def look() -> None:
        seen.append(world.state.slots())
        if len(seen) == 3:
            world["b-r1"].wrong, world["b-r1"].there.unreachable = set(), ""

    world.while_asleep = look
    sealed = world.run()
    assert seen[0]["plan:patch-web:rack=r1"] == [(sealed.summary.id, "b-r1")], "kept while nobody knows"
    assert verdicts(sealed)["b-r1"] != "unknown"
    assert verdicts(sealed)["c-r1"] == "succeeded"
    assert world.state.slots() == {}

"""What a process that serves does beside running workflows: what it is able to, how much of it at once, and keeping house."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from tests.unit.runner.test_places import Counted, other_run, spread_world
from tests.unit.runner.test_rollout import reason
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.value import Json
from mainstay.runner.hands import Hands
from mainstay.runner.runs import record
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict


def test_a_run_is_begun_by_whoever_serves() -> None:
    world = World("w1 w2")
    asking, request = world.runs(), world.request()
    asking.hand_over(asking.submit(request))
    assert world.store.workflows[request.id].owner == "", "it waits"
    worker = world.runs()
    assert worker.engine.recover() == [request.id], "nobody serves: whoever takes over takes it"
    assert verdicts(record(worker.tools, request.id)) == {"w1": "succeeded", "w2": "succeeded"}
    asking.hand_over(request.id)
    assert world["w1"].log.count("apply") == 1, "again is success"


def test_what_was_written_down_and_not_begun_is_begun_after_a_while() -> None:
    world = World("w1")
    runs, request = world.runs(), world.request()
    runs.submit(request)
    assert runs.tend(request.asked_at) == [], "its own process may be about to"
    assert runs.tend("2026-01-01T00:01:00.000Z") == [request.id]
    assert request.id in world.store.workflows


def test_a_run_whose_workflow_could_not_end_in_a_record_gets_one() -> None:
    world = World("w1 w2", waves=[1, 1])
    runs, request = world.runs(), world.request()
    real, calls = world.ledger.seal, Counter[str]()

    def full(id: str, body: Json) -> object:
        calls["seal"] += 1
        if calls["seal"] == 1:
            raise OSError(28, "No space left on device")
        return real(id, body)

    world.ledger.seal = full  # type: ignore[method-assign,assignment]  # a disk that is full once
    runs.submit(request)
    handle = runs.hand_over(request.id)
    runs.engine.recover()
    assert handle.done() and world.state.run(request.id).state != "ended"  # type: ignore[union-attr]  # it is there
    assert runs.tend("2026-01-01T00:01:00.000Z") == []
    sealed = record(runs.tools, request.id)
    assert sealed.summary.verdict is Verdict.FAILED
    assert "No space left" in sealed.summary.reason
    assert verdicts(sealed) == {"w1": "succeeded", "w2": "succeeded"}
    assert world.state.run(request.id).state == "ended"  # type: ignore[union-attr]  # it is there


def test_the_engine_forgets_what_ended_long_ago_and_the_ledger_does_not() -> None:
    world = World("w1")
    first = world.run()
    world.clock.advance(40 * 86400)
    world["w1"].offers["openssl"] = "3"
    second = world.run()
    runs = world.runs()
    assert first.summary.id not in world.store.workflows, "a run does it at its end"
    assert second.summary.id in world.store.workflows
    assert runs.forget() == 0
    assert [entry.id for entry in world.ledger.entries()] == [first.summary.id, second.summary.id]
    assert verdicts(record(runs.tools, first.summary.id)) == {"w1": "succeeded"}


def test_forgetting_stops_after_about_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.runner.housekeeping.BATCH", 2)
    world = World("w1")
    runs = world.runs()
    runs.tools.keep_engine = 10 * 365 * 86400.0
    for number in range(5):
        world["w1"].offers["openssl"] = str(number + 2)
        request = world.request()
        runs.execute(runs.submit(request))
    world.clock.advance(86400)
    runs.tools.keep_engine = 3600.0
    assert runs.forget(most=3) == 4, "two runs of two workflows"
    assert runs.forget() == 6


def test_a_worker_of_another_site_refuses_the_run_as_a_whole() -> None:
    world = World("w1 w2")
    runs, request = world.runs(), world.request()
    runs.tools.site_name = "beta"
    sealed = runs.execute(runs.submit(request))
    assert verdicts(sealed) == {"w1": "refused", "w2": "refused"}
    assert reason(sealed, "w1") == "this worker works from the site beta, and the run is of acme"
    assert world["w1"].log == []


def test_a_worker_that_lacks_what_a_host_needs_does_not_begin_with_it() -> None:
    world = spread_world("w1-r1 w2-r1", waves=["100%"], spread={"rack": 1})
    runs, request = world.runs(), world.request()
    why = "this worker (ops2) can't: no key of w1-r1 is pinned here"
    runs.tools.able = lambda request, host: why if host.name == "w1-r1" else ""
    sealed = runs.execute(runs.submit(request))
    assert verdicts(sealed) == {"w1-r1": "refused", "w2-r1": "succeeded"}
    assert reason(sealed, "w1-r1") == why
    assert world["w1-r1"].there.lock.fence == 0, "nothing was sent to it"


def test_a_worker_has_no_more_hosts_in_hand_than_it_has_threads() -> None:
    world = spread_world("a b c d e f", waves=["100%"], parallel=6)
    counted = Counted(world, lambda now: now["all"] == 2)
    runs = world.runs(threads=True)
    runs.tools.hands = Hands(2)
    request = world.request()
    runs.start(runs.submit(request)).result(30)
    assert set(verdicts(record(runs.tools, request.id)).values()) == {"succeeded"}
    assert counted.most["all"] == 2
    assert all(runs.tools.hands.take(str(number)) == (number < 2) for number in range(3)), "all were given back"


def test_who_waits_for_a_place_keeps_no_thread_from_others() -> None:
    """The first host waits for a rack that another run holds; with one thread the second goes ahead of it."""
    world = spread_world("a-r1 b-r2", waves=["100%"], parallel=2, spread={"rack": 1})
    runs = world.runs(threads=True)
    runs.tools.hands = Hands(1)
    counted = Counted(world, lambda now: True)
    request = world.request()
    other_run(world, "0OTHER")
    assert world.state.take_slots("0OTHER", "x", {"plan:patch-web:rack=r1": 1})
    handle = runs.start(runs.submit(request))
    doze = world.while_asleep

    def until_b_has_ended() -> None:
        doze()
        if "b-r2" in world.state.outcomes(request.id):
            world.state.free_slots("0OTHER")

    world.while_asleep = until_b_has_ended
    handle.result(30)
    assert set(verdicts(record(runs.tools, request.id)).values()) == {"succeeded"}
    assert counted.most["all"] == 1


def test_hands() -> None:
    hands = Hands(1)
    assert hands.take("a") and hands.take("a") and not hands.take("b")
    hands.hold("c")
    hands.give_back("a")
    assert not hands.take("b"), "what was taken over counts"
    hands.give_back("c")
    hands.give_back("c")
    assert hands.take("b")
    assert all(Hands().take(str(number)) for number in range(1000))


def test_ended_before_is_compared_as_it_is_written() -> None:
    world = World("w1")
    sealed = world.run()
    ended = world.state.run(sealed.summary.id)
    assert ended is not None and ended.ended_at is not None
    assert world.state.ended_before(rfc3339(world.clock.now() + timedelta(seconds=1))) == [sealed.summary.id]
    assert world.state.ended_before(ended.ended_at) == []

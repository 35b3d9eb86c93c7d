"""Each notice at least once, one process at a time, and never without an end."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from tests.unit.console.notices.world import NOW, Taker, World

from mainstay.console.notices.delivery import Alarm, Delivery, alarms
from mainstay.inventory.redaction import MASK, remember
from mainstay.runner.steps import rfc3339
from mainstay.schedules.store.contract import Notice


def put(world: World, *ids: str, channel: str = "tell", event: str = "failed") -> None:
    for id in ids:
        now = rfc3339(world.clock.now())
        world.store.put_notice(
            Notice(id=id, channel=channel, event=event, body={"id": id}, made_at=now, next_try_at=now)
        )
        world.clock.later(milliseconds=1)


def deliverer(world: World, holder: str = "me") -> Delivery:
    return Delivery(world.store, world.clock, holder)


def test_what_is_due_is_delivered_once_in_its_order() -> None:
    world, taker = World(), Taker()
    put(world, "a", "b", "c")
    for _ in range(3):
        assert deliverer(world).round([taker.channel()])
    assert taker.taken == ["a", "b", "c"]
    assert world.waiting() == []


def test_a_channel_that_fails_is_left_alone_for_longer_and_longer() -> None:
    world = World()
    taker = Taker(refuses=lambda notice: "no line")
    put(world, "a", "b")
    tried: list[float] = []
    for second in range(3600):
        before = taker.tries
        deliverer(world).round([taker.channel()])
        tried += [float(second)] if taker.tries > before else []
        assert taker.tries - before <= 1
        world.clock.later(seconds=1)
    pauses = [b - a for a, b in pairwise(tried)]
    assert len(tried) <= 10
    assert pauses == sorted(pauses)
    assert pauses[0] >= 30
    assert {notice.error for notice in world.waiting()} == {"no line"}


def test_one_notice_that_nobody_can_take_does_not_hold_up_the_others() -> None:
    world = World()
    taker = Taker(refuses=lambda notice: "exit 1" if notice.id == "poison" else "")
    put(world, "poison", "b", "c")
    deliverer(world).round([taker.channel()])
    assert taker.taken == []
    world.clock.later(seconds=31)
    deliverer(world).round([taker.channel()])
    assert taker.taken == ["b", "c"]


def test_a_channel_that_fails_does_not_hold_up_another() -> None:
    world, well = World(), Taker()
    put(world, "a", channel="dead")
    put(world, "b", channel="well")
    deliverer(world).round([Taker(refuses=lambda notice: "no").channel("dead"), well.channel("well")])
    assert well.taken == ["b"]


def test_it_is_tried_for_days_and_what_is_given_up_is_an_alarm_until_it_works_again() -> None:
    world = World()
    taker = Taker(refuses=lambda notice: "no line")
    put(world, "a")
    for _ in range(24 * 7):
        deliverer(world).round([taker.channel()])
        world.clock.later(hours=1)
    assert [notice.id for notice in world.waiting()] == ["a"]
    assert taker.tries > 24
    for _ in range(12):
        world.clock.later(hours=1)
        deliverer(world).round([taker.channel()])
    assert world.waiting() == []
    assert list(alarms(world.store, ["tell"], world.clock.now())) == [Alarm("tell", 0, "", "no line", lost=1)]
    taker.refuses = lambda notice: ""
    put(world, "b")
    world.clock.later(hours=1)
    deliverer(world).round([taker.channel()])
    assert list(alarms(world.store, ["tell"], world.clock.now())) == []


def test_an_alarm_after_a_few_tries_or_an_hour() -> None:
    world = World()
    put(world, "a")
    assert list(alarms(world.store, ["tell"], world.clock.now())) == []
    assert list(alarms(world.store, ["tell"], NOW + timedelta(hours=2))) == [Alarm("tell", 1, rfc3339(NOW), "")]
    taker = Taker(refuses=lambda notice: "no line")
    while world.clock.now() < NOW + timedelta(minutes=30):
        deliverer(world).round([taker.channel()])
        world.clock.later(seconds=30)
    assert list(alarms(world.store, ["tell"], world.clock.now())) == [Alarm("tell", 1, rfc3339(NOW), "no line")]


def test_two_that_deliver_at_once_deliver_nothing_twice() -> None:
    world = World()
    put(world, "a", "b")
    other = deliverer(world, "other")
    inner = Taker()

    def meanwhile(notice: Notice) -> str:
        assert other.round([inner.channel()]) is False
        return ""

    taker = Taker(refuses=meanwhile)
    assert deliverer(world).round([taker.channel()])
    assert (taker.taken, inner.taken) == (["a", "b"], [])
    put(world, "c")
    assert other.round([inner.channel()])
    assert inner.taken == ["c"]


def test_what_another_has_delivered_before_the_duty_was_ours_is_not_delivered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, taker = World(), Taker()
    put(world, "a")
    lease = world.store.lease

    def late(name: str, holder: str, *, now: str, until: str) -> bool:
        world.store.note_try("a", at=rfc3339(NOW))  # in the moment before
        return lease(name, holder, now=now, until=until)

    monkeypatch.setattr(world.store, "lease", late)
    assert deliverer(world).round([taker.channel()])
    assert taker.taken == []


def test_the_duty_of_one_that_died_falls_to_another_and_what_it_had_in_hand_is_delivered_again() -> None:
    world, first, second = World(), Taker(), Taker()
    put(world, "a")

    def dies(notice: Notice) -> str:
        raise SystemExit

    first.refuses = dies
    dead = deliverer(world, "dead")
    world.store.lease("notices", "dead", now=rfc3339(world.clock.now()), until=rfc3339(NOW + timedelta(seconds=90)))
    with pytest.raises(SystemExit):
        dead._try(first.channel(), world.waiting()[0])
    assert deliverer(world).round([second.channel()]) is False
    world.clock.later(seconds=91)
    assert deliverer(world).round([second.channel()])
    assert second.taken == ["a"]


def test_of_a_switch_only_the_newest_word_is_said() -> None:
    world, taker = World(), Taker()
    put(world, "1:end", "2:end", channel="ping/p", event="fail")
    now = rfc3339(world.clock.now())
    for id, event in (("3:start", "start"), ("3:end", "success")):
        world.store.put_notice(Notice(id=id, channel="ping/p", event=event, body={}, made_at=now, next_try_at=now))
    deliverer(world).round([taker.channel("ping/p", newest_only=True)])
    assert taker.taken == ["3:end"]
    assert world.waiting() == []


def test_what_nobody_foresaw_is_tried_again_and_said_without_secrets() -> None:
    world = World()
    remember("canary-of-the-channel")

    def broken(notice: Notice) -> str:
        raise RuntimeError("canary-of-the-channel in pieces")

    put(world, "a")
    deliverer(world).round([Taker(refuses=broken).channel()])
    assert [notice.error for notice in world.waiting()] == [f"RuntimeError: {MASK} in pieces"]


def test_one_that_is_to_end_stops_between_two() -> None:
    world, taker = World(), Taker()
    put(world, "a", "b")
    Delivery(world.store, world.clock, "me", ending=lambda: bool(taker.taken)).round([taker.channel()])
    assert taker.taken == ["a"]


def test_what_is_not_worth_it_any_more_is_left() -> None:
    world, taker = World(), Taker()
    put(world, "a", "b")
    unwanted = lambda notice: "answered" if notice.id == "a" else ""  # noqa: E731
    Delivery(world.store, world.clock, "me", unwanted=unwanted).round([taker.channel()])
    assert taker.taken == ["b"]
    assert world.waiting() == []


def test_what_was_meant_for_a_channel_that_is_gone_is_forgotten_in_the_end() -> None:
    world, taker = World(), Taker()
    put(world, "old", channel="gone")
    world.clock.later(days=6)
    put(world, "a")
    deliverer(world).round([taker.channel()])
    assert [notice.id for notice in world.waiting()] == ["old"]
    assert list(alarms(world.store, ["tell"], world.clock.now())) == []
    world.clock.later(days=2)
    put(world, "b")
    deliverer(world).round([taker.channel()])
    assert world.waiting() == []

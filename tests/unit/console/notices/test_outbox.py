"""What is put down for whom: everything that happened since, once, and no more than there is room for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.console.notices.world import NOW, World, tell

from mainstay.console.notices import outbox as module
from mainstay.console.notices.outbox import mark_of
from mainstay.inventory.errors import UsageError
from mainstay.inventory.redaction import MASK, remember
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.store.contract import Approval, Notice, Vote


def test_a_new_channel_begins_at_the_present() -> None:
    world = World()
    world.ended()
    box = world.outbox(tell())
    box.begin()
    new = world.ended()
    box.fill()
    assert [notice.id for notice in world.waiting()] == [f"tell:record:{new}"]


def test_a_record_is_put_down_once_for_each_channel_that_wants_it() -> None:
    world = World()
    box = world.outbox(
        tell("every"),
        tell("failed", on=["failed"]),
        tell("unknown", on="unknown"),
        tell("web", plans="patch-web"),
        tell("db", plans=["patch-db"]),
    )
    box.begin()
    run = world.ended(Verdict.FAILED, reason="did not come up")
    for _ in range(3):
        box.fill()
    assert [notice.id for notice in world.waiting()] == [f"{name}:record:{run}" for name in ("every", "failed", "web")]


@pytest.mark.parametrize(
    ("verdict", "on", "told"),
    [
        (Verdict.ROLLED_BACK, ["failed"], True),
        (Verdict.ROLLED_BACK, ["rolled-back"], True),
        (Verdict.FAILED, ["rolled-back"], False),
        (Verdict.SUCCEEDED, ["failed", "degraded", "refused", "missed", "unknown"], False),
        (Verdict.SUCCEEDED, ["succeeded"], True),
        (Verdict.MISSED, ["missed"], True),
        (Verdict.REFUSED, ["missed"], False),
        (Verdict.UNKNOWN, None, True),
        (Verdict.DEGRADED, None, True),
        (Verdict.CANCELLED, None, False),
    ],
)
def test_which_ends_are_told(verdict: Verdict, on: list[str] | None, told: bool) -> None:
    world = World()
    box = world.outbox(tell() if on is None else tell(on=on))
    box.begin()
    world.ended(verdict)
    box.fill()
    assert bool(world.waiting()) is told


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (Verdict.SUCCEEDED, False),
        (Verdict.REFUSED, False),
        (Verdict.DEGRADED, True),
        (Verdict.FAILED, True),
    ],
)
def test_a_staging_is_told_where_somebody_should_look_and_to_no_switch(verdict: Verdict, told: bool) -> None:
    world = World()
    box = world.outbox(tell(on=["succeeded", "refused", "degraded", "failed"]), pinged=("patch-web",))
    box.begin()
    run = world.ended(verdict, kind="stage")
    box.begun(run, "patch-web", ["web1", "web2"])
    box.fill()
    assert [notice.id for notice in world.waiting()] == ([f"tell:record:{run}"] if told else [])
    last = world.ended(Verdict.FAILED)
    box.fill()
    assert f"tell:record:{last}" in [notice.id for notice in world.waiting()], "what comes after it is told"


def test_the_body_is_the_record_with_the_hosts_that_are_not_well() -> None:
    world = World()
    box = world.outbox(tell())
    box.begin()
    run = world.ended(Verdict.FAILED, reason="did not come up")
    box.fill()
    body = world.waiting()[0].body
    assert (body["event"], body["site"]) == ("failed", "acme")
    record = body["record"]
    assert (record["id"], record["seq"], record["verdict"], record["plan"]) == (run, 1, "failed", "patch-web")
    assert record["hosts"] == [{"host": "web2", "verdict": "failed", "reason": "did not come up"}]
    assert record["more_hosts"] is False
    assert "hosts_digest" not in record


def test_a_body_is_as_long_as_a_letter_and_holds_no_secret() -> None:
    world = World()
    box = world.outbox(tell())
    box.begin()
    remember("canary-of-the-outbox")
    world.ended(reason=f"canary-of-the-outbox {'x' * 5000}")
    box.fill()
    text = str(world.waiting()[0].body)
    assert "canary-of-the-outbox" not in text
    assert MASK in text
    assert len(text) < 6000


class Dying(World):
    """Its process dies beside a notice: right before it is written, or right after, when the mark is not."""

    def die_at(self, count: int, *, before: bool) -> None:
        put = self.store.put_notice

        def dying(notice: Notice) -> None:
            nonlocal count
            count -= 1
            if before and not count:
                raise SystemExit
            put(notice)
            if not count:
                raise SystemExit

        self.store.put_notice = dying  # type: ignore[method-assign]  # the crash

    def survive(self) -> None:
        del self.store.put_notice


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_crash_beside_a_notice_puts_down_nothing_twice_and_loses_nothing(before: bool) -> None:
    world = Dying()
    channels = (tell("a"), tell("b"))
    world.outbox(*channels).begin()
    runs = [world.ended() for _ in range(4)]
    crashes = 0
    for count in (1, 2, 3, 1, 2):
        world.die_at(count, before=before)
        try:
            world.outbox(*channels).fill()
        except SystemExit:
            crashes += 1
        world.survive()
    world.outbox(*channels).fill()
    assert crashes >= 3
    found = sorted(notice.id for notice in world.waiting())
    assert found == sorted(f"{name}:record:{run}" for name in "ab" for run in runs)
    assert world.store.mark(mark_of("a")) == world.store.mark(mark_of("b")) == "000000000004"


def test_approvals_that_can_not_be_asked_about_keep_no_record_from_being_told() -> None:
    def waiting() -> list[Approval]:
        raise UsageError("its calendar is away")

    world = World()
    outbox = replace(world.outbox(tell()), waiting=waiting)
    outbox.begin()
    world.ended()
    with pytest.raises(UsageError, match="away"):
        outbox.fill()
    assert [notice.id for notice in world.waiting()] == ["tell:record:run1"]


def test_a_full_channel_waits_and_loses_nothing_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL", 3)
    world = World()
    box = world.outbox(tell("slow"), tell("quick"))
    box.begin()
    runs = [world.ended() for _ in range(5)]
    box.fill()
    assert [notice.id for notice in world.waiting("slow")] == [f"slow:record:{run}" for run in runs[:3]]
    for notice in world.waiting("quick"):
        world.store.note_try(notice.id, at=rfc3339(NOW))
    box.fill()
    assert [notice.id for notice in world.waiting("quick")] == [f"quick:record:{run}" for run in runs[3:]]
    assert len(world.waiting("slow")) == 3
    world.store.note_try(f"slow:record:{runs[0]}", at=rfc3339(NOW))
    world.store.note_try(f"slow:record:{runs[1]}", at=rfc3339(NOW))
    box.fill()
    assert [notice.id for notice in world.waiting("slow")] == [f"slow:record:{run}" for run in runs[2:]]


def test_what_is_long_past_is_not_told_any_more() -> None:
    world = World()
    box = world.outbox(tell())
    box.begin()
    world.ended()
    world.clock.later(days=8)
    new = world.ended()
    box.fill()
    assert [notice.id for notice in world.waiting()] == [f"tell:record:{new}"]


# Requests for approval


def approval(**more: Any) -> Approval:
    opens = NOW + timedelta(days=3)
    standard: dict[str, Any] = {
        "run": "r1",
        "hash": "a" * 64,
        "plan": "patch-web",
        "need": 1,
        "asked_at": rfc3339(NOW),
        "expires_at": rfc3339(opens + timedelta(hours=2)),
        "preview": {"starts_at": rfc3339(opens), "hosts": ["web1"], "count": 1, "targets": "role=web"},
    }
    return Approval.model_validate({**standard, **more})


def test_somebody_is_asked_at_once_and_reminded_as_the_window_comes_near() -> None:
    world = World()
    world.approvals = [approval()]
    box = world.outbox(tell(on=["approval"], remind=["24h", "2h"]))

    def told() -> list[str]:
        box.fill()
        found = [notice.id.rpartition(":")[2] for notice in world.waiting()]
        for notice in world.waiting():
            world.store.note_try(notice.id, at=rfc3339(world.clock.now()))
        return found

    assert told() == ["asked"]
    assert told() == []
    world.clock.later(days=1, hours=23)
    assert told() == []
    world.clock.later(hours=1)
    assert told() == ["86400"]
    assert told() == []
    world.clock.later(hours=22)
    assert told() == ["7200"]
    world.clock.later(hours=1)
    assert told() == []


def test_the_request_says_what_is_asked_and_how_to_answer() -> None:
    world = World()
    world.approvals = [approval()]
    world.outbox(tell()).fill()
    body = world.waiting()[0].body
    assert body["event"] == "approval"
    asked = body["approval"]
    assert (asked["run"], asked["need"], asked["have"], asked["reminder"]) == ("r1", 1, 0, False)
    assert asked["preview"]["targets"] == "role=web"
    assert asked["approve"] == "mainstay runs approve r1"


def test_only_the_nearest_reminder_is_told_after_a_while_without_a_daemon() -> None:
    world = World()
    world.approvals = [approval(asked_at=rfc3339(NOW - timedelta(days=20)))]
    world.clock.later(days=2, hours=23)
    world.outbox(tell(remind=["14d", "24h", "2h"])).fill()
    assert [notice.id.rpartition(":")[2] for notice in world.waiting()] == ["7200", "asked"]


def test_nobody_is_asked_for_what_is_answered() -> None:
    world = World()
    world.approvals = [approval()]
    world.store.vote(Vote(run="r1", hash="a" * 64, by="anna@ops1", at=rfc3339(NOW), says="yes"))
    world.outbox(tell()).fill()
    assert world.waiting() == []


# Dead man's switches


def test_a_switch_hears_of_the_start_and_of_the_end() -> None:
    world = World()
    box = world.outbox(pinged=("patch-web",))
    box.begin()
    run = world.run("web1", "web2")
    box.begun(run, "patch-web", ["web1", "web2"])
    box.begun(run, "patch-web", ["web1", "web2"])
    box.begun(world.run("web1", "web2", plan="other"), "other", ["web1", "web2"])
    ended = world.ended(Verdict.DEGRADED, reason="a reboot is pending")
    box.fill()
    box.fill()
    assert [(notice.id, notice.event) for notice in world.waiting("ping/patch-web")] == [
        (f"ping/patch-web:{run}:start", "start"),
        (f"ping/patch-web:{ended}:end", "success"),
    ]
    assert len(world.waiting()) == 2


@pytest.mark.parametrize(
    ("verdict", "event"),
    [
        (Verdict.SUCCEEDED, "success"),
        (Verdict.DEGRADED, "success"),
        (Verdict.FAILED, "fail"),
        (Verdict.ROLLED_BACK, "fail"),
        (Verdict.UNKNOWN, "fail"),
        (Verdict.CANCELLED, "fail"),
        (Verdict.REFUSED, "fail"),
        (Verdict.MISSED, "fail"),
    ],
)
def test_only_work_that_was_done_keeps_a_switch_quiet(verdict: Verdict, event: str) -> None:
    world = World()
    box = world.outbox(pinged=("patch-web",))
    box.begin()
    world.ended(verdict)
    box.fill()
    assert [notice.event for notice in world.waiting()] == [event]


def test_a_run_that_does_not_stand_for_the_plan_says_nothing() -> None:
    """A canary by hand, a rollback: the plan's work was not done, and it was not due either."""
    world = World()
    box = world.outbox(pinged=("patch-web",))
    box.begin()
    box.begun(world.run("web1", trigger="by hand"), "patch-web", ["web1"])
    box.begun(world.run("web1", "web2", kind="rollback"), "patch-web", ["web1", "web2"])
    world.ended(kind="rollback")
    box.fill()
    assert world.waiting() == []
    whole = world.run("web1", "web2", trigger="by hand")
    box.begun(whole, "patch-web", ["web1", "web2"])
    part_of_the_clock = world.run("web1")
    box.begun(part_of_the_clock, "patch-web", ["web1"])
    assert len(world.waiting()) == 2


def test_a_switch_does_not_take_old_news_for_new() -> None:
    world = World()
    box = world.outbox(pinged=("patch-web",))
    box.begin()
    world.ended()
    world.clock.later(hours=25)
    box.fill()
    assert world.waiting() == []

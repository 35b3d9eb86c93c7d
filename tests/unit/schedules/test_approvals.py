"""Who may approve what, for how long, and what their word is bound to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any, Literal

import pytest

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.runner.plan import PatchPlan, Timed
from mainstay.runner.record import SiteStamp
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.schedules import approvals
from mainstay.schedules.approvals import Due, of_run, refresh, say, standing
from mainstay.schedules.openings import Opening
from mainstay.schedules.store.contract import Approval, Vote
from mainstay.schedules.store.memory import MemorySchedules
from mainstay.schedules.timing import Occurrence, Timing

NOW = datetime(2026, 12, 10, 12, tzinfo=UTC)
STARTS = datetime(2026, 12, 11, 1, tzinfo=UTC)
CUTOFF = STARTS + timedelta(hours=2)
OPENING = Opening("night", STARTS, STARTS + timedelta(hours=3), CUTOFF, "Europe/Berlin")
RUN = "01KC5E2VR0TESTTESTTESTTEST"
HOSTS = ("web1", "web2")


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def approval(need: int = 1, **more: Any) -> Approval:
    standard = {"run": RUN, "hash": "h", "plan": "p", "need": need, "asked_at": stamp(NOW), "expires_at": stamp(CUTOFF)}
    return Approval.model_validate({**standard, **more})


def vote(by: str, says: str = "yes", *, minute: int = 0, hash: str = "h", reason: str = "") -> Vote:
    at = stamp(NOW + timedelta(minutes=minute))
    return Vote.model_validate({"run": RUN, "hash": hash, "by": by, "at": at, "says": says, "reason": reason})


def plan(approval: str = "required", **more: Any) -> PatchPlan:
    given = {"name": "patch-web", "targets": "role=web", "window": ["night"], "approval": approval, **more}
    return PatchPlan.model_validate(given)


def request(
    plan: PatchPlan, *, occurrence: bool = True, hosts: tuple[str, ...] = HOSTS, by: str = "anna@ops1"
) -> RunRequest:
    asking = Asking(requested_by=by, asked_at=stamp(NOW), site=SiteStamp())
    found = plan_request(plan, [Host(name=name, address="10.0.0.1") for name in hosts], asking)
    at = Occurrence(
        schedule="patch-web/night",
        at=stamp(STARTS),
        window="night",
        zone="Europe/Berlin",
        ends_at=stamp(STARTS + timedelta(hours=3)),
        cutoff_at=stamp(CUTOFF),
    )
    timing = Timing(rules=Timed(approval=plan.approval), occurrence=at if occurrence else None, queued=not occurrence)
    return found.model_copy(update={"id": RUN, "timing": timing.to_json()})


def test_a_plan_without_approval_is_granted() -> None:
    assert standing(None, [], NOW, need=0).answer == "granted"


def test_nobody_was_asked_is_no_yes() -> None:
    assert standing(None, [vote("anna@ops1")], NOW, need=1).answer == "waiting"


def test_one_yes_is_enough_for_required_also_of_whoever_asked() -> None:
    found = standing(approval(requested_by="anna@ops1"), [vote("anna@ops1")], NOW, need=1)
    assert (found.answer, found.have, found.reason) == ("granted", 1, "approved by anna@ops1")


def test_two_person_needs_two_different_people() -> None:
    one = [vote("anna@ops1"), vote("anna@ops2", minute=1), vote("ANNA@ops3", minute=2)]
    found = standing(approval(2), one, NOW, need=2)
    assert (found.answer, found.have, found.need) == ("waiting", 1, 2)
    assert found.reason == "1 of 2 people have approved it"

    found = standing(approval(2), [*one, vote("bob@ops1", minute=3)], NOW, need=2)
    assert (found.answer, found.reason) == ("granted", "approved by anna@ops1 and bob@ops1")


def test_nobody_is_one_of_the_two_for_their_own_request() -> None:
    asked = approval(2, requested_by="anna@ops1")
    both = [vote("anna@ops2"), vote("bob@ops1", minute=1)]
    assert standing(asked, both, NOW, need=2, requested_by="anna@ops1").answer == "waiting"
    assert standing(approval(2), both, NOW, need=2, requested_by="anna@ops1").answer == "waiting"
    assert standing(asked, [*both, vote("eve@ops1", minute=2)], NOW, need=2).answer == "granted"


def test_one_no_refuses_at_once_whatever_else_was_said() -> None:
    for order in permutations(["anna", "bob", "eve"]):
        votes = [
            vote(who, "no" if who == "eve" else "yes", minute=at, reason="x" * (who == "eve"))
            for at, who in enumerate(order)
        ]
        found = standing(approval(2), votes, NOW, need=2)
        assert found.answer == "refused"
        assert found.reason.startswith("not approved: eve said no on 2026-12-10T12:0")
        assert found.reason.endswith(": x")


def test_a_no_of_whoever_asked_counts() -> None:
    found = standing(approval(2, requested_by="anna@ops1"), [vote("anna@ops2", "no")], NOW, need=2)
    assert found.answer == "refused"


def test_what_was_said_to_another_hash_counts_for_nothing() -> None:
    votes = [vote("anna", hash="old"), vote("bob", "no", hash="old", minute=1)]
    assert standing(approval(1), votes, NOW, need=1).answer == "waiting"


def test_the_first_thing_that_somebody_says_stands() -> None:
    votes = [vote("anna@ops1", minute=1), vote("anna@ops2", "no", minute=2)]
    assert standing(approval(1), votes, NOW, need=1).answer == "granted"


def test_it_expires_at_the_cutoff_and_what_was_granted_stays() -> None:
    before, at = CUTOFF - timedelta(milliseconds=1), CUTOFF
    assert standing(approval(1), [], before, need=1).answer == "waiting"
    found = standing(approval(1), [], at, need=1)
    assert found.answer == "refused"
    assert found.reason == "not approved by 2026-12-11T03:00:00.000Z: nobody has approved it"
    assert standing(approval(1), [vote("anna")], at + timedelta(days=1), need=1).answer == "granted"
    late = vote("anna", minute=15 * 60)
    assert late.at >= stamp(CUTOFF)
    assert standing(approval(1), [late], at, need=1).answer == "refused"


def due(plan: PatchPlan, hosts: tuple[str, ...] = HOSTS, opening: Opening = OPENING) -> Due:
    return Due(RUN, plan, hosts, opening)


def test_asked_once_however_often_it_is_looked_at() -> None:
    store = MemorySchedules()
    first = refresh(store, [due(plan())], NOW)
    again = refresh(store, [due(plan(), hosts=("web2", "web1"))], NOW + timedelta(hours=1))
    assert first == again == store.approvals()
    assert store.approvals()[0].preview["hosts"] == ["web1", "web2"]
    assert store.approvals()[0].expires_at == stamp(CUTOFF)


def test_nothing_is_asked_without_need_or_after_the_cutoff() -> None:
    store = MemorySchedules()
    assert refresh(store, [due(plan("none"))], NOW) == refresh(store, [due(plan())], CUTOFF) == []
    assert store.approvals() == []


@pytest.mark.parametrize(
    "changed",
    [
        due(plan(updates={"select": "all"})),
        due(plan(), hosts=("web1", "web2", "web3")),
        due(plan(), opening=Opening("night", STARTS + timedelta(minutes=1), CUTOFF, CUTOFF, "Europe/Berlin")),
        due(plan("two-person")),
    ],
    ids=["plan", "hosts", "opening", "approval"],
)
def test_what_changes_is_asked_anew(changed: Due) -> None:
    store = MemorySchedules()
    old = refresh(store, [due(plan())], NOW)[0]
    say(store, old, by="anna@ops1", says="yes", reason="", now=NOW)
    new = refresh(store, [changed], NOW)[0]
    assert new.hash != old.hash
    assert [one.withdrawn_at is None for one in store.approvals()] == [
        one.hash == new.hash for one in store.approvals()
    ]
    assert standing(new, store.votes(RUN), NOW, need=new.need).answer == "waiting"


def test_the_gate_of_the_run_finds_what_was_said_before_the_run_was_there() -> None:
    store = MemorySchedules()
    asked = refresh(store, [due(plan())], NOW)[0]
    say(store, asked, by="anna@ops1", says="yes", reason="looks right", now=NOW)
    run = request(plan())
    assert of_run(store, run, STARTS).answer == "granted"
    assert store.approvals() == [asked]
    assert [(one.by, one.reason) for one in approvals.said(store, run)] == [("anna@ops1", "looks right")]


@pytest.mark.parametrize("run", [request(plan(budget=3)), request(plan(), hosts=("web1",))], ids=["plan", "hosts"])
def test_the_gate_of_another_run_than_was_approved_waits_until_it_expires(run: RunRequest) -> None:
    store = MemorySchedules()
    say(store, refresh(store, [due(plan())], NOW)[0], by="anna@ops1", says="yes", reason="", now=NOW)
    assert of_run(store, run, STARTS).answer == "waiting"
    assert of_run(store, run, CUTOFF).answer == "refused"
    assert approvals.said(store, run) == []


def test_the_gate_asks_where_nobody_has() -> None:
    store = MemorySchedules()
    found = of_run(store, request(plan("two-person")), STARTS)
    assert (found.answer, found.need, found.until) == ("waiting", 2, stamp(CUTOFF))
    assert store.approvals()[0].requested_by == ""


def test_by_hand_the_request_names_who_asked_and_waits_for_the_opening() -> None:
    store = MemorySchedules()
    run = request(plan("two-person"), occurrence=False)
    asked = approvals.ask(store, run, NOW, opening=OPENING)
    assert (asked.requested_by, asked.expires_at) == ("anna@ops1", stamp(CUTOFF))
    with pytest.raises(Refused, match="nobody approves their own"):
        say(store, asked, by="anna@ops2", says="yes", reason="", now=NOW)
    say(store, asked, by="bob@ops1", says="yes", reason="", now=NOW)
    assert of_run(store, run, STARTS, OPENING).answer == "waiting"
    say(store, asked, by="eve@ops1", says="yes", reason="", now=NOW)
    assert of_run(store, run, STARTS, OPENING).answer == "granted"


def test_by_hand_without_a_window_it_is_open_for_a_day() -> None:
    store = MemorySchedules()
    asked = approvals.ask(store, request(plan(), occurrence=False), NOW)
    assert asked.expires_at == stamp(NOW + timedelta(hours=24))


def test_by_hand_a_yes_to_one_opening_is_none_to_a_later_one() -> None:
    store, run = MemorySchedules(), request(plan(), occurrence=False)
    week = timedelta(days=7)
    later = Opening("night", STARTS + week, CUTOFF + week, CUTOFF + week, "Europe/Berlin")
    say(store, approvals.ask(store, run, NOW, opening=OPENING), by="bob@ops1", says="yes", reason="", now=NOW)
    assert of_run(store, run, STARTS, OPENING).answer == "granted"
    anew = of_run(store, run, STARTS + week, later)
    assert (anew.answer, anew.until) == ("waiting", stamp(CUTOFF + week))


def test_by_hand_what_nobody_approved_by_the_cutoff_is_not_asked_for_the_next_opening() -> None:
    store, run = MemorySchedules(), request(plan(), occurrence=False)
    week = timedelta(days=7)
    later = Opening("night", STARTS + week, CUTOFF + week, CUTOFF + week, "Europe/Berlin")
    assert of_run(store, run, STARTS, OPENING).answer == "waiting"
    assert of_run(store, run, CUTOFF, later).answer == "refused"


def test_nobody_is_asked_for_what_needs_no_approval() -> None:
    store = MemorySchedules()
    assert of_run(store, request(plan("none")), STARTS).answer == "granted"
    assert store.approvals() == []
    with pytest.raises(ValueError, match="needs no approval"):
        approvals.ask(store, request(plan("none")), NOW)


def test_a_second_word_of_the_same_person_is_refused() -> None:
    store = MemorySchedules()
    asked = refresh(store, [due(plan("two-person"))], NOW)[0]
    assert say(store, asked, by="anna@ops1", says="yes", reason="", now=NOW).have == 1
    both: tuple[Literal["yes", "no"], ...] = ("yes", "no")
    for says in both:
        with pytest.raises(Refused, match=r"anna@ops1 has said yes to run .* already"):
            say(store, asked, by="anna@ops2", says=says, reason="", now=NOW)
    assert len(store.votes(RUN)) == 1


def test_nothing_can_be_said_after_a_no_or_after_it_expired() -> None:
    store = MemorySchedules()
    asked = refresh(store, [due(plan())], NOW)[0]
    with pytest.raises(Refused, match="any more: not approved by"):
        say(store, asked, by="anna@ops1", says="yes", reason="", now=CUTOFF)
    assert say(store, asked, by="anna@ops1", says="no", reason="not now", now=NOW).answer == "refused"
    with pytest.raises(Refused, match=r"said no on .*: not now"):
        say(store, asked, by="bob@ops1", says="yes", reason="", now=NOW)
    assert of_run(store, request(plan()), STARTS).answer == "refused"


def test_a_request_names_some_hosts_and_is_bound_to_all() -> None:
    store = MemorySchedules()
    many = tuple(f"web{number}" for number in range(approvals.NAMED + 1))
    asked = refresh(store, [due(plan(), hosts=many)], NOW)[0]
    assert len(asked.preview["hosts"]) == approvals.NAMED
    assert asked.preview["count"] == len(many)
    assert asked.hash != refresh(store, [due(plan(), hosts=many[:-1])], NOW)[0].hash

"""What retention may remove, and what keeps it from that."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.recovery.points import NOW, before, point, proof

from mainstay.recovery.anomalies import acknowledged, blocked_by, group_of, past_of
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.retention.planning import NEWEST_SUCCEEDED, PROVED, RetentionPlan, plan_retention
from mainstay.recovery.retention.policy import Policy, kept_by
from mainstay.runner.verdict import Verdict

WEEK = [point(before(days=days)) for days in range(7)]
"""Newest first."""
LAST_2 = Policy(last=2)
PROVED_0 = [proof(WEEK[0], before())]


def planned(points: list[RecoveryPoint] = WEEK, policy: Policy = LAST_2, **more: Any) -> RetentionPlan:
    return plan_retention(points, policy, NOW, **{"zone": UTC, "proofs": PROVED_0, **more})


def ids(points: Any) -> list[str]:
    return [one.id if isinstance(one, RecoveryPoint) else one.point.id for one in points]


# --- the policy


@pytest.mark.parametrize(
    "wrong",
    [{}, {"last": 0}, {"daily": -1}, {"daily": True}, {"daily": "7"}, {"within": 30}, {"within": "0"}, {"keep": 3}],
)
def test_a_policy_that_can_not_be_meant_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Policy.model_validate(wrong)


def test_a_policy_goes_to_json_and_back() -> None:
    policy = Policy.model_validate({"daily": 7, "yearly": "all", "within": "30d"})
    assert Policy.from_json(policy.to_json()) == policy
    assert policy.counting == ("daily", "yearly")


def test_days_are_those_of_the_zone_and_so_are_weeks() -> None:
    late, early = datetime(2026, 3, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    assert kept_by(Policy(daily=2), [late, early]) == [("daily",), ("daily",)]
    assert kept_by(Policy(weekly=1), [late, early]) == [("weekly",), ()]  # a week begins on Monday
    local = [late.astimezone(berlin), early.astimezone(berlin)]
    assert kept_by(Policy(daily=2), local) == [("daily",), ("daily, the oldest there is",)]


def test_within_is_measured_in_hours_that_pass_not_in_what_clocks_show() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    after, ago = (datetime(2026, 10, day, 12, tzinfo=berlin) for day in (25, 24))  # 25 hours
    assert kept_by(Policy(within=24.5 * 3600), [after, ago]) == [("within",), ()]
    assert kept_by(Policy(within=25.5 * 3600), [after, ago]) == [("within",), ("within",)]


# --- the plan


def test_what_no_rule_keeps_is_removed() -> None:
    plan = planned()
    assert ids(plan.keep) == ids(WEEK[:2])
    assert ids(plan.remove) == ids(WEEK[2:])
    assert (plan.groups[0].before, plan.groups[0].after, plan.alarms) == (7, 2, ())


def test_days_are_those_of_the_plan() -> None:
    noon, night, evening = point("2026-03-02T11:00:00Z"), point("2026-03-01T23:30:00Z"), point("2026-03-01T20:00:00Z")
    plan = planned([noon, night, evening], Policy(daily=2), zone=ZoneInfo("Europe/Berlin"), promised=0)
    assert ids(plan.remove) == [night.id]  # in Berlin it was the 2nd already


def test_each_source_of_each_host_of_each_plan_counts_for_itself_whatever_its_paths() -> None:
    named = [{"host": "web2"}, {"source": "db"}, {"plan": "hourly"}, {"repository": "offsite"}]
    others = [point(before(days=days), **name) for name in named for days in range(3)]
    moved = [point(before(days=days), paths=(f"/etc{days}",)) for days in range(3)]
    plan = planned([*moved, *others], Policy(last=1), promised=0)
    assert len(plan.groups) == 5
    assert set(ids(plan.remove)) == set(ids([*moved[1:], *(one for n, one in enumerate(others) if n % 3)]))
    assert all(group.after == 1 for group in plan.groups)


def test_points_that_were_removed_before_count_no_more() -> None:
    gone = [one.model_copy(update={"removed_at": before()}) for one in WEEK[:3]]
    plan = planned([*gone, *WEEK[3:]], promised=0)
    assert ids(plan.keep) == ids(WEEK[3:5])


def test_degraded_points_do_not_push_out_the_last_that_succeeded() -> None:
    degraded = [point(before(days=days), verdict="degraded") for days in range(3)]
    plan = planned([*degraded, *WEEK[3:]], promised=0)
    assert ids(plan.keep) == ids([*degraded[:2], WEEK[3]])
    assert plan.keep[-1].reasons == (NEWEST_SUCCEEDED,)


def test_the_last_proved_point_stays_however_old() -> None:
    plan = planned(proofs=[proof(WEEK[6], before())], promised=0)
    assert ids(plan.keep) == ids([*WEEK[:2], WEEK[6]])
    assert plan.keep[-1].reasons == (PROVED,)


def test_a_proof_that_failed_or_of_another_repository_proves_nothing() -> None:
    failed = [proof(WEEK[6], before(), Verdict.FAILED)]
    copy = [proof(WEEK[6].model_copy(update={"repository": "offsite", "id": "c" * 64}), before())]
    for proofs in (failed, copy):
        plan = planned(proofs=proofs)
        assert plan.remove == ()
        assert "it has 0 proved points of 1 promised" in plan.groups[0].refused


def test_no_less_than_the_promised_number_of_proved_points_is_left() -> None:
    both = [proof(WEEK[4], before()), proof(WEEK[6], before())]
    assert ids(planned(proofs=both, promised=2).keep) == ids([*WEEK[:2], WEEK[4], WEEK[6]])
    plan = planned(proofs=both, promised=3)
    assert (plan.remove, ids(plan.keep)) == ((), ids(WEEK))
    assert ids(plan.groups[0].would_remove) == [WEEK[2].id, WEEK[3].id, WEEK[5].id]
    assert "2 proved points of 3" in plan.alarms[0]


def test_a_group_of_which_nothing_would_go_is_not_refused() -> None:
    plan = planned(WEEK[:2], proofs=[], promised=1)
    assert (plan.groups[0].refused, plan.alarms) == ("", ())


def test_points_from_the_future_are_not_counted_and_not_removed_and_are_an_alarm() -> None:
    ahead = [point(before(days=-days)) for days in (1, 400)]
    near = point(before(hours=-0.05))
    plan = planned([*ahead, near, *WEEK])
    assert ids(plan.keep) == ids([near, WEEK[0]])
    assert ids(plan.ignored) == ids([ahead[1], ahead[0]])
    assert plan.groups[0].after == 4
    assert [("24 h in the future" in words, "400 d in the future" in words) for words in plan.alarms] == [
        (False, True),
        (True, False),
    ]
    wider = planned([*ahead, near, *WEEK], skew=2 * 86400.0)
    assert ids(wider.ignored) == [ahead[1].id]


def test_in_an_append_only_repository_only_within_decides() -> None:
    plan = planned(policy=Policy(daily=7, within=86400.0), append_only=True)
    assert (plan.remove, "daily" in plan.refused, plan.alarms) == ((), True, (plan.refused,))
    assert ids(planned(policy=Policy(within=2.5 * 86400), append_only=True).remove) == ids(WEEK[3:])


def test_points_dated_back_push_out_nothing_under_within() -> None:
    forged = [point(before(days=days, hours=hour)) for days in range(7) for hour in range(1, 20)]
    policy = Policy(within=3.5 * 86400)
    kept = set(ids(planned([*WEEK, *forged], policy, append_only=True).keep))
    assert set(ids(WEEK[:4])) <= kept


@pytest.mark.parametrize(("groups", "at_the_last_time", "refused"), [(12, 6, False), (13, 6, True), (7, 2, False)])
def test_nothing_goes_when_there_are_suddenly_many_more_groups(
    groups: int, at_the_last_time: int, refused: bool
) -> None:
    many = [point(before(days=days), host=f"h{number}") for number in range(groups) for days in range(4)]
    plan = planned(many, promised=0, groups_before=at_the_last_time)
    assert (bool(plan.refused), bool(plan.remove)) == (refused, not refused)
    assert planned(many, promised=0).remove


def test_an_anomaly_that_nobody_has_looked_at_blocks_its_own_source_alone() -> None:
    odd = WEEK[0].model_copy(update={"anomalies": ("1 MB, 99 % less",), "verdict": Verdict.DEGRADED})
    others = [point(before(days=days), source="db") for days in range(7)]
    points = [odd, *WEEK[1:], *others]
    blocked = blocked_by(points, [])
    assert list(blocked) == [group_of(odd)]
    assert odd.run in blocked[group_of(odd)]
    plan = planned(points, promised=0, blocked=blocked)
    assert ids(plan.remove) == ids(others[2:])
    assert plan.alarms == (f"web1 etc: {blocked[group_of(odd)]}",)
    for ack in (Ack(odd.run, "", "", "anna", before(), "moved"), Ack(odd.id, "web1", "etc", "anna", before(), "moved")):
        assert blocked_by(points, [ack]) == {}
        assert [past.acknowledged for past in past_of([odd], [ack])] == [True]
    for ack in (Ack(odd.run, "web2", "", "anna", before(), "?"), Ack("other", "", "", "anna", before(), "?")):
        assert blocked_by(points, [ack]) == blocked
        assert acknowledged(points, [ack]) == set()
    assert blocked_by([odd.model_copy(update={"removed_at": before()})], []) == {}


def test_who_has_looked_at_one_anomaly_has_looked_at_those_before_it_and_at_none_after() -> None:
    odd = [one.model_copy(update={"anomalies": (f"{n}",)}) for n, one in enumerate(WEEK[:3])]
    other = point(before(), source="db", anomalies=("less",), run=odd[0].run)
    points = [*odd, *WEEK[3:], other]

    def blocked(item: str, source: str = "") -> list[str]:
        return [words[0] for words in blocked_by(points, [Ack(item, "", source, "anna", before(), "moved")]).values()]

    assert blocked("none") == ["l", "0"] or blocked("none") == ["0", "l"]
    assert blocked(odd[0].run) == []  # the newest, which is the one that is named; and db's, which the same run made
    assert blocked(odd[0].run, "etc") == ["l"]
    assert sorted(blocked(odd[1].run)) == ["0", "l"]
    assert sorted(blocked(WEEK[3].run)) == ["0", "l"]  # nothing was odd in it, nobody has looked at anything
    assert [past.acknowledged for past in past_of(odd, [Ack(odd[1].id, "", "", "anna", before(), "")])] == [
        False,
        True,
        True,
    ]


def test_an_anomaly_is_acknowledged_with_all_copies_of_its_point() -> None:
    odd = WEEK[0].model_copy(update={"anomalies": ("less",)})
    copy = odd.model_copy(update={"id": "c" * 64, "repository": "offsite", "copy_of": odd.id, "run": "copy-1"})
    assert blocked_by([odd, copy], [Ack(odd.id, "", "", "anna", before(), "moved")]) == {}
    assert blocked_by([copy], [Ack(odd.id, "", "", "anna", before(), "moved")]) == {}


def test_a_copy_is_proved_with_its_original() -> None:
    copies = [one.model_copy(update={"id": one.id[::-1], "repository": "offsite", "copy_of": one.id}) for one in WEEK]
    plan = planned(copies, proofs=[proof(WEEK[5], before())])
    assert ids(plan.keep) == ids([*copies[:2], copies[5]])
    assert planned(copies, proofs=[proof(WEEK[5], before(), Verdict.FAILED)]).remove == ()


def test_history_is_of_what_was_made_not_of_copies() -> None:
    made = point(before(), files=3, bytes=4, changed=2, removed_at=before())
    (past,) = past_of([made, point(before(), copy_of=made.id)], [])
    assert (past.files, past.bytes, past.changed, past.anomalous) == (3, 4, 2, False)


def test_a_plan_goes_to_json_and_back() -> None:
    plan = planned([*WEEK, point(before(days=-3))], promised=2)
    assert RetentionPlan.from_json(plan.to_json()) == plan


# --- properties

MOMENTS = st.integers(-3, 900).map(lambda days: before(days=days))
POINTS = st.lists(
    st.builds(
        point,
        at=MOMENTS | st.just(before(hours=5)),
        host=st.sampled_from(["web1", "web2"]),
        source=st.sampled_from(["etc", "db"]),
        verdict=st.sampled_from([Verdict.SUCCEEDED, Verdict.DEGRADED]),
        run=st.uuids().map(str),
    ),
    max_size=30,
)
COUNT = st.integers(0, 4)
POLICIES = st.builds(
    lambda **rules: Policy(**(rules if any(rules.values()) else {"last": 1})),
    last=COUNT,
    daily=COUNT,
    weekly=COUNT,
    monthly=COUNT,
    yearly=COUNT | st.just("all"),
    within=st.sampled_from([0.0, 86400.0, 40 * 86400.0]),
)


@given(POINTS, POLICIES, st.data(), st.integers(0, 3), st.booleans())
def test_what_may_never_go_never_goes(
    points: list[RecoveryPoint], policy: Policy, data: st.DataObject, promised: int, append_only: bool
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(points), unique_by=lambda one: one.id)) if points else []
    proofs = [proof(one, before(), data.draw(st.sampled_from([Verdict.SUCCEEDED, Verdict.FAILED]))) for one in chosen]
    plan = planned(points, policy, proofs=proofs, promised=promised, append_only=append_only)
    removed = set(ids(plan.remove))

    assert Counter(ids([*plan.keep, *plan.remove, *plan.ignored])) == Counter(ids(points))  # each once, none forgotten
    assert all(kept.reasons for kept in plan.keep)
    assert not (append_only and policy.counting and removed)
    for group in set(map(group_of, points)):
        mine = sorted((one for one in points if group_of(one) == group), key=lambda one: (one.at, one.id))
        past = [one for one in mine if datetime.fromisoformat(one.at) <= NOW + timedelta(minutes=5)]
        left = [one for one in past if one.id not in removed]
        assert not removed & {one.id for one in mine if one not in past}
        assert left or not past
        proved = {one.point for one in proofs if one.verdict is Verdict.SUCCEEDED}
        if len(left) < len(past):
            assert sum(one.id in proved for one in left) >= promised
        succeeded = {one.id for one in past if one.verdict is Verdict.SUCCEEDED}
        for known in (proved, succeeded):
            assert not removed.intersection([one.id for one in past if one.id in known][-1:])
        assert not past or past[-1].id not in removed


@given(POINTS, POLICIES, st.randoms())
def test_the_order_in_which_points_come_does_not_matter(points: list[RecoveryPoint], policy: Policy, any: Any) -> None:
    shuffled = [*points]
    any.shuffle(shuffled)
    assert planned(shuffled, policy, promised=0) == planned(points, policy, promised=0)


@given(POINTS, POLICIES)
def test_what_was_kept_is_kept_when_asked_again(points: list[RecoveryPoint], policy: Policy) -> None:
    """Otherwise the history would melt away with every look, without a single new point."""
    plan = planned(points, policy, promised=0)
    left = [kept.point for kept in plan.keep] + [one.point for one in plan.ignored]
    assert planned(left, policy, promised=0).remove == ()


def test_a_point_dated_ahead_that_somebody_has_looked_at_covers_nothing_that_comes_after() -> None:
    """Whoever has root on a host sets its clock ahead once, and has all that he does later looked at in advance."""
    ahead = point(before(days=-400), made_at=before(days=3), anomalies=("odd",))
    ack = Ack(ahead.run, "", "", "anna", before(days=2), "the clock was wrong")
    later = point(before(days=1), anomalies=("99 % of the files changed at once",))
    assert acknowledged([ahead, later], [ack]) == {("main", ahead.id)}
    assert list(blocked_by([ahead, later], [ack])) == [group_of(later)]

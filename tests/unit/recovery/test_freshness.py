"""How old the newest backup is and the newest proved one, and whether a plan's requirement holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.recovery.points import NOW, before, point, proof

from mainstay.recovery.freshness import Exposure, copies_missing, exposures, unmet
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.runner.plan import BackupRequired
from mainstay.runner.verdict import Verdict

HOUR, DAY = 3600.0, 86400.0
MONDAY, TUESDAY, WEDNESDAY = (point(before(hours=hours)) for hours in (58, 34, 10))
ETC = ("web1", "nightly", "etc")


def degraded(one: RecoveryPoint) -> RecoveryPoint:
    return one.model_copy(update={"verdict": Verdict.DEGRADED})


def only(points: list[RecoveryPoint], proofs: Any = (), **more: Any) -> Exposure:
    (one,) = exposures(points, proofs, NOW, **more)
    return one


def asks(found: list[Exposure] | Exposure, **required: Any) -> tuple[str, ...]:
    return unmet(BackupRequired(**required), "web1", [found] if isinstance(found, Exposure) else found)


# The example of docs/reference/backups.md, "Fresh, and proved".


def test_the_age_of_a_point_and_the_time_since_a_proof_are_two_things() -> None:
    """Backed up every night at 02:00; on Wednesday at noon, Monday's point is restored on Wednesday at 11."""
    one = only([MONDAY, TUESDAY, WEDNESDAY], [proof(MONDAY, before(hours=1))])
    assert (one.newest, one.since_newest) == (WEDNESDAY, 10 * HOUR)
    assert (one.proved, one.since_proved) == (MONDAY, 58 * HOUR)
    assert one.since_proof == HOUR
    assert asks(one, newer_than=24 * HOUR, proved_within=30 * DAY) == ()
    assert asks(one, newer_than=24 * HOUR, proved_within=0.5 * HOUR) == (
        "etc: a restore last proved a point 1 h ago, within 30 min is required",
    )


def test_a_degraded_point_does_not_make_it_newer_unless_accepted() -> None:
    one = only([TUESDAY, degraded(WEDNESDAY)])
    (words,) = asks(one, newer_than=24 * HOUR)
    assert words == (
        "etc: the newest point that succeeded is 34 h old, newer than 24 h is required; "
        "a degraded one is newer (accept_degraded: true would take it)"
    )
    assert asks(one, newer_than=24 * HOUR, accept_degraded=True) == ()
    assert asks(one, newer_than=35 * HOUR) == ()
    assert "no point has succeeded" in asks(only([degraded(WEDNESDAY)]), newer_than=24 * HOUR)[0]
    assert asks(one, newer_than=9 * HOUR, accept_degraded=True)[0].startswith("etc: the newest point is 10 h old")


def test_a_degraded_point_can_be_proved_and_a_proof_that_failed_proves_nothing() -> None:
    points = [degraded(WEDNESDAY)]
    assert asks(only(points, [proof(WEDNESDAY, before(hours=1))]), proved_within=DAY) == ()
    assert asks(only(points, [proof(WEDNESDAY, before(hours=1), Verdict.DEGRADED)]), proved_within=DAY) == ()
    for verdict in (Verdict.FAILED, Verdict.UNKNOWN, Verdict.CANCELLED):
        (words,) = asks(only(points, [proof(WEDNESDAY, before(hours=1), verdict)]), proved_within=DAY)
        assert "no restore has proved" in words


def test_a_proof_of_what_is_no_longer_there_counts_no_more() -> None:
    gone = MONDAY.model_copy(update={"removed_at": before()})
    one = only([gone, WEDNESDAY], [proof(MONDAY, before(hours=1))])
    assert (one.proved, one.since_proof) == (None, None)


def test_a_proof_in_another_repository_counts_for_the_source_where_its_point_is_still_there() -> None:
    copy = point(before(hours=10), repository="offsite", copy_of=WEDNESDAY.id)
    one = only([WEDNESDAY, copy], [proof(copy, before(hours=2)), proof(copy, before(hours=5))])
    assert (one.since_proof, one.since_proved) == (2 * HOUR, 10 * HOUR)
    assert only([WEDNESDAY], [proof(copy, before(hours=2))]).since_proof is None


def test_points_and_proofs_from_the_future_never_count() -> None:
    future = point(before(hours=-1))
    one = only([TUESDAY, future], [proof(future, before(hours=1)), proof(TUESDAY, before(hours=-1))])
    assert (one.newest, one.since_proof) == (TUESDAY, None)
    assert exposures([future], [], NOW) == []
    slightly = only([point(before(hours=-0.05))], [])
    assert slightly.since_newest == 0.0  # clocks may be some minutes apart


def test_every_declared_source_is_asked_for_and_no_other() -> None:
    renamed = point(before(days=300), source="conf")
    other = point(before(), host="web2")
    db = ("web1", "nightly", "db")
    found = exposures([WEDNESDAY, renamed, other], [], NOW, declared=[ETC, db])
    assert [one.group for one in found] == [db, ETC]
    assert asks(found, newer_than=DAY) == ("db: there is no point",)
    assert asks(found, proved_within=DAY)[0].startswith("db: no restore has proved a point")
    assert len(exposures([WEDNESDAY, renamed, other], [], NOW)) == 3


def test_a_host_that_nobody_backs_up_has_no_backup() -> None:
    assert asks([], newer_than=DAY) == ("web1 is not backed up",)
    assert asks([only([WEDNESDAY])], newer_than=DAY, plan="weekly") == ("web1 is not backed up by weekly",)
    assert asks([only([WEDNESDAY])], newer_than=DAY, plan="nightly") == ()


def test_each_database_of_a_source_counts_by_itself_until_one_is_said_to_be_gone() -> None:
    old = point(before(days=9), source="db", item="old", run="r1")
    new = point(before(hours=3), source="db", item="orders", run="r2")
    declared = [("web1", "nightly", "db")]
    (words,) = asks(exposures([old, new], [], NOW, declared=declared), newer_than=DAY)
    assert words.startswith("db/old: the newest point that succeeded is 9 d old")
    gone = [Ack(old.id, "", "", "anna", before(), "dropped")]
    assert [one.source for one in exposures([old, new], [], NOW, declared=declared, acks=gone)] == ["db/orders"]
    still = point(before(hours=3), source="db", item="old", run="r2")
    assert len(exposures([old, still, new], [], NOW, acks=[Ack(still.id, "", "", "anna", before(), "?")])) == 2


TIMES = st.integers(-100, 3000)


@given(st.lists(st.tuples(TIMES, st.booleans(), st.none() | TIMES), max_size=12), st.integers(1, 2000))
def test_more_points_and_later_proofs_never_make_it_older(
    made: list[tuple[int, bool, int | None]], required: int
) -> None:
    points = [
        point(before(hours=hours), run=str(number), verdict=Verdict.SUCCEEDED if well else Verdict.DEGRADED)
        for number, (hours, well, _) in enumerate(made)
    ]
    proofs = [proof(one, before(hours=at)) for one, (_, _, at) in zip(points, made, strict=True) if at is not None]
    there = [(hours, well, at) for hours, well, at in made if hours >= 0]
    found = exposures(points, proofs, NOW, declared=[ETC])
    (one,) = found
    assert one.since_newest == min((hours * HOUR for hours, *_ in there), default=None)
    assert one.since_succeeded == min((hours * HOUR for hours, well, _ in there if well), default=None)
    assert one.since_proof == min((at * HOUR for *_, at in there if at is not None and at >= 0), default=None)
    young = any(well and hours <= required for hours, well, _ in there)
    assert (asks(found, newer_than=required * HOUR) == ()) == young


# --- copies


def missing(points: list[RecoveryPoint], **wanted: float) -> list[str]:
    return [one.reason for one in copies_missing(points, wanted, NOW)]


def copy(one: RecoveryPoint, to: str = "offsite", hours: float = 0) -> RecoveryPoint:
    made = point(one.at, repository=to, copy_of=one.id, source=one.source)
    return made.model_copy(update={"made_at": before(hours=hours)})


def test_each_place_that_has_not_the_newest_point_is_named() -> None:
    points = [TUESDAY, WEDNESDAY, copy(TUESDAY)]
    assert missing(points, main=0.0, offsite=0.0) == ["etc: offsite is 24 h behind"]
    assert missing([WEDNESDAY], main=0.0, offsite=0.0, tape=0.0) == ["etc: nothing in offsite", "etc: nothing in tape"]
    assert missing([*points, copy(WEDNESDAY)], main=0.0, offsite=0.0) == []
    (one,) = copies_missing(points, {"offsite": 0.0}, NOW)
    assert (one.newest, one.behind) == (points[2], DAY)


def test_a_copy_has_its_time_before_it_is_missed() -> None:
    assert missing([WEDNESDAY], offsite=11 * HOUR) == []
    assert missing([WEDNESDAY], offsite=10 * HOUR) == ["etc: nothing in offsite"]
    # the newest may be on its way, the one before it not any more
    assert missing([MONDAY, TUESDAY, WEDNESDAY, copy(MONDAY)], offsite=DAY) == ["etc: offsite is 2 d behind"]
    assert missing([MONDAY, TUESDAY, WEDNESDAY, copy(TUESDAY)], offsite=DAY) == []


def test_copies_of_a_copy_that_retention_removed_are_not_there() -> None:
    removed = copy(WEDNESDAY).model_copy(update={"removed_at": before()})
    assert missing([WEDNESDAY, removed], offsite=0.0) == ["etc: nothing in offsite"]


def test_a_point_that_the_first_place_has_lost_is_no_reason_when_it_is_in_the_other() -> None:
    lost = WEDNESDAY.model_copy(update={"removed_at": before()})
    assert missing([TUESDAY, lost, copy(TUESDAY), copy(WEDNESDAY)], main=0.0, offsite=0.0) == []


@pytest.mark.parametrize("skewed", [timedelta(minutes=4), timedelta(hours=4)])
def test_now_is_what_is_given(skewed: timedelta) -> None:
    (one,) = exposures([WEDNESDAY], [], NOW + skewed)
    assert one.since_newest == 10 * HOUR + skewed.total_seconds()

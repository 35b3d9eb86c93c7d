"""How a source stands: what is not known is never well, and one fault is told once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.recovery.points import NOW, before, point, proof

from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.standing import Standing, Trouble, standings, worst
from mainstay.runner.verdict import Verdict

DAY = 86400.0


def plan(**more: Any) -> BackupPlan:
    given = {"name": "nightly", "targets": "all", "repository": "main", "sources": {"etc": {"paths": ["/etc"]}}, **more}
    return BackupPlan.model_validate(given)


def stand(
    points: list[RecoveryPoint], proofs: list[Proof] | None = None, acks: list[Ack] | None = None, **more: Any
) -> list[Standing]:
    given = {"interval": DAY, "copy_lags": {}, **more}
    of = given.pop("plan", plan())
    return standings(of, {"web1"}, points, proofs or [], NOW, acks=acks or [], **given)


def kinds(found: list[Standing]) -> list[str]:
    return [trouble.kind for one in found for trouble in one.troubles]


def test_every_declared_source_is_there_with_a_point_or_without() -> None:
    both = plan(sources={"etc": {"paths": ["/etc"]}, "db": {"paths": ["/db"]}})
    made = point(before(hours=5))
    found = stand([made, point(before(hours=1), host="web2"), point(before(hours=1), plan="weekly")], plan=both)
    assert [(one.source, one.exposure.newest) for one in found] == [("db", None), ("etc", made)]
    assert [one.health for one in found] == ["wrong", "look"]
    assert kinds(found) == ["no recovery point", "never proved"]
    assert [one.hint for one in found[1].troubles] == ["mainstay prove nightly --hosts web1"]


def test_each_item_of_a_source_stands_for_itself() -> None:
    fresh, late = point(before(hours=5), item="orders"), point(before(days=4), item="users")
    found = stand(
        [fresh, late], [proof(one, before(days=1)).model_copy(update={"item": one.item}) for one in (fresh, late)]
    )
    assert [(one.source, one.health) for one in found] == [("etc/orders", "well"), ("etc/users", "wrong")]


def test_an_item_that_is_gone_for_good_is_left_out_once_somebody_has_said_so() -> None:
    there = point(before(hours=5), item="orders", run="night-9")
    gone = point(before(days=4), item="users", run="night-5")
    proofs = [proof(one, before(days=1)).model_copy(update={"item": one.item}) for one in (there, gone)]
    (_, late) = stand([there, gone], proofs)
    assert f"if it is gone for good: mainstay records ack {gone.id[:12]}" in late.troubles[0].hint
    (left,) = stand([there, gone], proofs, [Ack(gone.id, "web1", "etc/users", "anna", before(), "dropped")])
    assert (left.source, left.health) == ("etc/orders", "well")


@pytest.mark.parametrize(
    ("fresh", "interval", "hours", "kind"),
    [
        (None, DAY, 35, None),
        (None, DAY, 37, "older than promised"),
        (26 * 3600.0, DAY, 27, "older than promised"),
        (26 * 3600.0, None, 25, None),
        (None, None, 1, "no promise of its age"),
    ],
)
def test_what_is_promised(fresh: float | None, interval: float | None, hours: float, kind: str | None) -> None:
    made = point(before(hours=hours))
    found = stand([made], [proof(made, before(hours=0))], plan=plan(fresh=fresh), interval=interval)
    assert kinds(found) == ([kind] if kind else [])


def test_a_plan_that_proves_nothing_is_not_blamed_for_it_and_never_called_proved() -> None:
    (one,) = stand([point(before(hours=5))], plan=plan(prove=None))
    assert (one.troubles, one.proof, one.prove_every) == ((), None, None)


def test_of_an_anomaly_and_its_copy_one_is_told_and_looked_at_by_either() -> None:
    odd = point(before(hours=5), anomalies=["less"], verdict="degraded", run="night-1")
    copy = odd.model_copy(update={"id": "c" * 64, "repository": "offsite", "copy_of": odd.id, "run": "copy-1"})
    proofs = [proof(odd, before(hours=1))]
    (one,) = stand([copy, odd], proofs, copy_lags={"offsite": DAY})
    assert one.anomalies == (odd,)
    assert kinds([one]) == ["an anomaly that nobody has acknowledged"]
    assert "mainstay records ack night-1" in one.troubles[0].hint
    for ack in (
        Ack("night-1", "", "", "anna", before(), "r"),
        Ack(odd.id, "web1", "etc", "anna", before(), "r"),
    ):
        (one,) = stand([copy, odd], proofs, [ack], copy_lags={"offsite": DAY})
        assert (one.anomalies, one.troubles) == ((), ()), ack
    (one,) = stand([copy, odd], proofs, [Ack("night-1", "web2", "", "anna", before(), "r")])
    assert kinds([one]) == ["an anomaly that nobody has acknowledged"]


def test_a_degraded_point_is_looked_at_by_its_run() -> None:
    old, new = point(before(days=1)), point(before(hours=5), verdict="degraded", unreadable=1, run="night-1")
    proofs = [proof(old, before(hours=1))]
    assert kinds(stand([old, new], proofs)) == ["the newest point is degraded"]
    assert kinds(stand([old, new], proofs, [Ack("night-1", "web1", "etc", "anna", before(), "r")])) == []


def test_one_that_was_taken_over_asks_for_a_backup_since_its_run_is_not_known_here() -> None:
    taken = point(before(hours=5), verdict="degraded", run="theirs", measures={"adopted": "R"})
    (one,) = stand([taken], [proof(taken, before(hours=1))])
    (trouble,) = one.troubles
    assert (trouble.text, trouble.hint) == (
        "the newest point is degraded: how its backup ended is not known here",
        "mainstay run nightly --hosts web1",
    )


def test_a_failed_restore_is_wrong_until_one_proves_it_or_somebody_has_looked() -> None:
    made = point(before(hours=5))
    good = proof(made, before(days=1))
    bad = proof(made, before(hours=3), Verdict.FAILED).model_copy(update={"run": "drill-2", "reason": "no rows"})
    (one,) = stand([made], [bad, good])
    assert (one.health, one.proof, one.failed) == ("wrong", good, bad)
    assert one.troubles[0].text == "the last restore did not prove it: no rows"
    assert kinds(stand([made], [good, bad], [Ack("drill-2", "", "", "anna", before(), "r")])) == []
    again = proof(made, before(hours=1)).model_copy(update={"run": "drill-3"})
    assert kinds(stand([made], [good, bad, again])) == []
    lost = bad.model_copy(update={"verdict": Verdict.UNKNOWN})
    assert stand([made], [good, lost])[0].health == "unknown"


def test_points_of_the_future_and_removed_ones_count_for_nothing() -> None:
    gone = point(before(hours=2), removed_at=before(hours=1), removed_by="r")
    assert kinds(stand([point(before(days=-3)), gone])) == ["no recovery point"]


def test_the_worst_of_several() -> None:
    assert worst([]) == "well"
    assert worst(["look", "unknown", "well"]) == "unknown"
    assert worst(["unknown", "wrong"]) == "wrong"
    assert Trouble(health="look", kind="k", text="t").host == ""

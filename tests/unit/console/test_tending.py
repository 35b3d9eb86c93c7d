"""What the daemon does at repositories by itself: what is due, what is not again, and in whose name."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import part
from tests.unit.console.keeping import SITE, ago, point, proof, well
from tests.unit.console.repositories import HOSTS, Keeping, again, keeping

from mainstay.console import bootstrap, tending
from mainstay.recovery.points.contract import Tended
from mainstay.runner.verdict import Verdict


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    return keeping(tmp_path, monkeypatch)


def test_the_daemon_asks_once_for_what_is_due(app: Keeping) -> None:
    newest = point("web1", 5)
    app.points.add_point(newest)
    first = tending.tend(app)
    kinds = [one.kind for one in app.runs.requests]
    assert kinds == ["copy", "prune", "check", "prune", "check", "drill"]
    assert {host.name for one in app.runs.requests for host in one.hosts} == {"web1"}
    assert {one.trigger for one in app.runs.requests} == {"clock"}
    assert app.runs.offered == first
    assert tending.tend(app) == [], "another daemon in the same hour gives the same ids"
    assert len(app.runs.requests) == 6


def test_what_was_proved_in_time_is_not_proved_again(app: Keeping) -> None:
    newest = point("web1", 5)
    app.points.add_point(newest)
    app.points.add_proof(proof(newest, 6.9))
    tending.tend(app)
    assert "drill" not in [one.kind for one in app.runs.requests]


def test_where_all_is_well_and_tended_nothing_is_due(app: Keeping) -> None:
    well(app, *HOSTS)
    for host in HOSTS:
        for what, place, subject in [
            ("copy", "offsite", "nightly"),
            *((w, p, "") for w in ("prune", "check") for p in ("main", "offsite")),
        ]:
            part = "1/23" if what == "check" else ""
            app.points.note_tended(Tended(place, host, what, subject, part, "R", ago(1), "succeeded"))  # type: ignore[arg-type]
    assert tending.tend(app) == []


def test_what_takes_longer_than_an_hour_is_not_asked_for_again(app: Keeping) -> None:
    app.points.add_point(point("web1", 5))
    first = tending.tend(app)
    app.hours = 1
    assert tending.tend(app) == []
    for run in first:
        app.state.set_run(run, state="ended", ended_at=ago(-1))
    app.hours = 1.9
    assert tending.tend(app) == []
    app.hours = 2
    again = tending.tend(app)
    assert len(again) == len(first), "what has ended without being done is asked for again"
    for run in again:
        app.state.set_run(run, state="ended", ended_at=ago(-2.5))
    app.hours = 4
    assert tending.tend(app) == [], "after a delay that grows"
    app.hours = 4.5
    assert len(tending.tend(app)) == len(first)


def test_what_broke_off_without_a_word_is_told(app: Keeping, mainstay: Mainstay) -> None:
    app.points.add_point(point("web1", 5))
    for run in tending.tend(app):
        app.state.set_run(run, state="ended", ended_at=ago(-0.1))
    app.hours = 0.5
    tending.tend(app)
    out = " ".join(mainstay("points", "web1").out.split())
    assert "prune at main did not succeed: its run ended without having done it" in out


def test_what_was_called_off_is_begun_by_itself_at_its_next_time_and_by_hand_at_once(app: Keeping) -> None:
    """Whoever cancels a check at ten does not want it at eleven."""
    app.points.add_point(point("web1", 5))
    first = tending.tend(app)
    for run in first:
        app.state.wish(run, "cancel", by="anna@ops1", reason="too slow today")
        app.state.note_outcome(run, "web1", Verdict.CANCELLED)
        app.state.set_run(run, state="ended", ended_at=ago(-0.5))
    for app.hours in (1, 5, 24.4):
        assert tending.tend(app) == [], app.hours
    (noted,) = (one for one in app.points.tended() if (one.what, one.repository) == ("check", "main"))
    assert (noted.part, noted.detail) == ("cancelled", "called off by anna@ops1")
    plan = tending.backup_plans(app)[0]
    assert tending.by_hand(app, plan, "check", "main", None, app.asking()).hosts
    app.hours = 24.5
    tending.tend(app)
    kinds = [one.kind for one in app.runs.requests[len(first) :]]
    assert kinds == ["copy", "check", "check"], "prune and proofs have a week"


SECOND = """\
  aside:
    kind: backup
    targets: role=web
    repository: main
    sources: {opt: {paths: [/opt]}}
    prove: null
"""


def test_two_plans_with_one_repository_have_it_pruned_and_checked_once(app: Keeping) -> None:
    app = again(app, **{"schedules/backup.yml": SITE["schedules/backup.yml"] + SECOND})
    app.points.add_point(point("web1", 5))
    app.points.add_point(point("web1", 5, "opt", plan="aside"))
    tending.tend(app)
    at_main = [one.kind for one in app.runs.requests if one.operation.get("repository") == "main"]
    assert sorted(at_main) == ["check", "prune"]


def test_a_plan_that_can_not_be_tended_keeps_no_other_from_it(app: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    app.points.add_point(point("web1", 5))
    nightly = tending.backup_plans(app)[0]
    nobodys = nightly.model_copy(update={"name": "aside", "targets": "role=none"})
    monkeypatch.setattr(tending, "backup_plans", lambda app: [nobodys, nightly])
    assert len(tending.tend(app)) == 6


@pytest.mark.parametrize("asked", [{"plan": {"name": "nightly", "no such key": 1}, "repository": "main"}, {}])
def test_a_run_that_another_version_was_asked_for_keeps_no_plan_from_its_turn(app: Keeping, asked: Any) -> None:
    app.points.add_point(point("web1", 5))
    first = tending.tend(app)
    made = app.state.run(first[0])
    assert made is not None
    for run in first:
        app.state.set_run(run, state="ended", ended_at=ago(-0.1))
    for id, state, ended in (("R-there", "running", None), ("R-gone", "ended", ago(-0.1))):
        told = made.request | {"id": id, "operation": asked}
        app.state.add_run(made.model_copy(update={"id": id, "request": told, "state": state, "ended_at": ended}))
    app.hours = 30
    assert len(tending.tend(app)) == len(first)


def test_what_a_plan_has_taken_over_is_handed_to_it_before_anything_else(app: Keeping) -> None:
    renamed = again(app, **{"schedules/backup.yml": SITE["schedules/backup.yml"] + "    renamed_from: before\n"})
    renamed.points.add_point(point("web1", 5, plan="before"))
    tending.tend(renamed)
    assert [one.plan for one in renamed.points.points()] == ["nightly"]


def test_a_copy_in_a_window_at_each_hosts_own_time_goes_by_the_sites(app: Keeping) -> None:
    site = SITE["schedules/backup.yml"].replace("copies: [offsite]", "copies: [{to: offsite, window: day}]")
    day = '  day: {rrule: "FREQ=DAILY", start: "00:00", duration: 23h, timezone: host}\nplans:'
    app = again(app, **{"schedules/backup.yml": site.replace("plans:", day)})
    app.points.add_point(point("web1", 5))
    tending.tend(app)
    assert "copy" in [one.kind for one in app.runs.requests]


def test_points_are_not_all_read_to_see_what_is_to_be_proved(app: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    well(app, *HOSTS)

    def all_of_them(**given: Any) -> Any:
        raise AssertionError("every point of the fleet is read")

    monkeypatch.setattr(app.points, "newest", copy(app.points).newest)
    monkeypatch.setattr(app.points, "points", all_of_them)
    tending.tend(app)
    assert "drill" not in [one.kind for one in app.runs.requests]


def test_of_a_shared_repository_one_host_is_asked_and_of_others_each_in_its_order(app: Keeping) -> None:
    plan = tending.backup_plans(app)[0]
    asked = tending.by_hand(app, plan, "prune", "main", None, app.asking())
    assert [host.name for host in asked.hosts] == [host.name for host in app.targets(plan)]
    url = plan.repositories["main"].model_copy(update={"url": "/srv/all"})
    shared = plan.model_copy(update={"repositories": {**plan.repositories, "main": url}})
    asked = tending.by_hand(app, shared, "prune", "main", None, app.asking())
    assert [host.name for host in asked.hosts] == [app.targets(plan)[0].name]


def test_a_point_from_the_future_is_not_what_is_proved(app: Keeping) -> None:
    """Whoever has root on a host would have the same point tried for ever, and no later one proved."""
    there, ahead = point("web1", 5), point("web1", -500)
    for one in (ahead, there):
        app.points.add_point(one)
    tending.tend(app)
    (drill,) = (one for one in app.runs.requests if one.kind == "drill")
    assert [one["id"] for one in drill.operation["points"]["web1"]] == [there.id]


def drilled_on(app: Keeping, machine: str) -> Keeping:
    return again(
        app, **{"schedules/backup.yml": SITE["schedules/backup.yml"].replace("every: 7d", f"every: 7d, on: {machine}")}
    )


def drills(app: Keeping, asked: list[str]) -> dict[str, str]:
    """Of those that were asked for: whose points → id."""
    found = [one for one in app.runs.requests if one.kind == "drill" and one.id in asked]
    assert all([host.name for host in one.hosts] == ["db1"] and not one.errand for one in found)
    return {host: one.id for one in found for host in one.operation["points"]}


@pytest.mark.parametrize("shared", [False, True])
def test_what_another_machine_proves_is_a_run_for_each_host_and_that_hosts_own_to_try_again(
    app: Keeping, shared: bool
) -> None:
    app = drilled_on(app, "db1")
    if shared:
        all_in_one = SITE["recovery/repositories.yml"].replace(
            "'/srv/restic/{host}', password: 'file:keys/{host}'",
            "/srv/restic, password: 'file:keys/web1', shared: accepted",
        )
        app = again(app, **{"recovery/repositories.yml": all_in_one})
    for host in ("web1", "web2"):
        app.points.add_point(point(host, 5))
    first = drills(app, tending.tend(app))
    assert sorted(first) == ["web1", "web2"] and len(set(first.values())) == 2
    app.hours = 1
    assert drills(app, tending.tend(app)) == {}, "they are in hand"
    # web1's was refused, as db1 was away; web2's goes on.
    app.state.note_outcome(first["web1"], "db1", Verdict.REFUSED)
    app.state.set_run(first["web1"], state="ended", ended_at=ago(-1))
    app.hours = 1.5
    assert drills(app, tending.tend(app)) == {}
    (noted,) = [one for one in app.points.tended() if one.what == "prove"]
    assert (noted.host, noted.part, noted.tries) == ("web1", "failed", 1)
    assert noted.detail == "its run ended refused without having done it"
    app.hours = 2.5
    assert sorted(drills(app, tending.tend(app))) == ["web1"]


def test_no_more_drills_wait_for_one_machine_than_it_can_hear(app: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "QUEUED", 1)
    app = drilled_on(app, "db1")
    for host in ("web1", "web2"):
        app.points.add_point(point(host, 5))
    (first,) = drills(app, tending.tend(app)).items()
    assert drills(app, tending.tend(app)) == {}
    app.points.note_tended(Tended("main", first[0], "prove", "nightly", "", first[1], ago(), "succeeded"))
    app.state.set_run(first[1], state="ended", ended_at=ago())
    (second,) = drills(app, tending.tend(app)).items()
    assert {first[0], second[0]} == {"web1", "web2"}, "in the same hour too"


def test_a_drill_elsewhere_that_said_how_it_went_is_not_told_of_again(app: Keeping) -> None:
    app = drilled_on(app, "db1")
    app.points.add_point(point("web1", 5))
    (run,) = drills(app, tending.tend(app)).values()
    app.points.note_tended(Tended("main", "web1", "prove", "nightly", "", run, ago(-0.5), "failed"))
    app.state.note_outcome(run, "db1", Verdict.FAILED)
    app.state.set_run(run, state="ended", ended_at=ago(-0.5))
    app.hours = 0.6
    tending.tend(app)
    assert [one.part for one in app.points.tended() if one.what == "prove"] == [""]


def test_each_host_on_itself_is_one_run(app: Keeping) -> None:
    app = drilled_on(app, "host")
    for host in ("web1", "web2"):
        app.points.add_point(point(host, 5))
    asked = tending.tend(app)
    (drill,) = [one for one in app.runs.requests if one.kind == "drill"]
    assert drill.id in asked and [host.name for host in drill.hosts] == ["web1", "web2"] and not drill.errand
    app.hours = 0.9
    assert drill.id not in tending.tend(app)


def test_a_lock_that_a_drill_elsewhere_has_left_is_of_that_machine(app: Keeping) -> None:
    app = drilled_on(app, "db1")
    app.points.add_point(point("web1", 5))
    (run,) = drills(app, tending.tend(app)).values()
    told = part("db1", measures={"job": {"hostname": "db1.example"}})
    app.state.write_part(run, told)
    (worked,) = [one for one in tending.Past(app)("web1") if one.run == run]
    assert {"db1", "db1.example"} <= worked.machines and "web1" not in worked.machines
    assert run not in [one.run for one in tending.Past(app)("db1")]


def test_what_a_drill_would_do_elsewhere_is_shown_with_who_can_read_what(
    app: Keeping, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = drilled_on(app, "db1")
    monkeypatch.setattr(bootstrap, "load", lambda given: there)
    for host in ("web1", "db1"):
        there.points.add_point(point(host, 5))
    said = " ".join(mainstay("prove", "nightly", "-n").out.split())
    assert "On db1: it restores them, and is given the password of the repository of web1 for that time." in said
    told = mainstay("prove", "nightly", "-n", "--json").json
    assert told["on"] == "db1" and sorted(told["hosts"]) == ["db1", "web1"]


def test_drills_of_several_hosts_elsewhere_are_followed_one_after_the_other(
    app: Keeping, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = drilled_on(app, "db1")
    monkeypatch.setattr(bootstrap, "load", lambda given: there)
    for host in ("web1", "web2"):
        there.points.add_point(point(host, 5))
    verdicts = [Verdict.SUCCEEDED, Verdict.FAILED]
    there.ending = lambda host: part(host.name, verdicts[len(there.runs.requests) - 1])
    told = mainstay("prove", "nightly", "--json")
    assert told.code == 1 and [one["verdict"] for one in told.json] == ["succeeded", "failed"]
    assert [list(one.operation["points"]) for one in there.runs.requests] == [["web1"], ["web2"]]
    # One that is cancelled is the last.
    there.ending = lambda host: part(host.name, Verdict.CANCELLED)
    told = mainstay("prove", "nightly", "--json")
    assert told.code == 1 and len(told.json) == 1
    # And so is one that was at its end when it was asked to stop.
    there.ending = lambda host: part(host.name)
    there.during = lambda run: there.state.wish(run, "cancel", by="anna", reason="Ctrl-C")
    told = mainstay("prove", "nightly", "--json")
    assert told.code == 0 and len(told.json) == 1

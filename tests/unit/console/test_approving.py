"""runs approve and reject: what is shown, what is kept, who may, and that it is bound to what was shown."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, write_site

from mainstay.console import approving, bootstrap
from mainstay.runner.plan import PatchPlan
from mainstay.schedules.approvals import of_run
from mainstay.schedules.check import load_checked
from mainstay.schedules.occurrences import occurrence_request, schedules
from mainstay.schedules.openings import openings

PLANS = """
windows:
  night: {rrule: "FREQ=DAILY", start: "02:00", duration: 3h, cutoff: 1h}
  yearly: {rrule: "FREQ=YEARLY;BYMONTH=6;BYMONTHDAY=1", start: "02:00", duration: 3h}
plans:
  patch-web: {targets: role=web, window: night, approval: two-person}
  patch-db: {targets: role=db, window: yearly, approval: required}
  patch-free: {targets: role=web, window: night}
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    application = FakeApplication(write_site(tmp_path / "site", **{"schedules/web.yml": PLANS}))
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    return application


def edited(app: FakeApplication, old: str, new: str) -> None:
    path = app.site.root / "schedules/web.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    app.take(load_checked(app.site.root))


def of(app: FakeApplication, plan: str) -> list[str]:
    """Runs to come of the plan that wait for approval."""
    return [one.approval.run for one in approving.waiting(app) if one.approval.plan == plan]


def as_(app: FakeApplication, who: str) -> None:
    app.__dict__["requested_by"] = who


def test_occurrences_are_asked_about_as_soon_as_they_are_known(app: FakeApplication) -> None:
    """The clock stands at 02:30 local, in tonight's window: tonight's, and the two of the next 48 hours; of the yearly
    one the next, half a year ahead."""
    approving.refresh(app)
    approving.refresh(app)
    assert len(of(app, "patch-web")) == 3
    assert len(of(app, "patch-db")) == 1
    assert of(app, "patch-free") == []
    assert len(app.schedule_store.approvals()) == 4


def test_runs_lists_what_waits(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    text = mainstay("runs").out
    assert "No run is in flight." in text
    assert f"{run}   patch-web   0 of 2     Sat 2026-12-12 02:00 CET" in text
    listed = mainstay("runs", "--json").json
    assert [one["state"] for one in listed] == ["waiting-for-approval"] * 4
    one = next(one for one in listed if one["id"] == run)
    assert (one["plan"], one["wave"], one["started_at"]) == ("patch-web", None, None)
    asked = one["approval"]
    assert (asked["need"], asked["have"], asked["count"], asked["targets"], asked["window"]) == (
        2,
        0,
        3,
        "role=web",
        "night",
    )
    assert asked["starts_at"] == "2026-12-12T01:00:00.000Z"
    assert asked["expires_at"] == "2026-12-12T03:00:00.000Z"


def test_two_people_approve_and_the_run_that_comes_finds_it(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    first = mainstay("runs", "approve", run, "--reason", "looks right", "--yes", "--json")
    assert (first.code, first.json["answer"], first.json["have"], first.json["by"]) == (0, "waiting", 1, "anna@ops1")
    again = mainstay("runs", "approve", run, "--yes")
    assert again.code == 4
    assert "anna@ops1 has said yes" in again.err
    as_(app, "anna@ops2")
    assert mainstay("runs", "approve", run, "--yes").code == 4
    as_(app, "bob@ops1")
    second = mainstay("runs", "approve", run[:25], "--yes")
    assert (second.code, f"Run {run} is approved." in second.err) == (0, True)
    assert run not in of(app, "patch-web")

    schedule = next(one for one in schedules(app.loaded) if one.plan.name == "patch-web")
    found = next(iter(openings(schedule.window, schedule.zone, app.clock.now())))
    request = occurrence_request(schedule, found, app.loaded, app.asking())
    assert request.id == run
    assert of_run(app.schedule_store, request, found.starts_at).answer == "granted"


def test_what_is_approved_is_shown_before_it_is_asked(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    result = mainstay("runs", "approve", run)
    assert result.code == 0
    for text in (
        "patch-web",
        "role=web (3 hosts)",
        "web1, web10, web2",
        "night, Sat 2026-12-12 02:00 CET",
        "by 0 of 2",
        "Approve it? [y/N]",
    ):
        assert text in result.err
    assert app.schedule_store.votes(run) == []
    assert mainstay("runs", "approve", run, "--no-input").code == 2
    assert app.schedule_store.votes(run) == []


def test_a_no_refuses_at_once_and_needs_a_reason(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    assert mainstay("runs", "reject", run, "--yes").code == 2
    assert mainstay("runs", "reject", run, "--reason", " ", "--yes").code == 2
    done = mainstay("runs", "reject", run, "--reason", "the shop has a sale", "--yes", "--json")
    assert (done.code, done.json["answer"]) == (0, "refused")
    assert run not in of(app, "patch-web")
    as_(app, "bob@ops1")
    late = mainstay("runs", "approve", run, "--yes")
    assert late.code == 4
    assert "anna@ops1 said no on 2026-12-11T01:30:00.000Z: the shop has a sale" in late.err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("window: night, approval: two-person", "window: night, approval: two-person, budget: 3"),
        ("{targets: role=web, window: night, approval", "{targets: name=web1, window: night, approval"),
    ],
    ids=["plan", "hosts"],
)
def test_an_edited_plan_is_asked_anew(app: FakeApplication, mainstay: Mainstay, old: str, new: str) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    assert mainstay("runs", "approve", run, "--yes").code == 0
    before = app.schedule_store.approval(run)
    edited(app, old, new)
    as_(app, "bob@ops1")
    after = mainstay("runs", "approve", run, "--yes", "--json")
    assert before is not None
    assert after.json["hash"] != before.hash
    assert (after.json["answer"], after.json["have"]) == ("waiting", 1)


def test_what_is_no_longer_to_come_is_not_shown_any_more(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    edited(app, 'start: "02:00", duration: 3h, cutoff: 1h', 'start: "04:00", duration: 3h, cutoff: 1h')
    approving.refresh(app)
    starts = [
        one["approval"]["starts_at"][11:16] for one in mainstay("runs", "--json").json if one["plan"] == "patch-web"
    ]
    assert set(starts) == {"03:00"}


def test_a_frozen_occurrence_is_not_asked_about(app: FakeApplication) -> None:
    edited(app, "plans:", "freezes: [2026-12-12]\nplans:")
    approving.refresh(app)
    starts = [one.approval.preview["starts_at"] for one in approving.waiting(app) if one.approval.plan == "patch-web"]
    assert starts
    assert not [text for text in starts if text.startswith("2026-12-12")]


def test_nobody_is_asked_for_what_can_not_run(app: FakeApplication) -> None:
    edited(
        app,
        "targets: role=db, window: yearly",
        "targets: role=db, before: {playbook: drain.yml}, window: yearly",
    )
    approving.refresh(app)
    assert of(app, "patch-db") == []
    assert of(app, "patch-web")


def test_what_waits_for_nobody_is_said(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("runs", "approve", "01NOTHING", "--yes").code == 2


def test_what_somebody_wrote_can_not_steer_the_terminal(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    run = of(app, "patch-web")[1]
    assert mainstay("runs", "approve", run, "--reason", HOSTILE, "--yes").code == 0
    as_(app, "bob@ops1")
    result = mainstay("runs", "approve", run, "--yes")
    for text in (result.err, mainstay("runs", "--json").out):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_who_is_told_of_it_is_not_part_of_what_is_approved() -> None:
    quiet = PatchPlan(name="p", targets="all")
    assert quiet.hash() == quiet.model_copy(update={"ping": "env:PING"}).hash()

"""What comes, on the screen and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from tests.unit.console.coming import BEFORE, NIGHT, SCHEDULES, At, Site, site
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, part, seal
from ulid import ULID

from mainstay.console.approving import refresh
from mainstay.runner.request import plan_request
from mainstay.runner.state.contract import RunRow
from mainstay.schedules.occurrences import run_id, timing
from mainstay.schedules.store.contract import Carried, Vote


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return site(tmp_path, monkeypatch)


def test_local_time_and_utc_side_by_side_with_what_holds_it(app: Site, mainstay: Mainstay) -> None:
    assert mainstay("next", "patch-web", "--days", "40").out == (
        "  Fri 2026-12-11 02:00 CET   01:00 UTC   patch-web   3 h   fits (~60 min)\n"
        "  Fri 2027-01-15 02:00 CET   01:00 UTC   patch-web   3 h   ✗ frozen: year-end close\n"
        "                                                           (schedules/web.yml:6)\n"
        "\n"
        "  ~ is assumed, as long as no run of the plan has told how long its hosts take.\n"
        "  patch-web: its hosts' starts are spread over 30 min; what is missed is made up in the next window\n"
    )


def test_what_may_run_late_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay) -> None:
    late = SCHEDULES.replace("missed: next-window", "missed: {run-if-late: 6h}")
    assert late != SCHEDULES
    site(tmp_path, monkeypatch, late)
    assert "; what is missed may run up to 6h late\n" in mainstay("next", "patch-web", "--days", "40").out


def test_a_night_on_which_the_clocks_change_is_marked_with_its_true_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    site(tmp_path, monkeypatch, at=datetime(2027, 3, 25, tzinfo=UTC))
    (one,) = mainstay("next", "patch-db", "--days", "5", "--json").json
    assert (one["starts_at"], one["ends_at"]) == ("2027-03-28T01:00:00Z", "2027-03-28T01:30:00Z")
    assert one["local"] == "2027-03-28T03:00:00+02:00"
    assert "02:30" in one["remark"]
    text = mainstay("next", "patch-db", "--days", "5").out
    assert "Sun 2027-03-28 03:00 CEST   01:00 UTC   patch-db   30 min" in text
    assert "02:30" in text


def test_a_window_by_the_hosts_own_clocks_has_a_line_per_zone(app: Site, mainstay: Mainstay) -> None:
    found = mainstay("next", "patch-far", "--days", "7", "--json").json
    assert [(one["schedule"], one["zone"], one["hosts"], one["starts_at"]) for one in found] == [
        ("patch-far/local/Asia/Tokyo", "Asia/Tokyo", 1, "2026-12-13T18:00:00Z"),
        ("patch-far/local/Europe/Berlin", "Europe/Berlin", 2, "2026-12-14T02:00:00Z"),
    ]
    text = mainstay("next", "patch-far", "--days", "7").out
    assert "Mon 2026-12-14 03:00 JST   Sun 18:00 UTC   patch-far   1 h   fits (~30 min); Asia/Tokyo: 1 host" in text
    assert "does not fit: ~3 h of 1 h (1 of 2 hosts)" in " ".join(text.split())


def test_json_tells_all_of_an_occurrence(app: Site, mainstay: Mainstay) -> None:
    (one,) = mainstay("next", "patch-web", "--json").json
    assert one == {
        "plan": "patch-web",
        "starts_at": "2026-12-11T01:00:00Z",
        "ends_at": "2026-12-11T04:00:00Z",
        "cutoff_at": "2026-12-11T03:15:00Z",
        "local": "2026-12-11T02:00:00+01:00",
        "state": "scheduled",
        "reason": "",
        "run": run_id("patch-web/patch-night", NIGHT),
        "schedule": "patch-web/patch-night",
        "window": "patch-night",
        "zone": "Europe/Berlin",
        "remark": "",
        "stages_at": None,
        "hosts": 2,
        "notes": [],
        "carried": [],
        "estimate_seconds": 3600.0,
        "estimate_from": "default",
        "fits": True,
        "predicted_end": "2026-12-11T02:00:00Z",
        "jitter_seconds": 1800.0,
        "missed": "next-window",
    }


def test_the_end_is_predicted_from_the_newest_record(app: Site, mainstay: Mainstay) -> None:
    seal(app, "01KYB0000000000000000000K7", [part("web1"), part("web2")])  # each took 24 s
    seal(app, "01KYB0000000000000000000K8", [part("web1")], undoes="01KYB0000000000000000000K7")
    (one,) = mainstay("next", "patch-web", "--json").json
    assert (one["estimate_seconds"], one["estimate_from"]) == (48.0, "history")
    assert one["predicted_end"] == "2026-12-11T01:00:48Z"
    assert "fits (48 s)" in mainstay("next", "patch-web").out


def test_a_selector_picks_the_plans_of_its_hosts(app: Site, mainstay: Mainstay) -> None:
    def plans(*of: str) -> list[str]:
        return sorted({one["plan"] for one in mainstay("next", *of, "--json").json})

    assert plans("db1") == ["patch-db", "patch-far"]
    assert plans("role=web") == ["patch-far", "patch-web"]
    assert plans() == ["patch-db", "patch-far", "patch-web"]


def test_what_names_nothing_is_an_error(app: Site, mainstay: Mainstay) -> None:
    result = mainstay("next", "patch-wbe")
    assert result.code == 2
    assert '"patch-wbe" is no plan, and as a selector of hosts' in result.err
    assert "The site's plans: by-hand, patch-db, patch-far, patch-web." in result.err
    result = mainstay("next", "by-hand")
    assert result.code == 2
    assert "The plan by-hand has no window. It starts by hand alone: mainstay run by-hand" in result.err
    assert mainstay("next", "--ics", "--json").code == 2
    assert mainstay("next", "--days", "0").code == 2


def test_nothing_that_comes_is_said(app: Site, mainstay: Mainstay) -> None:
    app.at = datetime(2026, 12, 14, 12, tzinfo=UTC)
    assert mainstay("next", "patch-web", "--days", "1").out == "Nothing comes in the next 1 day.\n"
    assert mainstay("next", "patch-web", "--days", "1", "--json").json == []


RUN = run_id("patch-web/patch-night", NIGHT)


def ask(app: Site) -> str:
    """For the night's approval, as somebody who serves does. Returns its hash."""
    refresh(app)
    approval = app.schedule_store.approval(RUN)
    assert approval is not None
    return approval.hash


def say(app: Site, hash: str, says: Literal["yes", "no"]) -> None:
    app.schedule_store.vote(
        Vote(run=RUN, hash=hash, by="anna@ops1", at="2026-12-10T12:00:00.000Z", says=says, reason="fair")
    )


def test_a_lacking_approval_is_told_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = site(tmp_path, monkeypatch, SCHEDULES.replace("jitter: 30m", "approval: required"))

    def state() -> object:
        return mainstay("next", "patch-web", "--json").json[0]["state"]

    assert state() == "waiting-for-approval"
    hash = ask(app)
    assert state() == "waiting-for-approval"
    say(app, hash, "yes")
    assert state() == "scheduled"


def test_what_was_said_to_another_plan_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = site(tmp_path, monkeypatch, SCHEDULES.replace("jitter: 30m", "approval: required"))
    say(app, ask(app), "yes")
    changed = site(tmp_path, monkeypatch, SCHEDULES.replace("jitter: 30m", "approval: required, parallel: 3"))
    changed.__dict__["schedule_store"] = app.schedule_store
    assert mainstay("next", "patch-web", "--json").json[0]["state"] == "waiting-for-approval"


def test_a_no_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay) -> None:
    app = site(tmp_path, monkeypatch, SCHEDULES.replace("jitter: 30m", "approval: required"))
    say(app, ask(app), "no")
    assert mainstay("next", "patch-web", "--json").json[0]["state"] == "not-approved"
    assert "✗ not approved: anna@ops1 said no" in mainstay("next", "patch-web").out


def test_carried_hosts_are_told_with_the_next_occurrence(app: Site, mainstay: Mainstay) -> None:
    carried = Carried(plan="patch-web", host="web2", run="01K", at="2026-12-01T00:00:00Z", reason="no time left")
    app.schedule_store.carry(carried)
    assert "1 host carried over first (web2)" in " ".join(mainstay("next", "patch-web").out.split())
    assert mainstay("next", "patch-web", "--json").json[0]["carried"] == ["web2"]


def test_a_run_that_waits_for_the_next_window_is_told_with_its_own_id(app: Site, mainstay: Mainstay) -> None:
    plan = app.plans["patch-web"]
    queued = timing(plan, app.loaded, queued=True).to_json()
    # its id is of the moment at which it was asked for, by the site's clock
    told = {"timing": queued, "id": str(ULID.from_datetime(BEFORE))}
    request = plan_request(plan, app.targets(plan), app.asking()).model_copy(update=told)
    add(app, request.id, request.to_json())
    found = mainstay("next", "patch-web", "--json").json
    assert [(one["state"], one["run"]) for one in found] == [
        ("queued", request.id),
        ("scheduled", run_id("patch-web/patch-night", NIGHT)),
    ]
    assert found[0]["reason"] == "by anna@ops1"


def add(app: Site, run: str, request: dict[str, object]) -> None:
    row = RunRow(
        id=run, kind="patch", plan="patch-web", state="preparing", request=request, started_at="2026-12-10T12:00:00Z"
    )
    app.state.add_run(row)


def test_an_occurrence_that_runs_and_one_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = site(tmp_path, monkeypatch, at=NIGHT + timedelta(minutes=5))
    assert mainstay("next", "patch-web", "--json").json[0]["state"] == "open"
    run = run_id("patch-web/patch-night", NIGHT)
    add(app, run, {"timing": {"windows": []}})
    assert mainstay("next", "patch-web", "--json").json[0]["state"] == "open"
    app.state.set_run(run, state="running")
    assert mainstay("next", "patch-web", "--json").json[0]["state"] == "running"
    app.state.set_run(run, state="ended", ended_at="2026-12-11T01:04:00Z")
    assert mainstay("next", "patch-web", "--json").json == []


def test_a_plan_that_asks_for_what_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    site(tmp_path, monkeypatch, SCHEDULES.replace("jitter: 30m", "before: {playbook: drain.yml}"))
    (one,) = mainstay("next", "patch-web", "--json").json
    assert one["state"] == "unavailable"
    assert "a playbook as hook is not available yet" in one["reason"]


def test_a_calendar_in_trouble_is_warned_of(app: Site, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = "calendar bank-holidays: can't be fetched since 2 d; its last content is used"
    monkeypatch.setattr(type(app.freezes), "trouble", lambda self, now: [trouble])
    assert mainstay("next", "patch-web").out.startswith(f"! {trouble}\n")
    result = mainstay("next", "patch-web", "--json")
    assert trouble in result.err
    assert len(result.json) == 1


def test_the_preview_says_when_it_may_start_and_what_there_is_time_for(app: Site, mainstay: Mainstay) -> None:
    seal(app, "01KYB0000000000000000000K7", [part("web1"), part("web2")])
    out = " ".join(mainstay("preview", "patch-web").out.split())
    assert "window patch-night opens Fri 2026-12-11 02:00 CET (in 13 h), 3 h, last start 04:15" in out
    assert "Would take about 48 s of the 2 h 15 min that are there. Nothing was changed." in out


def test_when_downloads_begin_is_told_where_the_plan_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    staged = SCHEDULES.replace("jitter: 30m", "stage: 4h before")
    assert staged != SCHEDULES
    site(tmp_path, monkeypatch, staged)
    out = mainstay("next", "patch-web", "--days", "40").out
    assert "patch-web   3 h   fits (~60 min); downloads from Thu 22:00\n" in out
    assert out.count("downloads") == 1, "nothing is downloaded for what is frozen"
    told = mainstay("next", "patch-web", "--days", "40", "--json").json
    assert [one["stages_at"] for one in told] == ["2026-12-10T21:00:00Z", None]
    assert "last start 04:15, downloads from Thu 22:00" in " ".join(mainstay("preview", "patch-web").out.split())
    assert mainstay("preview", "patch-web", "--json").json["opening"]["stages_at"] == "2026-12-10T21:00:00Z"


def test_the_preview_passes_over_what_is_held_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    site(tmp_path, monkeypatch, at=datetime(2027, 1, 10, tzinfo=UTC))
    out = mainstay("preview", "patch-web").out
    assert "opens Fri 2027-02-12 02:00 CET" in " ".join(out.split())
    assert "  ✗ Fri 2027-01-15 02:00 CET: frozen: year-end close (schedules/web.yml:6)\n" in out
    told = mainstay("preview", "patch-web", "--json").json
    assert (told["opening"]["starts_at"], told["opening"]["open"]) == ("2027-02-12T01:00:00Z", False)
    assert [one["state"] for one in told["held"]] == ["frozen"]


def test_the_preview_in_an_open_window_counts_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = site(tmp_path, monkeypatch, at=NIGHT + timedelta(hours=2, minutes=14, seconds=30))
    seal(app, "01KYB0000000000000000000K7", [part("web1"), part("web2")])
    out = " ".join(mainstay("preview", "patch-web").out.split())
    assert "window patch-night is open until 05:00 CET, last start 04:15" in out
    assert "Would take about 48 s, and there are 30 s: the rest is carried over to the next opening." in out
    told = mainstay("preview", "patch-web", "--json").json
    assert (told["opening"]["open"], told["opening"]["room_seconds"]) == (True, 30.0)


def test_the_preview_after_the_nights_run_still_says_that_the_window_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = site(tmp_path, monkeypatch, at=NIGHT + timedelta(hours=1))
    seal(app, RUN, [part("web1"), part("web2")])
    assert mainstay("preview", "patch-web", "--json").json["opening"]["open"] is True
    app.__dict__["clock"] = At(NIGHT + timedelta(hours=2, minutes=15))
    assert mainstay("preview", "patch-web", "--json").json["opening"]["starts_at"] > "2026-12-12", "past its cutoff"


def test_a_plan_without_a_window_has_no_opening(app: Site, mainstay: Mainstay) -> None:
    told = mainstay("preview", "by-hand", "--json").json
    assert (told["window"], told["opening"], told["held"]) == (None, None, [])


def test_hostile_text_does_not_reach_the_terminal(
    app: Site, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(app.freezes), "allows", lambda self, plan, moment: HOSTILE)
    for words in (("next", "patch-web"), ("preview", "patch-web"), ("next", "patch-web", "--ics")):
        out = mainstay(*words).out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\rweb9" not in out


def test_it_is_80_to_120_columns_wide(app: Site, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert max(len(row) for row in mainstay("next", "--days", "120").out.splitlines()) <= columns

"""`mainstay repo`: what people do at repositories, and what the daemon does there by itself."""

from __future__ import annotations

import json
from copy import copy
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import NOW, FakeApplication, write_site
from tests.unit.console.keeping import RUN, SITE, ago, backed_up, point, proof, well

from mainstay.console import bootstrap, tending
from mainstay.console.render import repositories as render
from mainstay.recovery.depot import Depot
from mainstay.recovery.points.contract import Tended, Vault
from mainstay.recovery.restic.fake import Memory
from mainstay.runner import forecasting
from mainstay.runner.engine.memory import FakeClock
from mainstay.runner.ports import Clock
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

HOSTS = ("web1", "web2", "web10", "db1")


class Keeping(FakeApplication):
    """With repositories in memory."""

    memory: Memory

    @cached_property
    def depot(self) -> Depot:
        return Depot(
            points=self.points,
            restic=self.memory.open,
            gateway=cast(Any, None),  # nothing goes through it here
            resolve=self.secrets.resolve,
            place=lambda path: str(self.site.root / path),
            clock=self.clock,
            zone=ZoneInfo("UTC"),
        )

    @cached_property
    def operations(self) -> Any:
        return tending.errands(self)

    hours = 0.0

    @property
    def clock(self) -> Clock:
        return FakeClock(NOW + timedelta(hours=self.hours))


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    root = write_site(tmp_path / "kept", **SITE)
    for host in HOSTS:
        for name in (host, f"{host}-offsite"):
            path = root / "keys" / name
            path.parent.mkdir(exist_ok=True)
            path.touch(0o600)
            path.write_text(f"the word of {name}\n")
    keeping = Keeping(root)
    keeping.memory = Memory()
    monkeypatch.setattr(bootstrap, "load", lambda given: keeping)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", forecasting.forecast)
    monkeypatch.setattr("mainstay.console.verbs._following.EVERY", 0.005)
    return keeping


def made(app: Keeping, *hosts: str) -> None:
    """The repositories of these hosts are there."""
    plan = tending.backup_plans(app)[0]
    for host in hosts:
        for repository in plan.repositories.values():
            app.memory.make(app.depot.access(repository, host, "maintain"))


def test_every_repository_is_listed_and_a_key_that_is_nowhere_else_is_said(app: Keeping, mainstay: Mainstay) -> None:
    app.points.note_vault(Vault("main", "web1", "0123456789abcdef", ago(24), "R1", ago(1), "anna@ops1"))
    app.points.note_tended(Tended("main", "web1", "prune", "", "failed", "R2", ago(2), "failed", "locked"))
    out = mainstay("repo").out
    assert out.splitlines()[0].split()[:3] == ["repository", "host", "id"]
    assert "01234567" in out
    assert "failed" in out
    assert "mainstay repo key export" in out
    found = {(one["repository"], one["host"]): one for one in mainstay("repo", "list", "--json").json}
    assert set(found) == {(name, host) for name in ("main", "offsite") for host in HOSTS}
    assert found["main", "web1"]["escrow_by"] == "anna@ops1"
    assert found["main", "web2"]["id"] is None
    assert found["main", "web1"]["tended"][0]["part"] == "failed"


def test_init_asks_for_a_run_at_each_repository_of_the_plan(app: Keeping, mainstay: Mainstay) -> None:
    result = mainstay("repo", "init", "nightly", "--yes")
    assert result.code == 0
    asked = [(one.kind, one.operation["repository"], one.errand, len(one.hosts)) for one in app.runs.requests]
    assert asked == [("init", "main", True, 4), ("init", "offsite", True, 4)]


def test_who_makes_a_repository_over_points_that_are_known_is_told(app: Keeping, mainstay: Mainstay) -> None:
    new = mainstay("repo", "init", "nightly", "--repository", "main", "--yes")
    assert "Points are known" not in new.err
    app.points.add_point(point("web1", 5))
    again = mainstay("repo", "init", "nightly", "--repository", "main", "--no-input")
    assert again.code == 2
    assert "Points are known in main of web1." in again.err
    assert "Make the repositories of main for 4 hosts?" in again.err


def test_an_export_into_the_site_is_to_be_moved_away(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, *HOSTS)
    inside = app.site.root / "keys.json"
    assert "never commit it" in mainstay("repo", "key", "export", "nightly", "--to", str(inside)).err
    outside = tmp_path / "keys.json"
    assert "never commit it" not in mainstay("repo", "key", "export", "nightly", "--to", str(outside)).err


def test_nothing_is_made_where_nobody_says_yes(app: Keeping, mainstay: Mainstay) -> None:
    assert mainstay("repo", "init", "nightly", "--no-input").code == 2
    assert app.runs.requests == []


def test_retention_is_shown_point_by_point_and_nothing_is_done(app: Keeping, mainstay: Mainstay) -> None:
    made(app, *HOSTS)
    result = mainstay("repo", "retention", "nightly", "--repository", "main", "--hosts", "web1", "-n")
    assert result.code == 0
    assert "the plan has no retention:, so that everything is kept" in result.out
    assert result.out.splitlines()[-1] == "Nothing was changed."
    assert app.runs.requests == []


def test_what_a_verb_can_not_do_is_said_before_anything(app: Keeping, mainstay: Mainstay) -> None:
    wrong = mainstay("repo", "prune", "patch-web")
    assert wrong.code == 2
    assert "patch-web is of the kind patch" in wrong.err
    unknown = mainstay("repo", "prune", "nightly", "--repository", "man")
    assert unknown.code == 2
    assert 'Did you mean "main"?' in unknown.err
    two = mainstay("repo", "check", "nightly", "--json")
    assert two.code == 2
    assert "Name it: --repository NAME" in two.out + two.err
    assert app.runs.requests == []


def test_a_key_that_was_exported_and_read_back_is_confirmed(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, *HOSTS)
    file = tmp_path / "keys.json"
    assert mainstay("repo", "key", "export", "nightly", "--to", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["passwords"][0]["password"] == "the word of db1"
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert (result.code, result.err.splitlines()[0]) == (0, "8 passwords are confirmed.")
    vault = app.points.vault("main", "db1")
    assert vault is not None
    assert vault.escrow_by == "anna@ops1"
    assert "the word of" not in result.out + result.err


def test_an_export_never_writes_over_a_file(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("mine")
    result = mainstay("repo", "key", "export", "nightly", "--to", str(file))
    assert result.code == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda entries: entries.pop(0), "it is not in the file"),
        (lambda entries: entries[0].update(password="old"), "the file has another password than the one in use"),
    ],
    ids=["left out", "another one"],
)
def test_a_key_that_is_not_the_one_in_use_is_not_confirmed(
    app: Keeping, mainstay: Mainstay, tmp_path: Path, change: Any, why: str
) -> None:
    made(app, *HOSTS)
    file = tmp_path / "keys.json"
    mainstay("repo", "key", "export", "nightly", "--to", str(file))
    data = json.loads(file.read_text())
    change(data["passwords"])
    file.write_text(json.dumps(data))
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 1
    assert f"not confirmed: main of db1: {why}" in result.err
    assert app.points.vault("main", "db1") is None
    assert app.points.vault("main", "web2") is not None


def test_a_key_that_opens_nothing_is_not_confirmed(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, "web1", "web2", "web10")
    file = tmp_path / "keys.json"
    mainstay("repo", "key", "export", "nightly", "--to", str(file))
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 1
    assert "not confirmed: main of db1: there is no such repository yet" in result.err


@pytest.mark.parametrize("text", ["", "[]", '{"passwords": 1}', "\x00"])
def test_a_file_that_is_no_export_is_refused(app: Keeping, mainstay: Mainstay, tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 2
    assert "is no export of passwords" in result.err


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


def again(app: Keeping, **files: str) -> Keeping:
    """The same, with other files in its site."""
    for name, text in files.items():
        (app.site.root / name).write_text(text)
    other = Keeping(app.site.root)
    other.memory = app.memory
    return other


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


def test_what_a_failed_backup_left_is_in_the_diff_and_removed_with_it(app: Keeping, mainstay: Mainstay) -> None:
    """The run that made it is looked up; of one that is at work nothing goes."""
    site = SITE["schedules/backup.yml"] + "    retention: {last: 2}\n"
    app = again(app, **{"schedules/backup.yml": site})
    made(app, "web1")
    plan = tending.backup_plans(app)[0]
    there = app.memory.make(app.depot.access(plan.repositories["main"], "web1", "maintain"))
    tags = ["mainstay", f"run={RUN}", "plan=nightly", "source=etc"]
    stray = there.back_up({"/etc/x": b"x"}, host="web1", tags=tags, at=ago(50))
    newer = point("web1", 5, id=there.back_up({"/etc/x": b"x"}, host="web1", tags=["mainstay"], at=ago(5)), run="R9")
    app.points.add_point(newer)
    backed_up(app, RUN, {"web1": Verdict.FAILED})
    errand = tending.errands(app)["retention"](tending.by_hand(app, plan, "retention", "main", "web1", app.asking()))
    found = errand.preview(app.targets(plan, "web1")[0], NOW.timestamp())
    assert (f"no point: etc {stray[:12]}", ago(50), "") in found.items
    lines = render.preview("retention", "main", {"web1": SimpleNamespace(forecast=found, error="")}, 200)  # type: ignore[dict-item]
    shown = "\n".join("".join(getattr(part, "text", str(part)) for part in line) for line in lines)
    assert "1 → 1 points; 1 → 0 snapshots that are no points" in shown
    live = there.back_up({"/etc/x": b"x"}, host="web1", tags=["mainstay", "run=R8", *tags[2:]], at=ago(50))
    app.state.add_run(RunRow(id="R8", kind="backup", plan="nightly", state="running", request={}, started_at=ago(51)))
    errand = tending.errands(app)["retention"](tending.by_hand(app, plan, "retention", "main", "web1", app.asking()))
    found = errand.preview(app.targets(plan, "web1")[0], NOW.timestamp())
    assert {name: bool(stays) for name, _, stays in found.items if name.startswith("no point")} == {
        f"no point: etc {stray[:12]}": False,
        f"no point: etc {live[:12]}": True,
    }

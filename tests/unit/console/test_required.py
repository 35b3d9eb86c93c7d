"""Backups that a patch plan requires, as the command line tells of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import NOW, FakeApplication, part, seal, write_site
from tests.unit.recovery.points import point
from tests.unit.runner.world import World, verdicts

from mainstay.console import bootstrap
from mainstay.console.gating import Gates
from mainstay.console.render import record as render
from mainstay.recovery.required import BackupGate
from mainstay.runner.ports import Permission
from mainstay.runner.record import Links
from mainstay.runner.request import RunRequest
from mainstay.schedules.check import load_checked
from mainstay.schedules.occurrences import timing

PLANS = """
plans:
  patch-web: {targets: role=web, requires: {backup: {newer_than: 24h}}}
  nightly: {kind: backup, targets: role=web, repository: main, sources: {etc: {paths: /etc}}}
"""
REPOSITORIES = 'repositories: {main: {url: "/srv/{host}", password: "file:secrets/{host}"}}\n'
BACKUP, PATCH = "01KYBACKUP0000000000000000", "01KYPATCH00000000000000000"


@pytest.fixture
def app(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    files = {"schedules/web.yml": PLANS, "recovery/a.yml": REPOSITORIES}
    application = FakeApplication(write_site(app.site.root, **files))
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", application.ask)
    for host, hours in (("web1", 5), ("web2", 31)):
        at = (NOW - timedelta(hours=hours)).isoformat()
        application.points.add_point(point(at, host=host, run=BACKUP))
    return application


def test_preview_says_of_each_host_whether_it_holds(app: FakeApplication, mainstay: Mainstay) -> None:
    out = " ".join(mainstay("preview", "patch-web").out.split())
    assert "! would be refused: etc: the newest point that succeeded is 31 h old, newer than 24 h is required;" in out
    assert "mainstay run nightly --hosts web2" in out
    assert "! would be refused: etc: there is no point; mainstay run nightly --hosts web10" in out
    assert "The backups that it requires are there now for 1 of 3 hosts. lacking on web2: etc: the newest point" in out
    assert "lacking on web10: etc: there is no point; mainstay run nightly --hosts web10" in out
    found = {one["host"]: one["backup"] for one in mainstay("preview", "patch-web", "--json").json["hosts"]}
    assert found["web1"] == {"holds": True, "reason": None, "relies_on": [BACKUP]}
    assert (found["web10"]["holds"], found["web10"]["relies_on"]) == (False, [])


def test_why_says_that_a_run_would_refuse_the_host(app: FakeApplication, mainstay: Mainstay) -> None:
    out = " ".join(mainstay("why", "web2").out.split())
    assert "a run would refuse this host: etc: the newest point that succeeded is 31 h old" in out
    assert "a run would refuse" not in mainstay("why", "web1").out
    assert mainstay("why", "web2", "--json").json["plans"][0]["refused"].startswith("etc: the newest point")
    assert mainstay("why", "web1", "--json").json["plans"][0]["refused"] is None


def test_preview_of_a_plan_that_requires_nothing_says_nothing_of_it(app: FakeApplication, mainstay: Mainstay) -> None:
    plain = PLANS.replace(", requires: {backup: {newer_than: 24h}}", "")
    (app.site.root / "schedules/web.yml").write_text(plain)
    app.take(load_checked(app.site.root))
    assert "backup" not in mainstay("preview", "patch-web").out
    assert {one["backup"] for one in mainstay("preview", "patch-web", "--json").json["hosts"]} == {None}


def test_the_sites_gate_asks_for_the_backup_unless_it_is_skipped(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("run", "patch-web", "--skip-gate", "backup").code == 2, "it needs a reason"
    assert mainstay("run", "patch-web", "--break-glass", "fire").code == 0
    assert mainstay("run", "patch-web", "--skip-gate", "backup", "--reason", "no time").code == 0
    asked: list[RunRequest] = app.runs.requests
    gates = Gates(app)
    broken, skipped = (gates(request) for request in asked)
    assert isinstance(broken, BackupGate)
    assert not isinstance(skipped, BackupGate)
    answers = {host: broken.permit(asked[0].id, host, "host", None) for host in ("web1", "web2")}
    assert (answers["web1"].answer, answers["web1"].relies_on) == ("start", (BACKUP,))
    assert (answers["web2"].answer, answers["web2"].gate) == ("refuse", "backup")
    assert skipped.permit(asked[1].id, "web2", "host", None).answer == "start"
    assert asked[1].skip_gates == {"backup": "no time"}


def test_a_run_of_a_site_relies_on_what_its_state_holds(tmp_path: Path) -> None:
    """The site's own gate over its state on disk, under a rollout in memory."""
    files = {"schedules/web.yml": PLANS, "recovery/a.yml": REPOSITORIES}
    world = World("web1 web2 web10", requires={"backup": {"newer_than": "24h"}})
    with bootstrap.load(write_site(tmp_path / "site", **files)) as app:
        gates = Gates(app)

        class Site:
            def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
                row = world.state.run(run)
                assert row is not None
                return gates(RunRequest.from_json(row.request)).permit(run, host, step, estimate)

        world.gate = Site()
        now = app.clock.now()
        for host, hours in (("web1", 5), ("web2", 31)):
            at = (now - timedelta(hours=hours)).isoformat()
            app.points.add_point(point(at, host=host, run=BACKUP))
        plan = app.plan("patch-web")
        record = world.run(timing=timing(plan, app.loaded).to_json(), hosts=app.targets(plan))
    assert verdicts(record) == {"web1": "succeeded", "web2": "refused", "web10": "refused"}
    assert record.summary.links.relies_on == (BACKUP,)
    reasons = {part.host: part.reason for part in record.hosts}
    assert "is 31 h old" in reasons["web2"]
    assert reasons["web10"] == "etc: there is no point; mainstay run nightly --hosts web10"


def test_a_backup_that_was_relied_on_says_by_which_records(app: FakeApplication) -> None:
    made = seal(app, BACKUP, [part("web1")], plan="nightly", kind="backup")
    patches = [seal(app, f"{PATCH[:-1]}{number}", [part("web1")]) for number in range(5)]
    relying = [(one.seq, one.summary.model_copy(update={"links": Links(relies_on=(BACKUP,))})) for one in patches]

    def told(count: int) -> str:
        rows = render.listing([*relying[:count], (made.seq, made.summary)], app.zone, 200)
        return next(text for row in rows if "nightly" in (text := "".join(part.text for part in row)))

    assert "relied on" not in told(0)
    assert told(2).rstrip().endswith("anna@ops1, relied on by 3, 2")
    assert told(5).rstrip().endswith("anna@ops1, relied on by 6, 5, 4 and 2 more")

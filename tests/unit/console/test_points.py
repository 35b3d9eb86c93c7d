"""What people see of backups: points, and what is not as it should be first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, part, write_site
from tests.unit.console.keeping import DRILL, RUN, SITE, ago, backed_up, copied, point, proof, well

from mainstay.console import bootstrap
from mainstay.recovery.points.contract import Ack, Tended, Vault
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict


@pytest.fixture
def app(app: FakeApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    """As everywhere, with a plan that backs up web1, web2, web10 and db1 every night."""
    keeping = FakeApplication(write_site(tmp_path / "kept", **SITE))
    monkeypatch.setattr(bootstrap, "load", lambda given: keeping)
    return keeping


def told(result: Any) -> dict[tuple[str, str], Any]:
    return {(one["host"], one["source"]): one for one in result.json}


def kinds(one: Any) -> list[str]:
    return [trouble["kind"] for trouble in one["troubles"]]


def test_a_host_without_any_point_is_the_first_line(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1", "web2", "web10")
    lines = mainstay("points").out.splitlines()
    rows = lines[lines.index("") + 2 :]
    assert rows[0].split()[:3] == ["db1", "db", "none"]
    assert rows[1].split()[:3] == ["db1", "etc", "none"]
    assert rows[2].split()[:5] == ["web1", "db", "5", "h", "ago"]
    said = " ".join(mainstay("points").out.split())
    assert "db1 db, etc: no recovery point: the repository main is not made yet → mainstay repo init nightly" in said
    assert "key" not in said, "there is none yet"
    app.points.note_vault(Vault("main", "db1", "id"))
    said = " ".join(mainstay("points").out.split())
    assert "db1 db, etc: no recovery point → mainstay run nightly --hosts db1" in said
    assert "db1: the repository offsite is not made yet → mainstay repo init nightly" in said
    assert lines[-1] == "8 sources: 2 wrong, 6 well"
    found = mainstay("points", "--json").json
    assert [one["health"] for one in found] == ["wrong", "wrong", *["well"] * 6]
    assert found[0]["newest"] is None and found[0]["exposure_seconds"] is None


def test_what_is_well_says_how_old_and_where_and_proved_how(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1")
    result = mainstay("points", "web1", "--json")
    one = told(result)["web1", "etc"]
    assert (one["health"], one["troubles"]) == ("well", [])
    assert one["exposure_seconds"] == 5 * 3600
    assert one["proved_exposure_seconds"] == 77 * 3600
    assert one["since_proof_seconds"] == 3 * 86400
    assert one["promised_seconds"] == 36 * 3600, "one and a half times the day between two openings"
    assert one["proof"]["run"] == DRILL and one["proof"]["scope"].startswith("20 of 1,240")
    assert {place["repository"]: place["missing"] for place in one["places"]} == {"main": None, "offsite": None}
    out = mainstay("points", "web1").out
    assert "succeeded   12 GB   3 d ago   main, offsite\n" in out


@pytest.mark.parametrize(
    ("hours", "health"), [(35.9, "well"), (36.1, "look"), (71.9, "look"), (72.1, "wrong")], ids=str
)
def test_older_than_the_plan_promises(app: FakeApplication, mainstay: Mainstay, hours: float, health: str) -> None:
    made = point("web1", hours)
    app.points.add_point(made)
    copied(app, made)
    app.points.add_proof(proof(made, 1))
    one = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert one["health"] == health
    assert kinds(one) == ([] if health == "well" else ["older than promised"])


def test_a_plan_says_itself_how_old_a_point_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    from mainstay.console.backups import interval

    text = SITE["schedules/backup.yml"].replace('"FREQ=DAILY"', '"FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"')
    app = FakeApplication(write_site(tmp_path / "site", **{**SITE, "schedules/backup.yml": text}))
    plan: Any = app.plan("nightly")
    assert interval(app, plan, datetime(2026, 12, 11, tzinfo=UTC)) == 3 * 86400, "from Friday to Monday"
    assert interval(app, plan.model_copy(update={"name": "another"}), datetime(2026, 12, 11, tzinfo=UTC)) is None


def test_without_a_promise_it_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay) -> None:
    text = SITE["schedules/backup.yml"].replace("window: early\n    ", "")
    app = FakeApplication(write_site(tmp_path / "site", **{**SITE, "schedules/backup.yml": text}))
    monkeypatch.setattr(bootstrap, "load", lambda given: app)
    well(app, "web1")
    one = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert (one["health"], kinds(one), one["promised_seconds"]) == ("look", ["no promise of its age"], None)


def test_what_no_restore_has_proved_is_never_well(app: FakeApplication, mainstay: Mainstay) -> None:
    made = point("web1", 5)
    app.points.add_point(made)
    copied(app, made)
    assert kinds(told(mainstay("points", "web1", "--json"))["web1", "etc"]) == ["never proved"]
    app.points.add_proof(proof(made, 15, run="d0"))
    one = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert kinds(one) == ["proved too long ago"]
    assert "15 d ago" in one["troubles"][0]["text"] and "every 7 d" in one["troubles"][0]["text"]
    app.points.add_proof(proof(made, 1, Verdict.FAILED, run="d1", reason=HOSTILE))
    one = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert (one["health"], kinds(one)) == ("wrong", ["a restore did not prove it", "proved too long ago"])
    app.points.add_proof(proof(made, 0.5, run="d2"))
    assert told(mainstay("points", "web1", "--json"))["web1", "etc"]["health"] == "well"


def test_a_copy_that_is_behind_is_named(app: FakeApplication, mainstay: Mainstay) -> None:
    old, new = point("web1", 77), point("web1", 5)
    for one in (old, new):
        app.points.add_point(one)
    app.points.add_proof(proof(old, 1))
    here = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert [trouble["text"] for trouble in here["troubles"]] == ["nothing in offsite"]
    copied(app, old)
    assert told(mainstay("points", "web1", "--json"))["web1", "etc"]["health"] == "well", (
        "tonight's is not due there yet"
    )
    app.points.add_point(point("web1", 40))
    here = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert kinds(here) == ["behind in offsite"]
    assert "offsite (behind)" in mainstay("points", "web1").out


def test_an_anomaly_is_told_until_somebody_has_looked(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1")
    odd = point("web1", 4, verdict="degraded", anomalies=(f"92 % less {HOSTILE}",), run="01KYB0000000000000000000B7")
    app.points.add_point(odd)
    one = told(mainstay("points", "web1", "--json"))["web1", "etc"]
    assert kinds(one) == ["an anomaly that nobody has acknowledged"]
    assert one["anomalies"][0]["run"] == odd.run
    out = mainstay("points", "web1").out
    assert f"mainstay records ack {odd.run}" in " ".join(out.split())
    assert "\x1b" not in out and "\r" not in out and "\u202e" not in out
    app.points.acknowledge(Ack(odd.run, "", "", "anna", ago(1), "a big file was removed"))
    assert told(mainstay("points", "web1", "--json"))["web1", "etc"]["health"] == "well"


def test_the_last_backup_and_what_is_done_at_repositories(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1", "web2")
    backed_up(
        app,
        RUN,
        {"web1": Verdict.FAILED, "web2": Verdict.SUCCEEDED},
        lambda host, verdict: part(host, verdict, "no space left"),
    )
    app.points.note_vault(Vault("offsite", "web2", "id"))
    check = Tended(
        "main", "web2", "check", "", "failed", "r7", ago(9), "failed", "it is already locked by PID 7", "locked"
    )
    app.points.note_tended(check)
    app.points.note_tended(Tended("main", "web1", "prune", "", "failed", "r7", ago(9), "failed", "no space left"))
    app.points.note_tended(Tended("main", "web1", "prune", "", "", "r8", ago(3), "succeeded"))
    out = mainstay("points", "web1 or web2").out
    said = " ".join(out.split())
    assert f"web1: the last backup ended failed: no space left → mainstay records show {RUN} --host web1" in said
    assert (
        "the key of offsite is not confirmed to be kept elsewhere → mainstay repo key export nightly --to FILE" in said
    )
    assert "check at main did not succeed: it is already locked by PID 7 → mainstay repo unlock nightly" in said
    assert "prune" not in said, "it has been done since"


def test_whether_the_last_backup_ran_stands_first(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1", "web2")
    assert mainstay("points").out.startswith("nightly: no backup has run yet\n")
    backed_up(app, RUN, {"web1": Verdict.SUCCEEDED, "web2": Verdict.SUCCEEDED})
    later = RUN[:-1] + "2"
    backed_up(app, later, {"web2": Verdict.FAILED})
    said = " ".join(mainstay("points").out.split())
    assert said.startswith(
        "nightly: last backup 5 h ago, Thu 2026-12-10 21:30 CET: of 4 hosts 1 succeeded, 1 failed, 2 never backed up "
        "(1 of them in an older run)"
    )
    assert "a point to restore from: 2 of 4 hosts; a restore has proved it on 2\n" in mainstay("points").out
    app.state.add_run(
        RunRow(
            id="01KYB0000000000000000000B9",
            kind="backup",
            plan="nightly",
            state="running",
            request={},
            started_at=ago(1),
        )
    )
    assert "; one runs now, since 60 min (mainstay runs)" in " ".join(mainstay("points").out.split())


def fleet(tmp_path: Path, count: int = 50) -> FakeApplication:
    """That many hosts, backed up well but for three."""
    names = [f"web{number}" for number in range(1, count + 1)]
    hosts = "".join(f"  {name}: {{address: {name}.example.org, tags: {{role: web}}}}\n" for name in names)
    app = FakeApplication(write_site(tmp_path / "fleet", **{**SITE, "inventory/hosts.yml": f"hosts:\n{hosts}"}))
    well(app, *(name for name in names if name != "web13"))
    app.points.note_vault(Vault("main", "web13", "id"))
    app.points.add_proof(proof(point("web7", 5), 0.1, Verdict.FAILED, reason="2 files differ"))
    backed_up(app, RUN, {name: Verdict.FAILED if name in ("web7", "web13") else Verdict.SUCCEEDED for name in names})
    return app


def test_fifty_hosts_are_answered_on_one_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    app = fleet(tmp_path)
    monkeypatch.setattr(bootstrap, "load", lambda given: app)
    out = mainstay("points").out
    lines = out.splitlines()
    assert len(lines) <= 24, out
    assert "of 50 hosts 48 succeeded, 2 failed" in " ".join(lines[:2])
    rows = lines[lines.index("") + 2 :]
    assert [row.split()[:2] for row in rows[:3]] == [["web13", "db"], ["web13", "etc"], ["web7", "etc"]], "worst first"
    assert "3 d ago, failed since" in rows[2], "the point was proved, and a later restore did not do it"
    assert rows[3] == "  97 more sources of 49 hosts, all well: newest 5 h ago, proved 3 d ago"
    assert lines[-1] == "100 sources: 3 wrong, 97 well   (mainstay points all lists each)"
    assert sum(row.split()[:1] == ["web1"] for row in mainstay("points", "all").out.splitlines()) == 2
    assert len(mainstay("points", "--json").json) == 100
    lines = mainstay("status").out.splitlines()
    assert len(lines) <= 12
    assert [row.split()[0] for row in lines if row.startswith("  web")] == ["web7", "web13"], "the worst first"
    assert lines[-2:] == ["  48 hosts well", "50 none yet   (mainstay status all lists each)"]
    assert sum(row.startswith("  web") for row in mainstay("status", "all").out.splitlines()) == 50


def test_cron_hears_of_backups_alone(app: FakeApplication, mainstay: Mainstay, tmp_path: Path) -> None:
    well(app, "web1", "web2", "web10")
    result = mainstay("points", "--nagios")
    assert result.code == 2
    assert result.out.startswith("MAINSTAY BACKUPS CRITICAL - 3 of 4 hosts well; db1: db, etc: no recovery point")
    assert " | well=3 not_well=1 backup_missing=2 " in result.out
    well(app, "db1")
    result = mainstay("points", "--nagios")
    assert (result.code, result.out.split(" | ")[0]) == (0, "MAINSTAY BACKUPS OK - 4 of 4 hosts well"), (
        "that no patch plan ever ran is nothing to it"
    )
    assert mainstay("points", "nonsense=", "--nagios").code == 3


def test_every_point_with_its_proofs(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "web1", "web2", sources=("etc",))
    app.points.add_point(point("web1", 20, unreadable=2, verdict="degraded"))
    result = mainstay("points", "web1", "--all", "--json").json
    assert {one["host"] for one in result["points"]} == {"web1"}
    assert len(result["points"]) == 5 and len(result["proofs"]) == 1
    out = mainstay("points", "web1", "--all").out
    listed = out[out.index("data of") :].splitlines()[1:]
    assert [row.split()[0] for row in listed if row.startswith("  web")] == ["web1"] * 5
    assert sum(row.rstrip().count("succeeded Tue") for row in listed) == 1, "the proof of one"
    assert "2 files unreadable" in " ".join(out.split())


def test_no_plan_no_point(
    mainstay: Mainstay, app: FakeApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FakeApplication(write_site(tmp_path / "plain"))
    monkeypatch.setattr(bootstrap, "load", lambda given: plain)
    result = mainstay("points")
    assert (result.code, result.out) == (0, "No plan backs anything up.\n")
    assert mainstay("points", "--nagios").code == 3, "what watches nothing is not well"
    assert mainstay("points", "--json").json == []

"""Backups in status and why: what monitoring hears, and what one host is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, forecast, part, seal, write_site
from tests.unit.console.keeping import RUN, SITE, ago, backed_up, copied, point, proof, well

from mainstay.console import bootstrap
from mainstay.recovery.points.contract import Ack, Tended, Vault
from mainstay.runner.verdict import Verdict

PATCH = "01KYB0000000000000000000P1"


@pytest.fixture
def app(app: FakeApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    keeping = FakeApplication(write_site(tmp_path / "kept", **SITE))
    monkeypatch.setattr(bootstrap, "load", lambda given: keeping)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", keeping.ask)
    return keeping


@pytest.fixture
def patched(app: FakeApplication) -> FakeApplication:
    """All hosts patched well and backed up well."""
    hosts = ("web1", "web2", "web10", "db1")
    seal(app, PATCH, [part(host) for host in hosts])
    well(app, *hosts)
    backed_up(app, RUN, dict.fromkeys(hosts, Verdict.SUCCEEDED))
    return app


def test_all_well(patched: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("status", "--nagios")
    assert result.code == 0
    assert result.out.startswith("MAINSTAY OK - 4 of 4 hosts well | well=4 not_well=0 backup_missing=0 ")
    assert " backup_oldest=18000s backup_unproved=0 proof_oldest=259200s " in result.out
    assert " 'age/web1/nightly/etc'=18000s;129600;259200;0 'proved/web1/nightly/etc'=277200s" in result.out
    told = mainstay("status", "web1", "--json").json[0]
    assert told["backup"] == {
        "health": "well", "oldest_seconds": 18000, "since_proof_seconds": 259200, "troubles": []
    }  # fmt: skip
    assert mainstay("status", "web1").out.splitlines()[1].split()[:6] == ["web1", "succeeded", "30", "min", "well", "1"]


def test_a_site_without_backups_hears_nothing_of_them(
    mainstay: Mainstay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FakeApplication(write_site(tmp_path / "plain"))
    monkeypatch.setattr(bootstrap, "load", lambda given: plain)
    seal(plain, PATCH, [part("web1")])
    assert "backup" not in mainstay("status").out
    assert mainstay("status", "web1", "--nagios").out == "MAINSTAY OK - 1 of 1 host well | well=1 not_well=0\n"
    assert mainstay("status", "web1", "--json").json[0]["backup"] is None
    assert "backup" not in mainstay("why", "web1").out


def test_what_becomes_a_warning_or_worse(patched: FakeApplication, mainstay: Mainstay) -> None:
    app = patched
    new = point("web1", 4, verdict="degraded", unreadable=2, run="01KYB0000000000000000000B5")
    app.points.add_point(new)
    result = mainstay("status", "web1", "--nagios")
    assert (result.code, result.out.split(" | ")[0]) == (
        1,
        "MAINSTAY WARNING - 0 of 1 host well; web1 backup: etc: the newest point is degraded: 2 files unreadable",
    )
    app.points.acknowledge(Ack(new.run, "web1", "etc", "anna", ago(1), "sockets"))
    assert mainstay("status", "web1", "--nagios").code == 0
    app.points.add_proof(proof(new, 0.5, Verdict.FAILED, reason=f"orders|0 rows {HOSTILE}"))
    result = mainstay("status", "web1", "--nagios")
    assert result.code == 2 and result.out.count("|") == 1 and "\x1b" not in result.out
    assert mainstay("status", "web2", "--nagios").code == 0


def test_a_host_without_a_point_is_critical(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, PATCH, [part("web1")])
    result = mainstay("status", "web1", "--nagios")
    assert result.code == 2
    assert "web1 backup: db, etc: no recovery point" in result.out
    assert " backup_missing=2 backup_oldest=U backup_unproved=2 proof_oldest=U" in result.out
    assert mainstay("status", "web1", "--json").json[0]["backup"]["oldest_seconds"] is None


def test_a_backup_that_failed_last_night_until_somebody_has_looked(
    patched: FakeApplication, mainstay: Mainstay
) -> None:
    later = RUN[:-1] + "2"
    backed_up(patched, later, {"web1": Verdict.FAILED, "web2": Verdict.REFUSED, "web10": Verdict.UNKNOWN})
    codes = {host: mainstay("status", host, "--nagios").code for host in ("web1", "web2", "web10", "db1")}
    assert codes == {"web1": 2, "web2": 1, "web10": 3, "db1": 0}
    out = " ".join(mainstay("status").out.split())
    assert "the last backup ended failed" in out and "the last backup ended refused" in out
    patched.points.acknowledge(Ack(later, "", "", "anna", ago(1), "the switch was down"))
    assert mainstay("status", "web1", "--nagios").code == 0


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("unreachable: 10.0.0.1 port 22 did not answer within 10 s", 1),
        ("repository main is gone: /srv/restic/web1 was 19daba36, and there is none now", 2),
        ("repository main of web1: its password is wrong", 2),
    ],
)
def test_a_backup_that_its_repository_refused_is_worse_than_a_host_that_was_away(
    patched: FakeApplication, mainstay: Mainstay, reason: str, code: int
) -> None:
    later = RUN[:-1] + "2"
    backed_up(patched, later, {"web1": Verdict.REFUSED}, lambda host, verdict: part(host, verdict, reason))
    assert mainstay("points", "web1", "--nagios").code == code
    assert f"the last backup ended refused: {reason}" in " ".join(mainstay("points", "web1").out.split())


def test_the_repository_that_hosts_share_warns_for_the_site(
    mainstay: Mainstay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SITE["recovery/repositories.yml"].replace("/{host}'", "'").replace("/{host}-offsite'", "-offsite'")
    shared = shared.replace("'}", "', shared: accepted}")
    app = FakeApplication(write_site(tmp_path / "shared", **{**SITE, "recovery/repositories.yml": shared}))
    monkeypatch.setattr(bootstrap, "load", lambda given: app)
    seal(app, PATCH, [part("web1")])
    well(app, "web1")
    result = mainstay("status", "web1", "--nagios")
    assert result.code == 1
    assert "the key of main is not confirmed to be kept elsewhere" in result.out
    failed = Tended("main", "", "check", "", "failed", "r7", ago(9), "failed", "3 packs are damaged")
    app.points.note_tended(failed)
    result = mainstay("status", "web1", "--nagios")
    assert result.code == 2
    assert "check at main did not succeed: 3 packs are damaged" in result.out


def test_keys_that_nobody_has_confirmed_do_not_hide_what_is_wrong_with_the_data(
    patched: FakeApplication, mainstay: Mainstay
) -> None:
    for repository in ("main", "offsite"):
        patched.points.note_vault(Vault(repository, "web1", "id", ago(days=90), "r0"))
    patched.points.add_point(point("web1", 4, verdict="degraded", anomalies=("90 % less",)))
    line = mainstay("status", "web1", "--nagios").out.split(" | ")[0]
    assert "web1 backup: etc: 90 % less; retention waits" in line and line.count("confirmed") == 1, line


def test_a_host_that_is_only_backed_up_is_judged_by_its_backups(app: FakeApplication, mainstay: Mainstay) -> None:
    well(app, "db1", "web1")
    backed_up(app, RUN, {"db1": Verdict.SUCCEEDED, "web1": Verdict.SUCCEEDED})
    assert mainstay("status", "db1", "--nagios").code == 0
    told = mainstay("status", "web1", "--nagios")
    assert told.code == 0, "a plan patches it, and was never due"
    assert "no patch plan has run yet on web1, their backups are well" in told.out
    assert mainstay("status", "web2", "--nagios").code == 2, "no backup either"


def test_an_acknowledged_record_alarms_no_longer(patched: FakeApplication, mainstay: Mainstay) -> None:
    worse = PATCH[:-1] + "2"
    seal(patched, worse, [part("web1", Verdict.FAILED, "held back"), part("web2", Verdict.UNKNOWN, "contact lost")])
    assert mainstay("status", "web1", "--nagios").code == 2
    for host in ("web1", "web2"):
        patched.points.acknowledge(Ack(worse, host, "", "anna", ago(1), "known"))
    assert mainstay("status", "web1", "--nagios").code == 0
    told = mainstay("status", "web1", "--json").json[0]
    assert (told["verdict"], told["acknowledged"]) == ("failed", "acknowledged by anna: known")
    assert mainstay("status", "web2", "--nagios").code == 3, "what is unknown is not settled by looking"


def test_many_sources_are_not_measured_one_by_one(patched: FakeApplication, mainstay: Mainstay) -> None:
    from mainstay.console.render import hosts

    assert "'age/" in mainstay("status", "--nagios").out
    with pytest.MonkeyPatch.context() as few:
        few.setattr(hosts, "MEASURED", 7)
        out = mainstay("status", "--nagios").out
    assert "'age/" not in out and "backup_oldest=18000s" in out


def test_why_tells_each_source_of_a_host(patched: FakeApplication, mainstay: Mainstay) -> None:
    app = patched
    out = " ".join(mainstay("why", "web1").out.split())
    assert "web1 backup of etc by nightly: 5 h old in main and offsite, proved 3 d ago (run 01KYB" in out
    assert "20 of 1,240 files, 3.2 MB) well" in out
    assert "next chance of nightly: window early is open until 03:30 CET" in out
    (late,) = app.points.points(hosts=["web2"], source="etc", repository="offsite")[1:]
    app.points.mark_removed("offsite", [late.id], "r9", ago(1))
    app.points.add_point(point("web2", 41))
    assert "look  etc: offsite is 3 d behind\n" in mainstay("why", "web2").out
    many = tuple((f"lib{n:02}", "1", "2") for n in range(80))
    app.forecasts["web1"] = forecast(app.select("web1")[0], 80, items=many)
    before = mainstay("why", "web1").out.partition("backup of")[0].splitlines()
    assert len(before) < 15, "of packages only so much that the backups are seen"
    told = mainstay("why", "web1", "--json").json
    assert [one["source"] for one in told["backups"]] == ["db", "etc"]
    assert told["next_backups"] == {"nightly": "2026-12-11T00:30:00Z"}


def test_why_of_a_host_that_nothing_backs_up(patched: FakeApplication, mainstay: Mainstay, tmp_path: Path) -> None:
    assert "no recovery point" not in mainstay("why", "db1").out
    copied(patched, point("db1", 1))
    text = patched.site.root / "schedules/backup.yml"
    text.write_text(text.read_text().replace("role=web or role=db", "role=db"))
    from mainstay.schedules.check import load_checked

    patched.take(load_checked(patched.site.root))
    assert "web1 backup: no plan backs it up." in " ".join(mainstay("why", "web1").out.split())


def test_what_was_tried_in_vain_is_told_until_it_was_done(patched: FakeApplication, mainstay: Mainstay) -> None:
    def note(what: Any, hours: float, part: str = "failed", detail: str = "", fault: str = "", tries: int = 1) -> None:
        made = Tended("main", "web1", what, "", part, "r7", ago(hours), "failed", detail, fault, tries)
        patched.points.note_tended(made)

    def said() -> tuple[int, str]:
        result = mainstay("status", "web1", "--nagios")
        return result.code, result.out.splitlines()[0]

    note("prune", 2, detail="the lock of the tape library is jammed, and a block is missing")
    assert said()[0] == 1, "what was said does not make it a lock"
    note("prune", 2, tries=3)
    assert said()[0] == 2, "so often in a row"
    note("prune", 2, detail="by PID 12 on web1", fault="locked")
    assert said()[0] == 2
    note("prune", 1, part="")
    assert said()[0] == 0
    note("prune", -48, detail="by a clock that was ahead")
    assert said()[0] == 0, "it is tried again all the same"
    note("check", 2, detail="damaged")
    note("check", 1, part="3/23")
    assert said()[0] == 0


def test_retention_that_was_refused_is_told_until_somebody_has_looked(
    patched: FakeApplication, mainstay: Mainstay
) -> None:
    refused = Tended("main", "web1", "retention", "nightly", "refused", "r7", ago(2), "succeeded", "there are 8 groups")
    patched.points.note_tended(refused)
    assert mainstay("status", "web1", "--nagios").code == 1
    out = " ".join(mainstay("why", "web1").out.split())
    assert "retention at main did not succeed: there are 8 groups" in out
    assert "mainstay records ack r7" in out
    patched.points.note_tended(replace(refused, part="", at=ago(1)))
    assert mainstay("status", "web1", "--nagios").code == 0


def test_what_was_tended_of_many_hosts_is_read_once_however_much_has_failed(
    patched: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.console.backups.FEW", 1)
    for host in ("web1", "web2", "web10"):
        patched.points.note_tended(Tended("main", host, "prune", "", "failed", "r7", ago(2), "failed", "away"))
    reads, real = [], patched.points.tended

    def counting(**given: Any) -> Any:
        reads.append(given)
        return real(**given)

    monkeypatch.setattr(patched.points, "tended", counting)
    assert mainstay("status", "--json").code == 0
    assert len(reads) == 1


def test_data_that_nobody_has_read_in_time_is_told(patched: FakeApplication, mainstay: Mainstay) -> None:
    """Also where nothing was tried at all: no process serves, and no errand has failed."""
    old = Tended("main", "web1", "check", "", "7/23", "r0", ago(days=31), "succeeded")
    patched.points.note_tended(old)
    result = mainstay("status", "web1", "--nagios")
    assert result.code == 1
    assert "1 part of the data in main not read within 28 d" in result.out
    for turn in (1, 2, 3):
        other = Tended("main", "web1", "check", "", f"{turn}/3", "r8", ago(days=2), "succeeded")
        patched.points.note_tended(other)
    assert mainstay("status", "web1", "--nagios").code == 0, "another plan has it read in other parts"


def test_what_is_wrong_with_a_repository_is_said_once(
    mainstay: Mainstay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many plans use it; and that it could not be made is of no matter where it is there."""
    first = SITE["schedules/backup.yml"]
    second = (
        first.partition("plans:\n")[2].replace("nightly:", "other:").replace("    window: early\n", "    fresh: 2d\n")
    )
    app = FakeApplication(write_site(tmp_path / "two", **{**SITE, "schedules/backup.yml": first + second}))
    monkeypatch.setattr(bootstrap, "load", lambda given: app)
    well(app, "web1", "web2")
    app.points.note_tended(Tended("main", "web1", "check", "", "failed", "r7", ago(2), "failed", "3 packs are damaged"))
    app.points.note_tended(Tended("main", "web2", "init", "", "failed", "r7", ago(2), "failed", "it was away"))
    told = mainstay("status", "web1 or web2", "--json").json
    texts = [[one["text"] for one in host["backup"]["troubles"] if not one["source"]] for host in told]
    assert texts == [["check at main did not succeed: 3 packs are damaged"], []]

"""The command line over real stores, as far as it goes without a host: a site from nothing to a restored state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import part, seal, write_site

from mainstay.console import bootstrap

RUN = "01KYB0000000000000000000K7"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write_site(tmp_path / "site", **{"schedules/web.yml": "plans:\n  patch-web: {targets: role=web}\n"})


def test_a_new_site_passes_check(mainstay: Mainstay, tmp_path: Path) -> None:
    made = mainstay("init", str(tmp_path / "new"), "--json")
    assert made.code == 0
    assert "mainstay.yml" in made.json["files"]
    assert mainstay("check", "--site", str(tmp_path / "new")).code == 0
    again = mainstay("init", str(tmp_path / "new"))
    assert again.code == 2
    assert "site already" in again.err
    assert mainstay("init").code == 2


def test_check_names_every_problem(mainstay: Mainstay, site: Path) -> None:
    (site / "schedules/web.yml").write_text(
        "plans:\n  patch-web:\n    targets: role=web\n    reboots: never\n    waves: [0]\n"
    )
    result = mainstay("--site", str(site), "check")
    assert result.code == 2
    assert 'schedules/web.yml:4:5  plans.patch-web.reboots: unknown key. Did you mean "reboot"?' in result.out
    assert "2 errors" in result.out
    body = mainstay("check", "--json", "--site", str(site)).json
    assert {problem["key"] for problem in body["errors"]} == {"plans.patch-web.reboots", "plans.patch-web.waves.0"}
    assert body["error"]["file"] == "schedules/web.yml"
    assert mainstay("hosts", "--json", "--site", str(site)).code == 2


def test_sudoers_names_the_logins_and_no_more(mainstay: Mainstay, site: Path) -> None:
    rules = [row for row in mainstay("init", "--sudoers", str(site)).out.splitlines() if not row.startswith("#")]
    assert rules == ["ops ALL=(root) NOPASSWD: /usr/bin/sh, /bin/sh"]
    assert mainstay("init", "--sudoers", "--user", "bad user").code == 2
    assert "anna ALL=(root)" in mainstay("init", "--sudoers", "--user", "anna", "--json").json["sudoers"]


def test_the_site_is_found_from_within_and_by_variable(
    mainstay: Mainstay, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site / "inventory")
    assert mainstay("hosts").code == 0
    monkeypatch.chdir(site.parent)
    assert mainstay("hosts").code == 2
    # A folder that was named has to be the site itself.
    assert mainstay("hosts", "--site", str(site / "inventory")).code == 2
    monkeypatch.setenv("MAINSTAY_SITE", str(site))
    assert mainstay("hosts").code == 0


def test_a_state_goes_into_one_file_and_comes_back(mainstay: Mainstay, site: Path, tmp_path: Path) -> None:
    with bootstrap.load(site) as app:
        seal(app, RUN, [part("web1")])  # type: ignore[arg-type]  # has state and ledger, as the fake does
    at = ("--site", str(site))
    shown = mainstay("state", "--json", *at).json
    assert (shown["records"], shown["runs_in_flight"]) == (1, [])
    assert mainstay("state", "backup", str(tmp_path / "all"), *at).code == 0
    assert mainstay("state", "backup", str(tmp_path / "all"), *at).code == 2
    assert mainstay("state", "restore", str(tmp_path / "all"), *at).code == 2
    (site / "state").rename(site / "state.lost")
    assert mainstay("records", "--json", *at).json == []
    (site / "state").rename(site / "state.new")
    restored = mainstay("state", "restore", str(tmp_path / "all"), "--json", *at).json
    assert (restored["records"], restored["id"]) == (1, shown["id"])
    assert mainstay("records", "verify", *at).code == 0
    assert mainstay("records", "show", RUN, "--json", *at).json["seq"] == 1


def test_doctor_finds_what_is_wrong_with_the_controller(mainstay: Mainstay, site: Path) -> None:
    at = ("--site", str(site), "--controller", "--json")
    (site / "mainstay.yml").write_text("site: acme\nssh: {user: ops, key: 'file:no/such/key'}\n")
    first = mainstay("doctor", *at)
    assert first.code == 0
    found = {(one["topic"], one["health"]) for one in first.json["findings"]}
    assert {("secrets", "wrong"), ("known hosts", "wrong"), ("ledger", "well"), ("versions", "well")} <= found
    (site / "state").chmod(0o755)
    found = {(one["topic"], one["health"]) for one in mainstay("doctor", *at).json["findings"]}
    assert ("state", "wrong") in found
    (site / "state" / "ledger.key").unlink()
    broken = mainstay("doctor", *at)
    assert broken.code == 0
    assert any("missing" in one["message"] for one in broken.json["findings"] if one["health"] == "wrong")
    assert "restore" in mainstay("doctor", "--site", str(site), "--controller").out


def test_a_lost_part_of_the_state_stops_every_verb_that_needs_it(mainstay: Mainstay, site: Path) -> None:
    at = ("--site", str(site))
    assert mainstay("records", *at).code == 0
    (site / "state" / "ledger.key").unlink()
    result = mainstay("run", "patch-web", "--json", *at)
    assert result.code == 2
    assert result.json["error"]["kind"] == "ledger"


READERS = """
import io, json, sys
from contextlib import redirect_stdout
from mainstay.console.cli import run
for verb in ("hosts", "records", "status", "runs", "check"):
    with redirect_stdout(io.StringIO()) as out:
        code = run(["--site", sys.argv[1], verb, "--json"])
    json.loads(out.getvalue())
    print(verb, code, *sorted({"dbos", "fabric", "paramiko", "psycopg", "rich"} & set(sys.modules)))
"""


@pytest.mark.thorough
def test_reading_verbs_import_no_engine_and_no_database_of_others(site: Path) -> None:
    argv = [sys.executable, "-c", READERS, str(site)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["hosts 0", "records 0", "status 0", "runs 0", "check 0"], done.stderr

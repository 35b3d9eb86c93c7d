"""Corners of the screens: hosts that can't be asked, many packages at once, completion, who asks."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import shell_complete
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, forecast, left_out, write_site
from tests.unit.console.test_runs import in_flight

from mainstay.console import bootstrap
from mainstay.console.cli import root
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.request import RunRequest


def test_nothing_is_said_of_hosts_that_cannot_be_asked(app: FakeApplication, mainstay: Mainstay) -> None:
    for host in app.select("role=web"):
        app.forecasts[host.name] = HostForecast(host, error=f"unreachable: no route {HOSTILE}", unreachable=True)
    result = mainstay("preview", "patch-web")
    assert result.code == 5
    assert "Nothing can be said of any of these hosts." in result.out
    assert "Nothing to do" not in result.out
    assert "\x1b" not in result.out
    body = mainstay("preview", "patch-web", "--json").json
    assert all(one["unreachable"] and one["error"].startswith("unreachable") for one in body["hosts"])
    why = mainstay("why", "web1")
    assert why.code == 5
    assert "can't say: unreachable" in why.out


def test_why_tells_what_serve_saw_last(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("why", "web1", "--json").json["observed"] is None
    seen = {"at": "2026-12-10T23:05:00.000Z", "seen_at": "2026-12-10T23:05:00.000Z", "pending": 3, "kernel": HOSTILE}
    app.schedule_store.set_mark("observed/web10", json.dumps(seen))
    app.schedule_store.set_mark("observed/web1", json.dumps(seen))
    assert "web1   observed Fri 2026-12-11 00:05 CET: 3 updates waiting" in mainstay("why", "web1").out
    away = {**seen, "at": "2026-12-11T01:00:00.000Z", "unreachable": True, "error": f"no route{HOSTILE}"}
    app.schedule_store.set_mark("observed/web1", json.dumps(away))
    out = " ".join(mainstay("why", "web1").out.split())
    assert "web1 observed Fri 2026-12-11 02:00 CET: no route" in out and "\x1b" not in out
    assert "it last answered Fri 2026-12-11 00:05 CET" in out
    assert mainstay("why", "web1", "--json").json["observed"]["unreachable"] is True


def test_a_host_that_would_be_refused_says_why(app: FakeApplication, mainstay: Mainstay) -> None:
    web1 = app.select("web1")[0]
    app.forecasts["web1"] = forecast(
        web1, refused="dpkg was interrupted", notes=("a reboot is pending",), download_bytes=10**6
    )
    out = mainstay("preview", "patch-web", "--hosts", "web1").out
    assert "! would be refused: dpkg was interrupted" in out
    assert "· a reboot is pending" in out
    assert "No host would be touched." in out


def test_why_tells_together_what_is_alike(app: FakeApplication, mainstay: Mainstay) -> None:
    web1 = app.select("web1")[0]
    excluded = tuple(left_out(f"p{n}", "excluded", "the plan excludes it") for n in range(30))
    items = tuple((f"lib{n}", "1", "2") for n in range(12))
    app.forecasts["web1"] = forecast(web1, 2, items=items, left_out=excluded)
    out = mainstay("why", "web1").out
    assert "p0, p1 and 28 more" in out
    assert "mainstay run patch-web takes: lib0 1 → 2 · lib1 1 → 2 · lib2 1 → 2 · 9 more (--all)\n" in out
    assert "lib3" not in out
    listed = " ".join(mainstay("why", "web1", "--all").out.split())
    assert all(f"lib{n} 1 → 2 mainstay run patch-web" in listed for n in range(12))
    assert all(f"p{n} excluded" in listed for n in range(30)) and "more" not in listed
    assert len(mainstay("why", "web1", "--json").json["plans"][0]["waiting"]) == 12
    app.forecasts["web1"] = forecast(web1, 0, left_out=excluded)
    assert "patched as the plan asks: 30 left out" in mainstay("why", "web1").out
    app.forecasts["web1"] = forecast(web1, 0, seen=(("curl", "7.88"),))
    assert "fully patched: nothing newer" in mainstay("why", "web1").out
    assert "on offer is 7.88" in mainstay("why", "web1", "curl").out
    assert "nothing newer is on offer for it" in mainstay("why", "web1", "zsh").out


def test_resume_brings_everything_that_was_taken_up_to_its_end(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = in_flight(app), in_flight(app)
    app.left = {first.id, second.id}
    app.runs.requests += [RunRequest.from_json(row.request) for row in (first, second)]
    monkeypatch.setattr(app.runs, "resume", lambda: [first.id, second.id])
    result = mainstay("runs", "resume", first.id, "--json")
    assert (result.code, result.json["id"]) == (0, first.id)
    assert f"Run {second.id} was taken up too." in result.err
    assert all(row.state == "ended" for row in app.state.runs())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "patch-w"], ["patch-web"]),
        (["preview", ""], ["patch-later", "patch-night", "patch-web"]),
        (["next", "web"], ["web1", "web10", "web2", "webservers"]),
        (["next", "patch-w"], ["patch-web"]),
        (["why", "web1"], ["web1", "web10"]),
        (["hosts", "tr"], ["trust"]),
        (["records", "ver"], ["verify"]),
        (["run", "patch-web", "--min"], ["--min-age"]),
    ],
)
def test_a_shell_completes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    offered: list[str],
) -> None:
    for name, value in asked(write_site(tmp_path / "site"), words).items():
        monkeypatch.setenv(name, value)
    shell_complete(root, {}, "mainstay", "_MAINSTAY_COMPLETE", "bash_complete")
    assert [row.partition(",")[2] for row in capsys.readouterr().out.splitlines()] == offered


@pytest.mark.thorough
def test_a_shell_completes_by_the_program_as_it_is_installed(tmp_path: Path) -> None:
    told = asked(write_site(tmp_path / "site"), ["run", "patch-w"])
    program = Path(sys.executable).with_name("mainstay")
    done = subprocess.run([program], env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("plain,patch-web\n", "")


def asked(site: Path, words: list[str]) -> dict[str, str]:
    """What bash's script puts into the environment."""
    return {
        "_MAINSTAY_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["mainstay", *words]),
        "COMP_CWORD": str(len(words)),
        "MAINSTAY_SITE": str(site),
    }


@pytest.mark.thorough
def test_completion_says_nothing_where_there_is_no_site(tmp_path: Path) -> None:
    told = {"_MAINSTAY_COMPLETE": "bash_complete", "COMP_WORDS": "mainstay run p", "COMP_CWORD": "2"}
    program = Path(sys.executable).with_name("mainstay")
    done = subprocess.run(
        [program], env={**os.environ, **told}, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(mainstay: Mainstay, shell: str) -> None:
    result = mainstay("completion", shell)
    assert result.code == 0
    assert "_MAINSTAY_COMPLETE" in result.out
    assert mainstay("completion", shell, "--json").json["shell"] == shell
    assert mainstay("completion", "tcsh").code == 2


def test_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    assert bootstrap.who().startswith("anna@")
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("LOGNAME", "ben")  # two people are not made by setting a variable
    assert bootstrap.who().startswith(f"{pwd.getpwuid(os.getuid()).pw_name}@")

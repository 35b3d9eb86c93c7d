"""Inventory, pinned keys, status: what the controller knows without asking, and what it pins."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, part, seal, untouched

from mainstay.runner.shell.contract import Unreachable
from mainstay.runner.shell.pins import HostKey
from mainstay.runner.verdict import Verdict

RUN = "01KYB0000000000000000000K7"


def key(seed: str, kind: str = "ssh-ed25519") -> HostKey:
    return HostKey(kind, len(kind).to_bytes(4, "big") + kind.encode() + seed.encode())


def test_the_inventory_with_what_is_known(app: FakeApplication, mainstay: Mainstay) -> None:
    app.pins.pin(app.select("web1")[0], [key("a")])
    seal(app, RUN, [part("web1", Verdict.DEGRADED, "still runs old code: cron.service")])
    assert mainstay("hosts").out == (
        "  host    address          pinned   last run          age      groups and tags\n"
        "  db1     10.9.0.31        no       never contacted   –        role=db\n"
        "  web1    10.9.0.11        yes      degraded          30 min   webservers env=prod role=web\n"
        "  web2    10.9.0.12        no       never contacted   –        webservers env=prod role=web\n"
        "  web10   10.9.0.20:2222   no       never contacted   –        webservers env=test role=web\n"
    )


def test_hosts_as_json_and_by_selector(app: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("hosts", "env=test", "--json")
    assert [one["host"] for one in result.json] == ["web10"]
    assert result.json[0]["port"] == 2222
    assert result.json[0]["pinned"] is False
    assert result.json[0]["last_verdict"] is None
    assert result.err == ""
    assert mainstay("--json", "hosts", "list", "env=test").json == result.json


def test_a_selector_that_matches_nothing_is_an_error_never_all(app: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("hosts", "role=nope", "--json")
    assert result.code == 2
    assert result.json["error"]["kind"] == "selector"


def test_trust_shows_then_asks_then_pins(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.scans = {"web1": (key("a"),), "web2": (key("b"),)}
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    result = mainstay("hosts", "trust", "web1 or web2")
    assert result.code == 0
    assert key("a").fingerprint in result.out
    assert "Pin the keys of 2 hosts? [y/N]" in result.err
    assert app.pins.keys(app.select("web2")[0]) == (key("b"),)
    again = mainstay("hosts", "trust", "web1", "--no-input", "--json")
    assert (again.code, again.json[0]["state"]) == (0, "pinned")


def test_trust_pins_nothing_without_a_yes(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.scans = {"web1": (key("a"),)}
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    result = mainstay("hosts", "trust", "web1")
    assert result.code == 1
    assert "Nothing was pinned" in result.err
    assert mainstay("hosts", "trust", "web1", "--no-input").code == 2
    assert app.pins.keys(app.select("web1")[0]) == ()


def test_a_changed_key_needs_replace(app: FakeApplication, mainstay: Mainstay) -> None:
    web1 = app.select("web1")[0]
    app.pins.pin(web1, [key("old")])
    app.scans = {"web1": (key("new"),)}
    refused = mainstay("hosts", "trust", "web1", "--yes")
    assert refused.code == 4
    assert key("old").fingerprint in refused.out
    assert key("new").fingerprint in refused.out
    assert "--replace" in refused.out
    assert app.pins.keys(web1) == (key("old"),)
    assert mainstay("hosts", "trust", "web1", "--yes", "--replace").code == 0
    assert app.pins.keys(web1) == (key("new"),)


def test_a_host_that_has_keys_of_further_kinds_has_not_changed(app: FakeApplication, mainstay: Mainstay) -> None:
    web1, rsa = app.select("web1")[0], key("r", "ssh-rsa")
    app.pins.pin(web1, [key("a")])
    app.scans = {"web1": (key("a"), rsa)}
    result = mainstay("hosts", "trust", "web1", "--no-input", "--json")
    assert (result.code, result.json[0]["state"]) == (0, "pinned")
    assert app.pins.keys(web1) == (key("a"),)
    app.scans = {"web1": (key("b"), rsa)}
    assert mainstay("hosts", "trust", "web1", "--no-input").code == 4


def test_trust_from_an_existing_file_asks_no_host(app: FakeApplication, mainstay: Mainstay, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"10.9.0.11 ssh-ed25519 {base64.b64encode(key('a').blob).decode()}\n")
    result = mainstay("hosts", "trust", "web1 or web2", "--from", str(known), "--yes", "--json")
    assert result.code == 1
    assert {one["host"]: one["state"] for one in result.json} == {"web1": "pinned", "web2": "failed"}
    assert app.pins.keys(app.select("web1")[0]) == (key("a"),)


def test_a_host_that_does_not_answer_keeps_no_other_from_being_pinned(app: FakeApplication, mainstay: Mainstay) -> None:
    app.scans = {"web1": Unreachable("web1", f"no route {HOSTILE}"), "web2": (key("b"),)}
    result = mainstay("hosts", "trust", "web1 or web2", "--yes")
    assert result.code == 1
    assert "\x1b" not in result.out
    assert "\nweb9" not in result.out
    assert app.pins.keys(app.select("web2")[0]) == (key("b"),)


def test_status_says_unknown_of_what_was_never_contacted(app: FakeApplication, mainstay: Mainstay) -> None:
    ending = part("web2", Verdict.FAILED, f"health: {HOSTILE}")
    stale = part("web10", measures={"stale": ["cron.service"], "reboot_pending": ["kernel"]})
    seal(app, RUN, [part("web1"), ending, stale])
    result = mainstay("status")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["host", "last", "run", "age", "why"]
    assert lines[1].split()[:2] == ["web2", "failed"], "the worst first"
    rows = [line.split()[:2] for line in lines if line[2:3].isalnum()][1:-1]
    assert rows == [["web2", "failed"], ["db1", "unknown"], ["web1", "succeeded"], ["web10", "succeeded"]]
    assert "a reboot is pending; still runs old code: cron.service" in " ".join(result.out.split())
    assert "\x1b" not in result.out and "\r" not in result.out
    assert lines[-1] == "1 failed, 2 succeeded, 1 unknown"
    by_host = {one["host"]: one for one in mainstay("status", "--json").json}
    assert by_host["db1"]["verdict"] == "unknown" and by_host["db1"]["run"] is None
    assert by_host["web10"]["stale"] == ["cron.service"]
    assert by_host["web10"]["reboot_pending"] is True


@pytest.mark.parametrize(
    ("verdicts", "code", "word"),
    [
        ([Verdict.SUCCEEDED, Verdict.SUCCEEDED], 0, "OK"),
        ([Verdict.SUCCEEDED, Verdict.DEGRADED], 1, "WARNING"),
        ([Verdict.REFUSED, Verdict.DEGRADED], 1, "WARNING"),
        ([Verdict.FAILED, Verdict.UNKNOWN], 2, "CRITICAL"),
        ([Verdict.ROLLED_BACK, Verdict.SUCCEEDED], 2, "CRITICAL"),
        ([Verdict.UNKNOWN, Verdict.DEGRADED], 3, "UNKNOWN"),
    ],
)
def test_nagios(app: FakeApplication, mainstay: Mainstay, verdicts: list[Verdict], code: int, word: str) -> None:
    seal(app, RUN, [part(host, verdict, "a|b") for host, verdict in zip(("web1", "web2"), verdicts, strict=True)])
    result = mainstay("status", "web1 or web2", "--nagios")
    assert result.code == code
    assert result.out.startswith(f"MAINSTAY {word} - ")
    assert result.out.count("|") == 1
    assert result.out.count("\n") == 1


def test_a_run_that_did_nothing_on_a_host_hides_nothing(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(
        app, RUN, [part("web1", Verdict.DEGRADED, "old code runs in dbus", measures={"stale": ["dbus"]}), part("web2")]
    )
    nothing = untouched("web1", Verdict.SUCCEEDED, "nothing to do")
    seal(app, RUN[:-1] + "8", [nothing, untouched("web2", Verdict.REFUSED, "not started: 1 unreachable")])
    told = {one["host"]: one for one in mainstay("status", "web1 or web2", "--json").json}
    assert told["web1"]["verdict"] == "succeeded"
    assert told["web1"]["reason"] == "nothing to do; before that degraded: old code runs in dbus"
    assert told["web1"]["stale"] == ["dbus"]
    assert told["web2"]["reason"] == "not started: 1 unreachable"
    assert mainstay("status", "web1", "--nagios").code == 1
    rebooted = nothing.model_copy(update={"after": {"boot_id": "b2"}})
    seal(app, RUN[:-1] + "9", [rebooted])
    told = {one["host"]: one for one in mainstay("status", "web1", "--json").json}
    assert (told["web1"]["reason"], told["web1"]["stale"]) == ("nothing to do", [])
    assert mainstay("status", "web1", "--nagios").code == 0


def test_nagios_says_unknown_where_it_cannot_tell(mainstay: Mainstay, tmp_path: Path) -> None:
    result = mainstay("--site", str(tmp_path), "status", "--nagios")
    assert result.code == 3
    assert result.out.startswith("MAINSTAY UNKNOWN - ")

"""run, rollback, runs and records: exit codes by verdict, JSON as it is promised, and readable without a terminal."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, forecast, part, seal, untouched

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.runner.record import HostPart
from mainstay.runner.request import RunRequest, plan_request
from mainstay.runner.state.contract import RunRow, UndoRow
from mainstay.runner.verdict import EXIT_CODES, Verdict
from mainstay.schedules.store.contract import Carried
from mainstay.schedules.timing import timing_of

RUN = "01KYB0000000000000000000K7"
RECORD_KEYS = {
    "id", "seq", "hash", "kind", "plan", "maintenance_type", "verdict", "reason", "trigger", "requested_by", "window",
    "site", "mainstay_version", "started_at", "finished_at", "links", "hosts", "measures",
}  # fmt: skip


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("arguments", [("run", "patch-web"), ("run", "patch-web", "--json")])
def test_the_exit_code_is_the_verdict(
    app: FakeApplication, mainstay: Mainstay, verdict: Verdict, arguments: tuple[str, ...]
) -> None:
    app.ending = lambda host: part(host.name, verdict)
    result = mainstay(*arguments, "--hosts", "web1")
    expected = Verdict.REFUSED if verdict is Verdict.MISSED else verdict
    assert result.code == EXIT_CODES[expected]
    assert "Traceback" not in result.err
    assert "\x1b" not in result.err + result.out


def test_run_prints_one_record_as_json(app: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("--json", "run", "patch-web", "--reason", "CVE", "--retry")
    record = result.json
    assert record.keys() >= RECORD_KEYS
    assert record["site"].keys() == {"commit", "dirty", "plan_hash"}
    assert record["links"].keys() == {"undoes", "reconciles", "relies_on", "proves"}
    assert {"host", "verdict", "reason", "steps", "before", "after"} <= record["hosts"][0].keys()
    assert {"name", "verdict", "started_at", "finished_at", "detail"} <= record["hosts"][0]["steps"][0].keys()
    assert record["finished_at"].endswith("Z")
    request: RunRequest = app.runs.requests[0]
    assert (request.reason, request.retry, request.requested_by) == ("CVE", True, "anna@ops1")
    assert [host.name for host in request.hosts] == ["web1", "web2", "web10"]
    assert record == mainstay("records", "show", record["id"], "--json").json


def test_run_without_a_terminal_is_one_line_per_event(app: FakeApplication, mainstay: Mainstay) -> None:
    ends: dict[str, HostPart] = {
        "web1": part("web1", Verdict.ROLLED_BACK, f"health: service demo-web did not come up {HOSTILE}"),
    }

    def ending(host: Host) -> HostPart:
        return ends.get(host.name) or untouched(host.name, Verdict.CANCELLED, "not started: stopped in wave 1")

    app.ending = ending
    result = mainstay("run", "patch-web")
    assert result.code == 1
    assert "\x1b" not in result.err + result.out
    assert "\r" not in result.err + result.out
    assert re.search(r"^run 01\w+ · patch-web · 3 hosts$", result.err, re.M)
    assert re.search(r"^web1: rolled-back: health: service demo-web did not come up", result.err, re.M)
    assert re.search(r"^run 01\w+ · patch-web · rolled-back$", result.out, re.M)
    assert re.search(r"^  web1 +rolled-back +0:24", result.out, re.M)
    assert re.search(r"^  Record 1 sealed\. See more: mainstay records show 01\w+$", result.out, re.M)
    assert not re.search(r"^web9", result.err + result.out, re.M)


def test_hosts_that_were_not_touched_are_told_together(app: FakeApplication, mainstay: Mainstay) -> None:
    why = "not started: stopped in wave 1, which has to be green"
    parts = [part("web1", Verdict.FAILED, "apply: dpkg ended with 1")]
    parts += [untouched(name, Verdict.CANCELLED, why) for name in ("web2", "web10", "db1")]
    seal(app, RUN, parts, reason="stopped in wave 1, which has to be green")
    out = mainstay("records", "show", RUN).out
    assert "stopped in wave 1, which has to be green" in out
    app.ending = lambda host: parts[0] if host.name == "web1" else untouched(host.name, Verdict.CANCELLED, why)
    out = mainstay("run", "patch-web").out
    assert re.search(r"^  web2 +cancelled +– +not started", out, re.M)


def test_outside_its_window_a_plan_is_refused_and_the_next_opening_named(
    app: FakeApplication, mainstay: Mainstay
) -> None:
    result = mainstay("run", "patch-night", "--json")
    assert result.code == 4
    assert result.json["error"]["kind"] == "refused"
    told = result.json["error"]["message"]
    assert "night opens Fri 2026-12-11 22:00 CET (2026-12-11 21:00 UTC)" in told and "Nothing was touched" in told
    assert "--at-next-window" in result.json["error"]["hint"] and "--break-glass" in result.json["error"]["hint"]
    assert app.runs.requests == [] and app.state.runs() == []
    assert mainstay("run", "patch-night", "--break-glass", "outage 17").code == 0
    assert app.runs.requests[0].break_glass == "outage 17"


def test_one_gate_is_passed_over_by_name_and_with_a_reason(app: FakeApplication, mainstay: Mainstay) -> None:
    nameless = mainstay("run", "patch-night", "--skip-gate", "windw", "--reason", "CVE", "--json")
    assert (nameless.code, nameless.json["error"]["hint"]) == (2, 'Did you mean "window"?')
    silent = mainstay("run", "patch-night", "--skip-gate", "window", "--json")
    assert silent.code == 2 and "--reason" in silent.json["error"]["message"]
    assert mainstay("run", "patch-night", "--skip-gate", "freeze", "--reason", "CVE").code == 4, "another gate"
    assert app.runs.requests == []
    assert mainstay("run", "patch-night", "--skip-gate", "window", "--reason", "CVE").code == 0
    assert (app.runs.requests[0].skip_gates, app.runs.requests[0].break_glass) == ({"window": "CVE"}, "")


def test_a_run_that_waits_for_its_window_is_left_to_whoever_serves(app: FakeApplication, mainstay: Mainstay) -> None:
    app.serving = ("ops2-4711-k3q7x2ma",)
    app.schedule_store.carry(Carried(plan="patch-night", host="web10", run=RUN, at="2026-12-10", reason="no time"))
    result = mainstay("run", "patch-night", "--at-next-window", "--json")
    (request,) = app.runs.requests
    assert (result.code, result.json["state"], result.json["id"]) == (0, "waiting", request.id)
    assert result.json["until"] == "2026-12-11T21:00:00.000Z"
    assert app.runs.offered == [request.id] and app.runs.handed == []
    assert timing_of(request).queued and request.first == ("web10",)
    assert "begins by itself" in result.err


def test_where_nobody_serves_it_waits_in_this_process_and_says_so(app: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("run", "patch-night", "--at-next-window")
    assert result.code == 0 and "No process serves on this state" in result.err
    assert "waiting until 2026-12-11T21:00" in result.err and app.runs.offered == []
    wrong = mainstay("run", "patch-web", "--at-next-window", "--json")
    assert wrong.code == 2 and "no window to wait for" in wrong.json["error"]["message"]


@pytest.mark.parametrize(
    "passed", [("--break-glass", "nobody is here to approve it"), ("--skip-gate", "window", "--reason", "CVE")]
)
def test_what_waits_for_its_window_does_not_pass_it(
    app: FakeApplication, mainstay: Mainstay, passed: tuple[str, ...]
) -> None:
    result = mainstay("run", "patch-night", "--at-next-window", *passed, "--json")
    assert result.code == 2 and "one of the two" in result.json["error"]["hint"]
    assert app.runs.requests == [] and app.state.runs() == []
    assert mainstay("run", "patch-night", "--at-next-window", "--skip-gate", "approval", "--reason", "CVE").code == 0


def test_what_a_run_as_a_whole_waits_for_is_shown(app: FakeApplication, mainstay: Mainstay) -> None:
    row = in_flight(app)
    app.state.note_step(row.id, "", "permit", "waiting until 03:00: nobody has approved it")
    shown = mainstay("runs").out
    assert f"{row.id}: waiting until 03:00: nobody has approved it" in shown and "  waiting  " in shown
    assert mainstay("runs", "--json").json[0]["waiting"] == "waiting until 03:00: nobody has approved it"


def test_a_plan_that_asks_for_what_is_not_there_is_exit_2(app: FakeApplication, mainstay: Mainstay) -> None:
    result = mainstay("run", "patch-later", "--json")
    assert result.code == 2
    assert result.json["error"]["file"] == "schedules/web.yml"
    assert app.runs.requests == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "patch-wep"), 'Did you mean "patch-web"'),
        (("run", "patch-web", "--hosts", "role=db"), "match"),
        (("run", "patch-web", "--min-age", "0"), "--reason"),
        (("run", "patch-web", "--min-age", "soon", "--reason", "r"), "soon"),
        (("preview", "nope"), "patch-web"),
        (("rollback", RUN), "no run"),
        (("records", "show", "999"), "no record"),
        (("why", "web3"), "Did you mean"),
        (("records", "export"), "--csv"),
    ],
)
def test_usage_errors(app: FakeApplication, mainstay: Mainstay, arguments: tuple[str, ...], word: str) -> None:
    result = mainstay(*arguments)
    assert result.code == 2
    assert word in result.err
    assert app.runs.requests == []


def test_another_age_with_a_reason(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("run", "patch-web", "--min-age", "3d", "--reason", "r").code == 0
    assert app.runs.requests[0].operation["updates"]["min_age"] == 3 * 86400


def test_an_error_while_executing_comes_through_the_desk(app: FakeApplication, mainstay: Mainstay) -> None:
    def during(run: str) -> None:
        raise Refused("the host belongs to another state")

    app.during = during
    result = mainstay("run", "patch-web", "--json")
    assert result.code == 4
    assert result.json["error"]["message"] == "the host belongs to another state"


def in_flight(app: FakeApplication, state: Any = "running", kind: str = "patch") -> RunRow:
    request = plan_request(app.plan("patch-web"), app.select("role=web"), app.asking())
    row = RunRow(
        id=request.id,
        kind=kind,
        plan="patch-web",
        state=state,
        request=request.to_json(),
        wave=2,
        started_at="2026-12-11T01:00:00Z",
    )
    app.state.add_run(row)
    return row


def test_runs_in_flight(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("runs").out == "No run is in flight.\n"
    assert mainstay("runs", "--json").json == []
    row = in_flight(app)
    expected = {
        "id": row.id, "kind": "patch", "plan": "patch-web", "state": "running", "wave": 2, "waves": None,
        "started_at": row.started_at, "standing": "in-hand", "executor": "ops2-4711-k3q7x2ma", "needs_version": None,
        "waiting": None, "approval": None,
    }  # fmt: skip
    assert mainstay("runs", "--json").json == [expected]
    assert re.search(rf"^  {row.id}   patch-web   running +2   Fri 2026-12-11 02:00 CET", mainstay("runs").out, re.M)
    assert "ops2-4711" in mainstay("runs").out
    app.state.set_waves(row.id, [["web1"], ["web2"], ["web10"]])
    assert "2 of 3" in mainstay("runs").out
    assert mainstay("runs", "--json").json[0]["waves"] == 3
    app.left = {row.id}
    assert "left behind" in mainstay("runs").out
    assert mainstay("runs", "--json").json[0]["standing"] == "left-behind"
    app.state.add_run(
        RunRow(
            id=f"{RUN[:-1]}8", kind="restore", plan="nightly", state="running", request={}, started_at=row.started_at
        )
    )
    assert "nightly (restore)" in mainstay("runs").out


def test_pause_and_cancel_are_asked_for_with_a_reason(app: FakeApplication, mainstay: Mainstay) -> None:
    row = in_flight(app)
    assert mainstay("runs", "pause", row.id[-6:], "--reason", "phone").code == 0
    now = app.state.run(row.id)
    assert now is not None
    assert (now.wish, now.wish_by, now.wish_reason) == ("pause", "anna@ops1", "phone")
    assert [one["state"] for one in mainstay("runs", "--json").json] == ["paused"]
    assert mainstay("runs", "resume", row.id).code == 0
    again = app.state.run(row.id)
    assert again is not None and again.wish == ""
    assert mainstay("runs", "cancel", row.id, "--reason", "enough", "--json").json == {"id": row.id, "wish": "cancel"}
    assert [one["state"] for one in mainstay("runs", "--json").json] == ["stopping"]


@pytest.mark.parametrize("kind", ["patch", "backup"])
def test_a_cancel_says_what_becomes_of_what_is_under_way(app: FakeApplication, mainstay: Mainstay, kind: str) -> None:
    row = in_flight(app, kind=kind)
    said = mainstay("runs", "cancel", row.id, "--reason", "enough").err
    words = (
        "the backup that is under way on a host is ended"
        if kind == "backup"
        else "hosts in hand are brought to their end"
    )
    assert words in " ".join(said.split())


def test_what_has_ended_cannot_be_cancelled(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1")])
    result = mainstay("runs", "cancel", RUN, "--reason", "r")
    assert result.code == 2
    assert "has ended" in result.err
    assert mainstay("runs", "resume", RUN, "--json").json["id"] == RUN


def test_resume_takes_up_a_run_that_was_left_behind(app: FakeApplication, mainstay: Mainstay) -> None:
    row = in_flight(app)
    app.left = {row.id}
    app.runs.requests.append(RunRequest.from_json(row.request))
    result = mainstay("runs", "resume", row.id, "--json")
    assert result.code == 0
    assert result.json["id"] == row.id
    assert app.runs.recovered == 1


def undo(app: FakeApplication, host: str) -> None:
    app.state.add_undo(
        UndoRow(
            run=RUN,
            host=host,
            operation="patch",
            undo={"items": [{"name": "libssl3", "where": "repository"}, {"name": "openssl", "where": "captured"}]},
            made_at="2026-12-11T01:00:00Z",
            keep_until="2027-01-10T01:00:00Z",
        )
    )


def run_to_undo(app: FakeApplication) -> None:
    request = plan_request(app.plan("patch-web"), app.select("role=web"), app.asking())
    row = RunRow(
        id=RUN,
        kind="patch",
        plan="patch-web",
        state="running",
        request=request.to_json(),
        started_at="2026-12-11T01:00:00Z",
    )
    app.state.add_run(row)
    seal(app, RUN, [part("web1"), part("web2")])
    for host in ("web1", "web2"):
        undo(app, host)


def test_rollback_shows_its_limits_and_asks(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to_undo(app)
    web1 = app.select("web1")[0]
    limits = ("conffiles changed by hand after the run are kept", f"data {HOSTILE}")
    app.forecasts["web1"] = forecast(web1, limits=limits, irreversible=(("perl", "nowhere to be had"),), reversible=1)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    result = mainstay("rollback", RUN)
    assert result.code == 1
    assert f"Undoes run {RUN} (patch-web, Fri 2026-12-11 02:00 CET, 2 hosts changed)" in result.out
    assert "2 of 2 hosts, 3 of 4 packages (2 from the repository, 2 captured)" in result.out
    assert "web1: perl: nowhere to be had" in result.out
    assert "web1: conffiles changed by hand" in result.out
    assert "Go on? [y/N]" in result.err
    assert "\x1b" not in result.out
    assert app.runs.requests == []


@pytest.mark.parametrize("name", [RUN[-4:], "1"])  # a listing of records shows their numbers alone
def test_rollback_runs_after_a_yes_and_links_what_it_undoes(
    app: FakeApplication, mainstay: Mainstay, name: str
) -> None:
    run_to_undo(app)
    result = mainstay("rollback", name, "--hosts", "web1", "--yes", "--json")
    assert result.code == 0
    assert json.loads(result.out)["links"]["undoes"] == RUN
    assert "can go back" in result.err
    request = app.runs.requests[0]
    assert (request.kind, [host.name for host in request.hosts]) == ("rollback", ["web1"])


def test_who_does_not_know_the_run_is_told_the_command(app: FakeApplication, mainstay: Mainstay) -> None:
    """At three in the morning one knows the host."""
    run_to_undo(app)
    seal(app, "01KYB0000000000000000000B1", [part("web1")], plan="nightly", kind="backup")
    told = "patch-web, Fri 2026-12-11 02:00, 2 hosts: mainstay rollback 1"
    for words, said in {
        ("web1",): f"web1 is a host; what is undone is a run. The last that changed it: {told} --hosts web1\n",
        ("patch-web",): f"patch-web is a plan; what is undone is a run. The last that changed it: {told}\n",
        (): f"Which run is to be undone? The last that changed something: {told}\n",
        ("db1",): "db1 is a host; what is undone is a run. No patch run has changed it yet.\n",
        ("nonsense",): 'There is no run "nonsense". See mainstay runs and mainstay records list.\n',
    }.items():
        result = mainstay("rollback", *words)
        assert (result.code, result.err) == (2, said)


def test_rollback_with_no_input_is_a_usage_error(app: FakeApplication, mainstay: Mainstay) -> None:
    run_to_undo(app)
    assert mainstay("rollback", RUN, "--no-input").code == 2
    dry = mainstay("rollback", RUN, "-n", "--json")
    assert (dry.code, dry.json["undoes"]) == (0, RUN)
    assert app.runs.requests == []


def test_rollback_of_what_is_back_already_or_cannot_go_back(app: FakeApplication, mainstay: Mainstay) -> None:
    run_to_undo(app)
    for host in app.select("web1 or web2"):
        app.forecasts[host.name] = forecast(host, 0)
    result = mainstay("rollback", RUN, "--no-input")
    assert result.code == 0
    assert "back already" in result.err
    app.forecasts["web1"] = forecast(app.select("web1")[0], 1, refused="changed since by somebody else")
    assert mainstay("rollback", RUN, "--no-input", "--json").code == 4
    assert app.runs.requests == []

"""Who is told what, from mainstay.yml to a command that wrote it down and a server that heard it; and where it shows when not."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import FakeApplication, part, seal, untouched, write_site

from mainstay.console import approving, bootstrap, telling
from mainstay.console.gating import Gates
from mainstay.inventory.redaction import MASK, redact
from mainstay.inventory.value import Json
from mainstay.runner.request import plan_request
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.check import load_checked
from mainstay.schedules.occurrences import timing
from mainstay.schedules.store.contract import Notice

CANARY = "canary-5f0e1d-of-the-ping"
TELL = """#!{python}
import json, os, pathlib, sys
notice = json.load(sys.stdin)
with open("told.jsonl", "a") as file:
    names = sorted(name for name in os.environ if name.startswith("MAINSTAY_") or name == "TOKEN")
    file.write(json.dumps({{"argv": sys.argv[1:], "environment": {{name: os.environ[name] for name in names}}, **notice}}) + "\\n")
sys.exit(pathlib.Path("broken").exists())
"""
MAIN = """site: acme
timezone: Europe/Berlin
ssh: {user: ops}
notify: {name: ops, command: [bin/tell, "$(id)"], on: [failed, approval], env: {TOKEN: file:secrets/token}}
"""
PLANS = """
windows:
  night: {rrule: "FREQ=DAILY", start: "02:00", duration: 3h}
plans:
  patch-web: {targets: role=web, ping: "file:secrets/ping"}
  patch-night: {targets: role=web, window: night, approval: required}
"""


class Switch:
    """A dead man's switch on this machine."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.status = 200
        switch = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                switch.heard.append((self.path, text))
                self.send_response(switch.status)
                if switch.status == 302:
                    self.send_header("Location", "http://169.254.169.254/")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/{CANARY}"


@pytest.fixture
def switch() -> Iterator[Switch]:
    made = Switch()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: Switch) -> FakeApplication:
    root = write_site(tmp_path / "site", **{"mainstay.yml": MAIN, "schedules/web.yml": PLANS})
    for name, text in (
        ("bin/tell", TELL.format(python=sys.executable)),
        ("secrets/token", "canary-of-a-token\n"),
        ("secrets/ping", switch.url),
    ):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o700)
    application = FakeApplication(root)
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    application.notices.begin()
    return application


def told(app: FakeApplication) -> list[Json]:
    path = app.site.root / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(app: FakeApplication, run: str, verdict: Verdict = Verdict.FAILED) -> None:
    app.runs.submit(
        plan_request(app.plans["patch-web"], app.targets(app.plans["patch-web"]), app.asking()).model_copy(
            update={"id": run}
        )
    )
    parts = [part("web1"), part("web2", verdict, "did not come up"), untouched("web10", Verdict.REFUSED, "red before")]
    seal(app, run, parts)


def test_a_command_gets_the_record_and_a_switch_hears_of_it(app: FakeApplication, switch: Switch) -> None:
    app.runs.submit(
        plan_request(app.plans["patch-web"], app.targets(app.plans["patch-web"]), app.asking()).model_copy(
            update={"id": "R1"}
        )
    )
    app.notices._begun.append(("R1", "patch-web", ("web1", "web2", "web10")))
    app.notices.round()
    seal(app, "R1", [part("web1"), part("web2", Verdict.FAILED, "did not come up"), part("web10")])
    app.notices.round()
    app.notices.round()
    assert len(told(app)) == 1
    one = told(app)[0]
    assert one["argv"] == ["$(id)"]
    assert (one["event"], one["site"], one["record"]["id"], one["record"]["verdict"]) == (
        "failed",
        "acme",
        "R1",
        "failed",
    )
    assert one["record"]["hosts"] == [{"host": "web2", "verdict": "failed", "reason": "did not come up"}]
    assert one["environment"] == {
        "MAINSTAY_CHANNEL": "ops",
        "MAINSTAY_EVENT": "failed",
        "MAINSTAY_NOTICE": "ops:record:R1",
        "MAINSTAY_PLAN": "patch-web",
        "MAINSTAY_SITE": "acme",
        "TOKEN": "canary-of-a-token",
    }
    assert switch.heard == [
        (f"/{CANARY}/start", "run R1 of patch-web began"),
        (f"/{CANARY}/fail", "failed\n1 failed, 2 succeeded\nrun R1 of patch-web"),
    ]


def test_no_secret_is_written_down(app: FakeApplication, switch: Switch) -> None:
    switch.status = 500
    ended(app, "R1")
    app.notices.round()
    store = app.schedule_store
    everything = json.dumps([notice.to_json() for notice in store.undelivered()]) + json.dumps(store.marks(""))
    everything += json.dumps([row.request for row in app.state.runs()]) + json.dumps(told(app)[0]["record"])
    assert "127.0.0.1 answers with 500" in everything
    assert CANARY not in everything
    assert "canary-of-a-token" not in everything
    assert str(switch.server.server_address[1]) not in everything


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (503, "127.0.0.1 answers with 503"),
        (302, "127.0.0.1 answers with 302, which is not followed"),
        (404, "answers with 404"),
    ],
)
def test_a_switch_that_does_not_take_it_is_an_alarm(
    app: FakeApplication, mainstay: Mainstay, switch: Switch, status: int, error: str
) -> None:
    switch.status = status
    ended(app, "R1")
    app.notices.round()
    undelivered = app.schedule_store.undelivered()
    assert [notice.channel for notice in undelivered] == ["ping/patch-web"]
    assert error in undelivered[0].error
    for _ in range(2):
        app.schedule_store.note_try(undelivered[0].id, at="", error=undelivered[0].error, next_try_at="9")
    assert (
        f"ping of patch-web: 1 notice not delivered since Fri 2026-12-11 02:30 CET: {undelivered[0].error}"
        in " ".join(mainstay("status").out.split())
    )


def test_what_is_not_delivered_is_named_in_status_and_doctor(app: FakeApplication, mainstay: Mainstay) -> None:
    (app.site.root / "broken").touch()
    ended(app, "R1")
    app.notices.round()
    assert "channel ops" not in mainstay("status").out
    for _ in range(2):
        app.schedule_store.note_try("ops:record:R1", at="", error="x", next_try_at="9")
    words = "channel ops: 1 notice not delivered since Fri 2026-12-11 02:30 CET: bin/tell ended with exit 1"
    assert words in mainstay("status").out
    nagios = mainstay("status", "web1", "--nagios")
    assert (nagios.code, words in nagios.out) == (1, True)
    findings = mainstay("doctor", "--controller", "--json").json["findings"]
    assert [(one["health"], one["message"]) for one in findings if one["topic"] == "notices"] == [
        ("wrong", words),
        ("look", "ping of patch-web: the plan has no window that opens, so nothing says when to expect it"),
    ]


def test_doctor_says_how_a_switch_is_to_be_set_and_never_where_it_is(app: FakeApplication, mainstay: Mainstay) -> None:
    path = app.site.root / "schedules/web.yml"
    path.write_text(PLANS.replace("approval: required", 'ping: "file:secrets/ping"'))
    app.take(load_checked(app.site.root))
    result = mainstay("doctor", "--controller", "--json")
    assert CANARY not in result.out
    told_of = [one["message"] for one in result.json["findings"] if one["topic"] == "notices"]
    # A night of 25 hours comes within a year: that is the longest time between two openings.
    assert (
        "ping of patch-night: expects a period of 25 h and a grace of 3 h 30 min (90000 seconds, 12600 seconds)"
        in told_of
    )
    (app.site.root / "bin/tell").chmod(0o600)
    result = mainstay("doctor", "--controller", "--json")
    assert "channel ops: bin/tell can't be executed" in result.out


@pytest.mark.parametrize(
    "content",
    [f"http://169.254.169.254/{CANARY}", f"ftp://x/{CANARY}", f"https://a:{CANARY}@x/", CANARY, f"file:{CANARY}"],
)
def test_a_ping_that_leads_nowhere_is_said_without_where(
    app: FakeApplication, mainstay: Mainstay, content: str
) -> None:
    (app.site.root / "secrets/ping").write_text(content)
    ended(app, "R1")
    app.notices.round()
    (notice,) = app.schedule_store.undelivered()
    assert notice.error
    assert CANARY not in notice.error
    result = mainstay("doctor", "--controller", "--json")
    assert CANARY not in result.out
    assert "ping of patch-web" in result.out


def test_an_approval_is_told_until_it_is_answered(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    app.notices.round()
    asked = [one for one in told(app) if one["event"] == "approval"]
    assert {one["approval"]["plan"] for one in asked} == {"patch-night"}
    assert asked[0]["approval"]["approve"] == f"mainstay runs approve {asked[0]['approval']['run']}"
    count = len(told(app))
    app.notices.round()
    assert len(told(app)) == count


def test_what_was_answered_while_its_notice_waited_is_not_told(app: FakeApplication, mainstay: Mainstay) -> None:
    approving.refresh(app)
    run = approving.waiting(app)[0].approval.run
    app.notices._outbox().fill()
    assert mainstay("runs", "approve", run, "--yes").code == 0
    app.notices.round()
    assert run not in [one["approval"]["run"] for one in told(app)]
    assert [notice for notice in app.schedule_store.undelivered() if run in notice.id] == []


def test_a_process_that_ends_has_told_what_it_made(app: FakeApplication, switch: Switch) -> None:
    """As `mainstay run` does it: the runner tells the listener, and the end of the process waits for what is on its way."""
    listener = app.notices.listener
    app.runs.submit(
        plan_request(app.plans["patch-web"], app.targets(app.plans["patch-web"]), app.asking()).model_copy(
            update={"id": "R1"}
        )
    )
    listener.run_started("R1", "patch-web", [["web1"], ["web2", "web10"]])
    record = seal(app, "R1", [part("web1"), part("web2", Verdict.FAILED, "did not come up"), part("web10")])
    listener.run_finished(record)
    app.notices.close()
    assert [one["notice"] for one in told(app)] == ["ops:record:R1"]
    assert [path.removeprefix(f"/{CANARY}") for path, _ in switch.heard][-1] == "/fail"
    assert app.schedule_store.undelivered() == []


def test_a_command_that_another_thread_has_in_hand_is_not_left_over(
    app: FakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `mainstay serve` does it: a chore delivers, and the process is told to stop."""
    monkeypatch.setattr(telling, "LAST", 60.0)
    shell = app.site.root / "shell"
    (app.site.root / "bin/tell").write_text("#!/bin/sh\necho $$ >shell.new; mv shell.new shell; exec sleep 1000\n")
    ended(app, "R1")
    chore = threading.Thread(target=app.notices.round)
    chore.start()
    deadline = time.monotonic() + 60
    while not shell.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    app.notices.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(shell.read_text()), 0)
    chore.join(60)
    (left,) = [notice for notice in app.schedule_store.undelivered() if notice.channel == "ops"]
    assert "had to end with the process that called it" in left.error


def test_a_site_that_tells_nobody_does_nothing(tmp_path: Path) -> None:
    app = FakeApplication(write_site(tmp_path / "site"))
    listener = app.notices.listener
    listener.run_started("R1", "patch-web", [["web1"]])
    app.notices.begin()
    app.notices.round()
    app.notices.close()
    assert app.schedule_store.marks("notify.") == {}
    assert app.notices.alarms() == []


def test_a_secret_that_can_not_be_had_is_an_error_of_the_channel(app: FakeApplication) -> None:
    (app.site.root / "secrets/token").unlink()
    ended(app, "R1")
    app.notices.round()
    errors = {notice.channel: notice.error for notice in app.schedule_store.undelivered()}
    assert "file:secrets/token: can't be read" in errors["ops"]
    assert told(app) == []


def test_what_a_command_prints_of_its_secret_is_not_kept(app: FakeApplication) -> None:
    (app.site.root / "bin/tell").write_text('#!/bin/sh\necho "login $TOKEN refused" >&2\nexit 3\n')
    ended(app, "R1")
    app.notices.round()
    errors = {notice.channel: notice.error for notice in app.schedule_store.undelivered()}
    assert errors["ops"] == f"bin/tell ended with exit 3: login {MASK} refused"


def test_the_state_of_a_channel_that_works_again_is_forgotten(app: FakeApplication) -> None:
    now = rfc3339(app.clock.now())
    app.schedule_store.set_mark("notify.ops.fault", json.dumps({"failures": 3, "until": now, "error": "x", "lost": 1}))
    app.schedule_store.put_notice(
        Notice(id="n", channel="ops", event="failed", body={"event": "failed"}, made_at=now, next_try_at=now)
    )
    assert [alarm.lost for alarm in app.notices.alarms()] == [1]
    app.notices.round()
    assert app.notices.alarms() == []


def test_a_process_that_only_waits_tells_who_is_to_answer(
    app: FakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run by hand whose gate waits in the foreground: nobody serves, and somebody has to be told all the same."""
    wakes: list[None] = []
    monkeypatch.setattr(app.notices, "wake", lambda: wakes.append(None))
    plan = app.plans["patch-night"]
    bound = {"timing": timing(plan, app.loaded, queued=True).to_json()}
    request = plan_request(plan, app.targets(plan), app.asking()).model_copy(update=bound)
    app.runs.submit(request)
    gate = Gates(app)(request)
    for _ in range(3):
        assert gate.permit(request.id, None, "run", None).answer == "wait"
    assert len(wakes) == 1
    app.notices.round()
    (asked,) = told(app)
    assert asked["approval"]["run"] == request.id
    assert asked["approval"]["requested_by"] == "anna@ops1"


def test_what_an_earlier_process_left_is_tried_by_the_next(
    app: FakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes: list[None] = []
    monkeypatch.setattr(app.notices, "wake", lambda: wakes.append(None))
    app.notices.begin()
    assert wakes == []
    ended(app, "R1")
    app.notices._outbox().fill()
    app.notices.begin()
    assert len(wakes) == 1


def test_a_url_in_the_plan_itself_is_kept_out_of_the_state_and_of_what_is_written(
    app: FakeApplication, switch: Switch, mainstay: Mainstay
) -> None:
    path = app.site.root / "schedules/web.yml"
    path.write_text(PLANS.replace('"file:secrets/ping"', switch.url))
    app.take(load_checked(app.site.root))
    assert app.plans["patch-web"].ping == switch.url
    ended(app, "R1")
    app.notices.round()
    assert [way for way, _ in switch.heard] == [f"/{CANARY}/fail"]
    assert redact(f"asked {switch.url}") == f"asked {MASK}"
    assert CANARY not in json.dumps([row.request for row in app.state.runs()])
    for verb in (
        ("preview", "patch-web", "--json"),
        ("records", "show", "R1", "--json"),
        ("next", "--json"),
        ("runs", "--json"),
    ):
        assert CANARY not in mainstay(*verb).out, verb

"""records: listed, shown, verified, exported."""

from __future__ import annotations

import csv
import io
from datetime import UTC

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, part, seal, step
from tests.unit.console.test_runs import RECORD_KEYS, RUN

from mainstay.console.render import record as render
from mainstay.inventory.value import digest
from mainstay.runner.record import Intervention
from mainstay.runner.verdict import Verdict


def test_records_are_listed_newest_first(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("records").out == "No record yet.\n"
    seal(app, RUN, [part("web1"), part("web2")])
    seal(app, "01KYB0000000000000000000K9", [part("web1", Verdict.FAILED)], undoes=RUN)
    listed = mainstay("records", "list", "--json").json
    assert [one["seq"] for one in listed] == [2, 1]
    assert all("hosts" not in one for one in listed)
    assert (RECORD_KEYS - {"hosts"}) <= listed[0].keys()
    lines = mainstay("records").out.splitlines()
    assert lines[1].split()[:5] == ["2", "Fri", "2026-12-11", "02:00", "rollback"]
    assert lines[1].endswith("0 of 1   7 min   anna@ops1, undoes 1")
    assert "2 of 2" in lines[2]
    assert mainstay("records", "list", "--last", "1", "--json").json == listed[:1]


@pytest.mark.parametrize("name", [RUN, RUN.lower(), RUN[:8], RUN[-4:], "1"])
def test_a_record_has_several_names(app: FakeApplication, mainstay: Mainstay, name: str) -> None:
    seal(app, RUN, [part("web1")])
    assert mainstay("records", "show", name, "--json").json["id"] == RUN


def test_an_ambiguous_name_is_an_error(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1")])
    seal(app, RUN[:-1] + "8", [part("web1")])
    result = mainstay("records", "show", RUN[:10])
    assert result.code == 2
    assert "names 2 runs" in result.err


def test_show_one_host_in_full(app: FakeApplication, mainstay: Mainstay) -> None:
    output = app.artifacts.put(b"Setting up demo\n" + HOSTILE.encode() + b"\xff\n", kind="output")
    gone = step("health", 20, output="0" * 64)
    ending = part("web1", steps=(step("apply", 10, detail=HOSTILE, output=output), gone))
    seal(app, RUN, [ending, part("web2")])
    result = mainstay("records", "show", RUN, "--host", "web1", "--full")
    assert result.code == 0
    assert "    Setting up demo\n" in result.out
    assert "no longer kept" in result.out
    assert "web2" not in result.out
    assert "\x1b" not in result.out and "\u202e" not in result.out
    body = mainstay("records", "show", RUN, "--host", "web1", "--full", "--json").json
    assert body["hosts"][0]["steps"][0]["output_text"].startswith("Setting up demo\n")
    assert body["hosts"][0]["steps"][1]["output_text"] is None
    missing = mainstay("records", "show", RUN, "--host", "web3")
    assert (missing.code, "web3" in missing.err) == (2, True)


def test_show_tells_what_changed(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1", measures={"reboots": 1, "notes": ["kept: /etc/demo.conf"]})])
    out = mainstay("records", "show", RUN).out
    assert "openssl  3.0.20-1  →  3.0.22-1" in out
    assert "/etc/demo.conf" in out
    assert "started    Fri 2026-12-11 02:00 CET" in out
    assert "anna@ops1 (by hand)" in out


def test_show_tells_who_interfered_and_why(app: FakeApplication, mainstay: Mainstay) -> None:
    sealed = seal(app, RUN, [part("web1")])
    told = [
        ("2026-12-11T01:14:00Z", "pause", "anna@ops1", "disk is swapped"),
        ("2026-12-11T01:31:30Z", "", "bob@ops2", "it is in"),
        ("2026-12-11T01:32:00Z", "pause", "anna@ops1", ""),
        ("2026-12-11T23:31:00Z", "cancel", "bob@ops2", "\x1b[2J wrong plan"),
    ]
    said = [Intervention(at=at, wish=wish, by=by, reason=why) for at, wish, by, why in told]
    body = sealed.summary.model_copy(update={"interventions": tuple(said), "id": RUN[:-1] + "8"})
    app.ledger.seal(body.id, body.to_json())
    out = mainstay("records", "show", "2").out
    assert "  paused by anna@ops1, 02:14–02:31: disk is swapped; resumed by bob@ops2: it is in\n" in out
    assert "  paused by anna@ops1, 02:32–Sat 2026-12-12 00:31\n" in out
    assert "  cancel asked for by bob@ops2, Sat 2026-12-12 00:31: " in out and "wrong plan" in out
    assert "3 interventions\n" in out and "\x1b" not in out
    listed = mainstay("records", "show", "2", "--json").json["interventions"]
    assert [tuple(one.values()) for one in listed] == told
    assert "intervention" not in mainstay("records", "show", "1").out, "nobody interfered there"


def test_a_record_sealed_before_there_were_interventions_reads_and_verifies(
    app: FakeApplication, mainstay: Mainstay
) -> None:
    sealed = seal(app, RUN, [part("web1")])
    old = {key: value for key, value in sealed.summary.to_json().items() if key != "interventions"}
    id = "01KYB0000000000000000000K9"
    row = app.state.run(RUN)
    assert row is not None
    app.state.add_run(row.model_copy(update={"id": id}))
    app.ledger.seal(id, {**old, "id": id, "hosts_digest": digest([])})
    assert mainstay("records", "show", "2", "--json").json["interventions"] == []
    assert mainstay("records", "verify").code == 0


def test_of_what_changes_no_software_packages_and_reboots_are_not_told(app: FakeApplication) -> None:
    measures = {"packages_changed": 0, "reboots": 0, "reboots_pending": 1}
    told = {}
    for number, kind in enumerate(("patch", "drill")):
        record = seal(app, f"01KYB000000000000000000K{number}", [part("web1")], kind=kind)
        summary = record.summary.model_copy(update={"measures": measures})
        shown = record.model_copy(update={"summary": summary})
        told[kind] = "\n".join("".join(bit.text for bit in row) for row in render.head(shown, UTC, 100))
    assert "packages changed" in told["patch"] and "packages changed" not in told["drill"]
    assert "reboots pending" in told["drill"], "what is not 0 is told of any kind"


def test_verify(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1")])
    sound = mainstay("records", "verify", "--json")
    assert (sound.code, sound.json["ok"], sound.json["records"]) == (0, True, 1)
    entry = app._ledger.rows[0]
    app._ledger.rows[0] = entry.model_copy(update={"body": {**entry.body, "requested_by": "nobody"}})
    broken = mainstay("records", "verify", "--json")
    assert (broken.code, broken.json["ok"]) == (1, False)
    assert broken.json["findings"]
    assert mainstay("records", "verify").code == 1


def test_export(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1", reason='=cmd|"/C calc"!A0'), part("web2", reason="line\r\nbreak")])
    sheet = list(csv.DictReader(io.StringIO(mainstay("records", "export", "--csv").out)))
    assert [row["host"] for row in sheet] == ["web1", "web2"]
    assert sheet[0]["reason"].startswith("'=cmd")
    assert sheet[1]["reason"] == "line\\nbreak"
    assert sheet[0]["packages"] == "openssl 3.0.20-1 → 3.0.22-1"
    whole = mainstay("records", "export", "--json").json
    assert [one["id"] for one in whole] == [RUN]
    assert len(whole[0]["hosts"]) == 2

"""records ack: who has looked at what was not well, and where that is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, part, seal, write_site
from tests.unit.console.keeping import RUN, SITE, point

from mainstay.console import bootstrap
from mainstay.runner.verdict import Verdict


@pytest.fixture
def app(app: FakeApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    keeping = FakeApplication(write_site(tmp_path / "kept", **SITE))
    monkeypatch.setattr(bootstrap, "load", lambda given: keeping)
    return keeping


def test_who_looked_when_and_why_stands_beside_the_record(app: FakeApplication, mainstay: Mainstay) -> None:
    record = seal(app, RUN, [part("web1", Verdict.FAILED, "no space left"), part("web2")])
    result = mainstay("records", "ack", "1", "--reason", f" the disk was full {HOSTILE} ", "--json")
    assert result.code == 0
    assert result.json["by"] == "anna@ops1" and result.json["at"].startswith("2026-12-11T01:30:00")
    assert (result.json["item"], result.json["host"], result.json["source"]) == (RUN, None, None)
    out = mainstay("records", "ack", RUN, "--reason", "seen", "--host", "web1").out
    assert out == f"{RUN}: acknowledged for web1 by anna@ops1: seen\n"
    shown = mainstay("records", "show", RUN)
    assert "by anna@ops1, Fri 2026-12-11 02:30 CET: the disk was full" in shown.out
    assert "for web1 by anna@ops1, Fri 2026-12-11 02:30 CET: seen" in shown.out
    assert "\x1b" not in shown.out and "\r" not in shown.out
    body = mainstay("records", "show", RUN, "--json").json
    assert [(one["host"], one["reason"][:4]) for one in body["acks"]] == [(None, "the "), ("web1", "seen")]
    assert body["hash"] == record.hash, "the record is as it was"
    (listed,) = mainstay("records", "list", "--json").json
    assert listed["acks"] == body["acks"]
    assert "anna@ops1; acknowledged by anna@ops1" in " ".join(mainstay("records", "list").out.split())
    (exported,) = mainstay("records", "export", "--json").json
    assert exported["acks"] == body["acks"]


def test_an_anomaly_of_a_run_that_is_only_degraded(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1", Verdict.DEGRADED), part("web2")], plan="nightly")
    app.points.add_point(point("web1", 5, anomalies=("less",), verdict="degraded"))
    assert mainstay("records", "ack", RUN, "--reason", "seen", "--host", "web1", "--source", "etc").code == 0
    assert mainstay("records", "ack", RUN, "--reason", "seen", "--source", "db").code == 0, "a source of the plan"
    assert {(one.item, one.host, one.source) for one in app.points.acks()} == {(RUN, "web1", "etc"), (RUN, "", "db")}


def test_one_point_by_how_its_id_begins(app: FakeApplication, mainstay: Mainstay) -> None:
    seal(app, RUN, [part("web1", Verdict.DEGRADED)], plan="nightly")
    odd = point("web1", 5, source="db", item="orders", anomalies=("less",), verdict="degraded", id="abcd1234" * 8)
    app.points.add_point(odd)
    assert mainstay("records", "ack", "abcd1234", "--reason", "moved away").code == 0
    (ack,) = app.points.acks()
    assert (ack.item, ack.host, ack.source) == (odd.id, "web1", "db/orders")
    assert "for web1 db/orders by anna@ops1" in mainstay("records", "show", RUN).out
    app.points.add_point(odd.model_copy(update={"repository": "offsite"}))
    ambiguous = mainstay("records", "ack", "abcd1234", "--reason", "x", "--json")
    assert ambiguous.code == 2 and "names 2 points" in ambiguous.json["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([RUN, "--reason", " "], "reason is empty"),
        ([RUN, "--reason", "x", "--host", "web9"], "no host web9"),
        ([RUN, "--reason", "x", "--host", "web2"], "web2 succeeded"),
        ([RUN, "--reason", "x", "--source", "ect"], 'no source "ect"'),
        (["01NOSUCHRUN", "--reason", "x"], "no record"),
        (["0123456789ab", "--reason", "x"], "no record"),
        (["2", "--reason", "x"], "Record 2 succeeded"),
        (["3", "--reason", "x"], "Record 3 is unknown"),
        (["a" * 12, "--reason", "x"], "succeeded"),
        (["a" * 12, "--reason", "x", "--host", "web2"], "is of etc on web1"),
    ],
    ids=str,
)
def test_what_there_is_nothing_to_look_at(
    app: FakeApplication, mainstay: Mainstay, arguments: list[str], says: str
) -> None:
    seal(app, RUN, [part("web1", Verdict.FAILED), part("web2")], plan="nightly")
    seal(app, RUN[:-1] + "8", [part("web1")], plan="nightly")
    seal(app, RUN[:-1] + "9", [part("web1", Verdict.UNKNOWN)], plan="nightly")
    app.points.add_point(point("web1", 5, id="a" * 64, run=RUN[:-1] + "8"))
    result = mainstay("records", "ack", *arguments, "--json")
    assert result.code == 2
    assert says in result.json["error"]["message"]
    assert app.points.acks() == []


def test_the_last_point_of_an_item_that_is_gone_for_good(app: FakeApplication, mainstay: Mainstay) -> None:
    app.points.add_point(point("web1", 500, source="db", item="users", id="b" * 64))
    assert mainstay("records", "ack", "b" * 12, "--reason", "the database was dropped").code == 0
    (ack,) = app.points.acks()
    assert (ack.item, ack.host, ack.source) == ("b" * 64, "web1", "db/users")


def test_a_reason_has_to_be_given(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("records", "ack", RUN).code == 2

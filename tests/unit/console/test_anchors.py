"""Anchors as an operator sees them: on real files, with the real state."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import write_site

from mainstay.console import bootstrap
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.record import hosts_digest
from mainstay.runner.state.contract import RunRow

RUNS = ("01KYB0000000000000000000A1", "01KYB0000000000000000000A2", "01KYB0000000000000000000A3")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = write_site(tmp_path / "site")
    with (site / "mainstay.yml").open("a") as file:
        file.write("anchors:\n  - file: ../vault/acme.anchor\n")
    monkeypatch.setenv("MAINSTAY_SITE", str(site))
    return site


@pytest.fixture
def vault(root: Path) -> Path:
    return root.parent / "vault" / "acme.anchor"


def work(root: Path, *runs: str) -> None:
    """What processes that work leave behind."""
    with bootstrap.load(root) as app:
        app.ledger.guard()
        for run in runs:
            row = RunRow(id=run, kind="patch", plan="p", state="running", request={}, started_at="2026-12-11T01:00:00Z")
            app.state.add_run(row)
            app.ledger.seal(run, {"id": run, "hosts_digest": hosts_digest([])})
            app.state.set_run(run, state="ended")


def anchors(result: object) -> list[dict[str, object]]:
    return list(result["anchors"])  # type: ignore[index]


def test_every_seal_is_in_the_vault_when_a_process_has_ended(root: Path, vault: Path, mainstay: Mainstay) -> None:
    work(root, *RUNS)
    assert len(vault.read_text().splitlines()) == 3
    said = mainstay("records", "verify", "--json")
    assert (said.code, said.json["ok"]) == (0, True)
    assert anchors(said.json) == [
        {"name": f"file {vault.resolve()}", "reached": 3, "behind": 0, "since": None, "error": None}
    ]
    assert "has seen 3 records" in mainstay("records", "verify").out
    assert mainstay("records", "verify", "--local", "--json").json["anchors"] == []


def test_an_anchor_that_lags_is_named_with_since_when_and_why(root: Path, vault: Path, mainstay: Mainstay) -> None:
    work(root, RUNS[0])
    away = vault.parent.rename(vault.parent.with_name("unmounted"))
    work(root, *RUNS[1:])
    told = mainstay("status")
    assert told.code == 0
    assert "lacks 2 seals since " in told.out
    assert "is not there any more" in told.out
    warned = mainstay("status", "--nagios")
    assert "lacks 2 seals" in warned.out and "WARNING" not in warned.out, "hosts that were never worked on are unknown"
    assert "lacks 2 seals" in mainstay("status", "--json").err
    verified = mainstay("records", "verify")
    assert verified.code == 1
    assert "was given 1 seals, and shows none" in verified.out
    assert "lacks 2 seals" in verified.out
    found = [one for one in mainstay("doctor", "--json").json["findings"] if one["topic"] == "anchors"]
    assert {one["health"] for one in found} == {"wrong"}
    away.rename(vault.parent)
    # What was left is delivered by the verb that asks.
    assert mainstay("records", "verify").code == 0
    assert len(vault.read_text().splitlines()) == 3
    assert "lacks" not in mainstay("status").out
    [well] = [one for one in mainstay("doctor", "--json").json["findings"] if one["topic"] == "anchors"]
    assert well["health"] == "well"


def test_one_that_does_not_answer_is_unknown(root: Path, vault: Path, mainstay: Mainstay) -> None:
    vault.parent.write_text("a file where the folder should be")
    with bootstrap.load(root) as app:
        app.state.id  # noqa: B018  # made before the anchor was named
    said = mainstay("records", "verify")
    assert said.code == 5
    assert "unknown: anchor file" in said.out
    assert mainstay("records", "verify", "--json").json["anchors"][0]["reached"] is None


def test_a_whole_state_that_is_lost_does_not_begin_anew(root: Path, vault: Path, mainstay: Mainstay) -> None:
    work(root, *RUNS)
    (root / "state").rename(root / "gone")
    assert mainstay("records").code == 0, "what only reads is not refused"
    with bootstrap.load(root) as app, pytest.raises(LedgerBehind, match="has seen 3 records"):
        app.runs  # noqa: B018  # what every verb that changes something asks for first
    found = mainstay("records", "verify")
    assert (found.code, "truncated" in found.out) == (1, True)
    assert len(vault.read_text().splitlines()) == 3


def test_a_backup_that_is_older_than_the_anchor_is_refused(
    root: Path, vault: Path, mainstay: Mainstay, tmp_path: Path
) -> None:
    work(root, RUNS[0])
    assert mainstay("state", "backup", str(tmp_path / "old.tar")).code == 0
    work(root, *RUNS[1:])
    assert mainstay("state", "backup", str(tmp_path / "new.tar")).code == 0
    (root / "state").rename(root / "gone")
    refused = mainstay("state", "restore", str(tmp_path / "old.tar"))
    assert refused.code == 2
    assert "has seen 3 records; the backup holds 1" in refused.err
    assert not (root / "state").exists()
    assert mainstay("state", "restore", str(tmp_path / "new.tar")).code == 0
    assert mainstay("records", "verify").code == 0


def test_a_backup_of_another_ledger_is_refused(root: Path, vault: Path, mainstay: Mainstay, tmp_path: Path) -> None:
    work(root, *RUNS[:2])
    assert mainstay("state", "backup", str(tmp_path / "one.tar")).code == 0
    (root / "state").rename(root / "gone")
    vault.rename(vault.with_name("first"))
    work(root, *RUNS)
    (root / "state").rename(root / "gone2")
    refused = mainstay("state", "restore", str(tmp_path / "one.tar"))
    assert (refused.code, "has seen 3 records" in refused.err) == (2, True)
    vault.write_text("".join(vault.read_text().splitlines(keepends=True)[:2]))
    refused = mainstay("state", "restore", str(tmp_path / "one.tar"))
    assert (refused.code, "another record 1" in refused.err) == (2, True)


def test_an_anchor_that_cannot_be_asked_is_told_by_restore(
    root: Path, vault: Path, mainstay: Mainstay, tmp_path: Path
) -> None:
    work(root, RUNS[0])
    assert mainstay("state", "backup", str(tmp_path / "one.tar")).code == 0
    (root / "state").rename(root / "gone")
    vault.parent.rename(vault.parent.with_name("unmounted"))
    vault.parent.write_text("in the way")
    made = mainstay("state", "restore", str(tmp_path / "one.tar"))
    assert made.code == 0
    assert "not compared with anchor file" in made.out


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("  - ssh: nowhere\n", 'There is no host "nowhere"', 2),
        ("  - {ssh: web1, file: x}\n", "one of ssh, s3 and file", 2),
        ("  - {}\n", "one of ssh, s3 and file", 2),
        ("  - ssh: {host: web1, path: relative}\n", "not written as it has to be", 2),
        ("  - s3: {bucket: acme-anchor, access_key: 'env:A'}\n", "go together", 2),
        ("  - s3: {bucket: acme-anchor, access_key: 'env:A', secret_key: AKIA}\n", "", 2),
        ("  - s3: {bucket: Bad_Name}\n", "not written as it has to be", 2),
        ("  - s3: {bucket: acme-anchor, endpoint: 'https://user:pw@x'}\n", "", 2),
        ("  - file: /a\n  - file: /a\n", "is there twice", 3),
        ("  - tape: /dev/st0\n", "unknown key", 2),
    ],
)
def test_what_can_be_wrong_with_it_is_told_with_its_place(
    tmp_path: Path, mainstay: Mainstay, text: str, said: str, line: int
) -> None:
    site = write_site(tmp_path / "site")
    main = site / "mainstay.yml"
    before = main.read_text()
    main.write_text(before.rstrip("\n") + "\nanchors:\n" + text)
    told = mainstay("check", "--site", str(site))
    assert told.code == 2
    assert said in told.err + told.out
    assert f"mainstay.yml:{len(before.rstrip().splitlines()) + line}:" in told.err + told.out

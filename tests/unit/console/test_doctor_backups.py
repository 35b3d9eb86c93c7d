"""What doctor says of restic, rclone and repositories: repositories in memory, nothing but the state is real."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, NOW, FakeApplication, part, write_site
from tests.unit.console.keeping import SITE, ago
from tests.unit.recovery.points import point

from mainstay.console import bootstrap, depots, fitness
from mainstay.console.doctor import backups
from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.gateway.contract import GatewayError
from mainstay.recovery.points.contract import Vault
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import TooOld
from mainstay.recovery.restic.fake import Memory, MemoryRestic
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict


class Kept:
    """The site's application, all storage that there is, and what the gateway says of itself."""

    def __init__(self, root: Path) -> None:
        self.app = FakeApplication(write_site(root, **SITE))
        self.storage = Memory()
        self.gateway = SimpleNamespace(version=lambda: "1.60.1-DEV")
        self.depot = Depot(
            points=self.app.points,
            restic=self.storage.open,
            gateway=self.gateway,
            resolve=lambda reference: Secret(f"secret of {reference}"),
            place=str,
            clock=self.app.clock,
            zone=self.app.zone,
        )
        for host in ("web1", "web2", "web10", "db1"):
            for repository in ("main", "offsite"):
                made = self.storage.make(self.access(repository, host))
                self.app.points.note_vault(Vault(repository, host, made.id, ago(days=9), "r0", ago(days=8), "anna"))

    def access(self, repository: str, host: str) -> Access:
        plan: Any = self.app.plan("nightly")
        return self.depot.access(plan.repositories[repository], host, "maintain")

    def at(self, repository: str, host: str) -> Any:
        return self.storage.repositories[self.access(repository, host).url]


@pytest.fixture
def kept(app: FakeApplication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    made = Kept(tmp_path / "kept")
    monkeypatch.setattr(bootstrap, "load", lambda given: made.app)
    monkeypatch.setattr(depots, "prompt", lambda app: made.depot)
    return made


TOPICS = ("restic", "rclone", "keys", "repositories", "repository", "lock", "backups")


def findings(mainstay: Mainstay, *arguments: str) -> list[tuple[str, str, str, str]]:
    result = mainstay("doctor", "--controller", "--json", *arguments)
    assert result.code == 0
    found = [one for one in result.json["findings"] if one["topic"] in TOPICS]
    return [(one["subject"], one["topic"], one["health"], f"{one['message']} → {one['hint']}") for one in found]


def test_all_well(kept: Kept, mainstay: Mainstay) -> None:
    told = findings(mainstay)
    assert [one[:3] for one in told] == [
        ("controller", "restic", "well"),
        ("controller", "rclone", "well"),
        ("controller", "keys", "well"),
        ("controller", "keys", "well"),
        ("controller", "repositories", "well"),
        ("controller", "repositories", "well"),
    ]
    assert told[0][3].startswith("restic 0.18.0") and told[1][3].startswith(
        "rclone 1.60.1-DEV, the way to main, offsite"
    )
    assert told[4][3].startswith("main: 4 of 4 asked answer and open")


def test_points_of_an_earlier_plan_of_the_same_name_are_told(kept: Kept, mainstay: Mainstay) -> None:
    def told() -> list[str]:
        found = mainstay("doctor", "--controller", "--json").json["findings"]
        return [one["message"] for one in found if one["topic"] == "plans"]

    kept.app.points.add_point(point(ago(days=90), host="mail1", repository="tapes"))
    assert told() == [
        "nightly has points in tapes, which it does not use: no policy is theirs",
        "nightly has points of mail1, and of none of its hosts",
    ]
    kept.app.points.add_point(point(ago(hours=9), host="web1"))
    assert told() == ["nightly has points in tapes, which it does not use: no policy is theirs"]


def test_of_a_folder_nobody_knows_whether_every_worker_has_it(
    kept: Kept, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "is_postgres", lambda url: url == kept.app.site.state_url)
    (one,) = [one for one in findings(mainstay) if one[2] == "unknown" and one[1] == "repositories"]
    assert one[3].startswith("main, offsite: folders of the controller; whether each worker's machine has the same")


def test_a_worker_says_which_folders_its_machine_lacks(tmp_path: Path) -> None:
    app = FakeApplication(
        write_site(tmp_path, **SITE | {"recovery/repositories.yml": REPOSITORIES.format(folder=tmp_path)})
    )
    for host in ("web1", "web2", "db1"):
        app.points.note_vault(Vault("main", host, "id", ago(days=9), "r0"))
    app.points.note_vault(Vault("offsite", "web1", "id", ago(days=9), "r0"))
    (tmp_path / "web1").mkdir()
    (tmp_path / "web1" / "config").touch()
    (tmp_path / "web2").mkdir()
    said = fitness.folderless(app)
    assert said == f"2 repositories are folders that this machine does not have: {tmp_path}/db1, {tmp_path}/web2"
    for host in ("web2", "db1"):
        (tmp_path / host).mkdir(exist_ok=True)
        (tmp_path / host / "config").touch()
    assert fitness.folderless(app) == ""


REPOSITORIES = (
    "repositories:\n"
    "  main: {{url: '{folder}/{{host}}', password: 'file:keys/{{host}}'}}\n"
    "  offsite: {{url: 'sftp://b@vault.example/{{host}}', known_hosts: known, password: 'file:keys/{{host}}-offsite'}}\n"
)


def test_keys_are_red_until_they_are_confirmed_to_be_kept_elsewhere(kept: Kept, mainstay: Mainstay) -> None:
    for host in ("web1", "db1"):
        vault = kept.app.points.vault("offsite", host)
        assert vault is not None
        kept.app.points.note_vault(replace(vault, escrow_at="", escrow_by=""))
    wrong = [one for one in findings(mainstay) if one[2] != "well"]
    ((subject, topic, health, text),) = wrong
    assert (subject, topic, health) == ("controller", "keys", "wrong")
    assert "offsite" in text and "db1, web1" in text and "mainstay repo key confirm nightly --from FILE" in text


def test_each_repository_by_what_is_wrong_with_it(kept: Kept, mainstay: Mainstay) -> None:
    del kept.storage.repositories[kept.access("main", "web1").url]
    kept.app.points.note_vault(Vault("offsite", "web1", "", "", "", ago(1), "anna"))
    del kept.storage.repositories[kept.access("offsite", "web1").url]
    kept.storage.away.add(kept.access("main", "web2").url)
    kept.at("offsite", "web2").passwords.clear()
    vault = kept.app.points.vault("main", "web10")
    assert vault is not None
    kept.app.points.note_vault(replace(vault, id="another"))
    told = {(one[0], one[3].split(":")[0]): one for one in findings(mainstay) if one[1] == "repository"}
    assert {one[2] for one in told.values()} == {"wrong"}
    texts = [one[3] for one in told.values()]
    assert any("main: there is no repository any more at /srv/restic/web1" in one for one in texts)
    assert any(
        "offsite: there is no repository yet at /mnt/offsite/web1 → mainstay repo init nightly --hosts web1" in one
        for one in texts
    )
    assert any("repository main of web2: connection refused" in one for one in texts)
    assert any("repository offsite of web2: its password is wrong" in one for one in texts)
    assert any("main: it is another repository than before" in one for one in texts)
    assert len(texts) == 5
    well = [one[3] for one in findings(mainstay) if one[1] == "repositories"]
    assert [one.split(" asked")[0] for one in well] == ["main: 1 of 4", "offsite: 2 of 4"]


def test_a_lock_of_the_dead_is_told_with_what_removes_it(kept: Kept, mainstay: Mainstay) -> None:
    run = "01KYB0000000000000000000B1"
    row = RunRow(
        id=run, kind="backup", plan="nightly", state="running", request={"hosts": [{"name": "web1"}]}, started_at=ago(5)
    )
    kept.app.state.add_run(row)
    measures = {"job": {"hostname": "web1.lan"}}
    kept.app.state.write_part(run, part("web1", Verdict.FAILED, measures=measures))
    kept.app.state.set_run(run, state="ended", ended_at=ago(4))
    kept.at("main", "web1").lock(host="web1.lan", pid=7, at=ago(4.5))
    kept.at("main", "web2").lock(host=f"laptop{HOSTILE}", pid=8, at=ago(9))
    young = (NOW - timedelta(minutes=3)).isoformat()
    kept.at("main", "web10").lock(host="laptop", pid=9, at=young)
    told = [one for one in findings(mainstay) if one[1] == "lock"]
    assert [(one[0], one[2]) for one in told] == [("web1", "wrong"), ("web2", "wrong")]
    assert f"left by run {run}" in told[0][3] and told[0][3].endswith("mainstay repo unlock nightly --hosts web1")
    assert "no run of ours left it" in told[1][3] and "unlock" not in told[1][3]
    out = mainstay("doctor", "--controller").out
    assert "\x1b" not in out and "\r" not in out and "\u202e" not in out


def test_without_a_restic_that_is_believed_no_repository_is_asked(
    kept: Kept, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(self: MemoryRestic) -> Any:
        raise TooOld(self.access, "restic 0.14.0 is too old", hint="Install restic 0.17.1 or newer on the controller.")

    monkeypatch.setattr(MemoryRestic, "version", version)
    told = findings(mainstay)
    assert told[0] == (
        "controller",
        "restic",
        "wrong",
        "restic 0.14.0 is too old → Install restic 0.17.1 or newer on the controller.",
    )
    assert not [one for one in told if one[1] in ("repository", "repositories")]
    assert all(not one.asked for one in kept.storage.repositories.values())


def test_no_rclone_where_hosts_need_it(kept: Kept, mainstay: Mainstay) -> None:
    def version() -> str:
        raise GatewayError("rclone was not found")

    kept.gateway.version = version
    (told,) = [one for one in findings(mainstay) if one[1] == "rclone"]
    assert told[2] == "wrong"
    assert told[3] == "rclone was not found; hosts reach main, offsite through it → Install rclone on the controller."


def test_a_few_of_each_declaration_or_all_or_those_of_the_hosts_that_are_meant(
    kept: Kept, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.console.doctor.backups.SAMPLE", 1)
    told = findings(mainstay)
    assert any("asked of 2 of 8, 1 of each declaration → --deep asks all." in one[3] for one in told)
    assert sum(bool(one.asked) for one in kept.storage.repositories.values()) == 2
    assert any("main: 4 of 4 asked" in one[3] for one in findings(mainstay, "--deep"))


def test_a_site_without_backups_is_asked_nothing(
    mainstay: Mainstay, app: FakeApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(app: FakeApplication) -> Any:
        raise AssertionError("there is nothing to ask")

    monkeypatch.setattr(depots, "prompt", never)
    assert findings(mainstay) == []


def test_where_nothing_is_made_yet_no_key_is_asked_for(kept: Kept, mainstay: Mainstay) -> None:
    kept.app.points.note_vault(Vault("offsite", "web1", "", "", "", "", ""))
    told = [one[3] for one in findings(mainstay) if one[1] == "keys" and "offsite" in one[3]]
    assert told == ["the repositories of offsite were not made or seen yet: web1 → mainstay repo init nightly"]
    (seen,) = (one for one in findings(mainstay) if one[1] == "repository")
    assert seen[2] == "look" and "at /mnt/offsite/web1 that this controller has never seen" in seen[3]
    assert "mainstay repo init nightly --hosts web1; with --adopt where" in seen[3]

from pathlib import Path

import pytest

from mainstay.console.templates import write_site
from mainstay.inventory.errors import UsageError
from mainstay.schedules.check import check_site


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_new_site_has_no_fault(tmp_path: Path, home: Path) -> None:
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/id_rsa").touch(0o600)
    made = write_site(tmp_path / "my fleet")
    loaded, errors, warnings = check_site(tmp_path / "my fleet")
    assert (errors, warnings) == ([], [])
    assert loaded is not None
    assert loaded.site.name == "my-fleet"
    assert [(host.name, host.ssh.key) for host in loaded.site.hosts] == [
        ("web1", "file:~/.ssh/id_rsa"),
        ("web2", "file:~/.ssh/id_rsa"),
    ]
    assert list(loaded.plans) == ["patch-web"]
    names = {path.relative_to(tmp_path / "my fleet").as_posix() for path in made}
    assert {"mainstay.yml", "recovery/repositories.yml", ".gitignore", "playbooks/.gitkeep"} <= names
    assert "/state/" in (tmp_path / "my fleet/.gitignore").read_text()


def test_the_backups_that_it_shows_are_right(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_site(site)
    for name in ("recovery/repositories.yml", "schedules/backup.yml"):
        lines = (site / name).read_text().splitlines()
        shown = [line.removeprefix("#") for line in lines]
        (site / name).write_text("\n".join(shown) + "\n")
    for host in ("web1", "web2"):
        (site / "secrets/restic").mkdir(parents=True, exist_ok=True)
        (site / "secrets/restic" / host).touch(0o600)
    loaded, errors, warnings = check_site(site)
    assert (errors, [problem.key for problem in warnings]) == ([], ["ssh.key"])
    assert loaded is not None
    assert [loaded.plans["nightly"].kind, *loaded.repositories] == ["backup", "main"]


def test_who_has_no_key_gets_a_site_that_says_so(tmp_path: Path) -> None:
    write_site(tmp_path / "site")
    loaded, errors, warnings = check_site(tmp_path / "site")
    assert loaded is not None
    assert errors == []
    assert [(problem.file, problem.key) for problem in warnings] == [("mainstay.yml", "ssh.key")]
    assert "no SSH key is set for web1 and 1 more" in warnings[0].message


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("hosts: {}\n")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        write_site(tmp_path)
    assert not (tmp_path / "mainstay.yml").exists()
    write_site(tmp_path / "other")
    with pytest.raises(UsageError, match="a site already"):
        write_site(tmp_path / "other")


def test_help_of_a_group_is_not_cut() -> None:
    from click.testing import CliRunner

    from mainstay.console.verbs.repo import command

    for words in (["--help"], ["key", "--help"]):
        shown = CliRunner().invoke(command, words).output
        assert "Commands:" in shown
        assert "..." not in shown.split("Commands:")[1]

from pathlib import Path

import pytest

from mainstay.console.templates import write_site
from mainstay.inventory.errors import UsageError
from mainstay.schedules.check import check_site


def test_a_new_site_has_no_fault(tmp_path: Path) -> None:
    made = write_site(tmp_path / "my fleet")
    loaded, errors, warnings = check_site(tmp_path / "my fleet")
    assert (errors, warnings) == ([], [])
    assert loaded is not None
    assert loaded.site.name == "my-fleet"
    assert [host.name for host in loaded.site.hosts] == ["web1", "web2"]
    assert list(loaded.plans) == ["patch-web"]
    names = {path.relative_to(tmp_path / "my fleet").as_posix() for path in made}
    assert {"mainstay.yml", ".gitignore", "playbooks/.gitkeep"} <= names
    assert "/state/" in (tmp_path / "my fleet/.gitignore").read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("hosts: {}\n")
    with pytest.raises(UsageError, match="nothing is overwritten"):
        write_site(tmp_path)
    assert not (tmp_path / "mainstay.yml").exists()
    write_site(tmp_path / "other")
    with pytest.raises(UsageError, match="a site already"):
        write_site(tmp_path / "other")

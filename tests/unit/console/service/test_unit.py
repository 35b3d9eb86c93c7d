"""The unit file: what systemd itself reads in it, for sites in odd places as well."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import write_site

from mainstay.console import telling
from mainstay.console.service import unit as units
from mainstay.inventory.errors import UsageError
from mainstay.inventory.site import Site, load_site
from mainstay.runner.ledger import courier

ODD = ["plain", "my fleet", "100%i", 'the "best"', "it's", "a\\b", "$HOME ${X}", "äöü – 机", "semi;colon #x", "back\\"]
COMMAND = ("/usr/bin/true",)
SYSTEMD = pytest.mark.server
"""Asks systemd's own tools, which scripts/check does not install."""


def site_at(folder: Path, main: str = "") -> Site:
    settings = f"site: acme\nssh: {{user: ops}}\n{main}"
    return load_site(write_site(folder, **{"mainstay.yml": settings}))


def settings(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def verified(text: str, folder: Path) -> str:
    """What systemd has to say of a unit; nothing where all is well."""
    path = folder / "mainstay-test.service"
    path.write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    return "\n".join(ours) or ("" if done.returncode == 0 else done.stderr)


@pytest.mark.parametrize("name", ODD)
def test_paths_come_back_from_a_units_words_as_they_are(name: str) -> None:
    """Read back by the rules of systemd.syntax(7), which are a shell's for double quotes but for `$` and `%`."""
    written = units.word(f"/srv/{name}/x")
    assert "\n" not in written
    read = re.sub(r"\\(.)", r"\1", written[1:-1]) if written.startswith('"') else written
    assert read.replace("%%", "%") == f"/srv/{name}/x"
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"|[^\s"\'\\;$#]+', written), "one word, and nothing but one"


@pytest.mark.parametrize(
    "text", ["/a\nExecStartPre=/bin/sh", "/a\r", "/a\x00", "/a\x1b[31m", "/a\udcff", "", "/a\x7f", "/a\u2028"]
)
def test_what_could_be_another_setting_is_refused(text: str) -> None:
    for escape in (units.word, units.rest):
        with pytest.raises(UsageError, match="can't stand in a unit file"):
            escape(text)


@pytest.mark.parametrize("text", [" /a", "/a ", "/a\\"])
def test_what_an_unquoted_value_would_lose_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="can't stand"):
        units.rest(text)


@SYSTEMD
@pytest.mark.parametrize("name", ODD)
def test_systemd_takes_the_unit_of_a_site_in_an_odd_place(tmp_path: Path, name: str) -> None:
    other, feed = (shlex.quote(f"{tmp_path}/{place}") for place in ("other/anchor.jsonl", "www/all.ics"))
    anchor = f"anchors: [{{file: {other}}}]\nfeed: {feed}\n"
    site = site_at(tmp_path / name, anchor)
    text = units.unit(site, user="root", command=COMMAND)
    assert verified(text, tmp_path) == ""
    assert settings(text, "ReadWritePaths") == [
        units.word(f"{site.root}/state"),
        f"{tmp_path}/other",
        f"{tmp_path}/www",
    ]


def test_folders_that_it_writes_to_are_made_beforehand(tmp_path: Path) -> None:
    """systemd does not start what may write to a folder that is not there (226/NAMESPACE)."""
    (tmp_path / "there").mkdir()
    more = f"anchors: [{{file: {tmp_path}/there/a}}, {{file: '{tmp_path}/to be/a'}}]\nfeed: {tmp_path}/www/all.ics\n"
    told = units.preparations(site_at(tmp_path / "site", more), "root")
    made = [line for line in told if line.startswith(("install -d /", "install -d '"))]
    assert made == [
        f"install -d '{tmp_path}/to be' && chown root: '{tmp_path}/to be'",
        f"install -d {tmp_path}/www && chown root: {tmp_path}/www",
    ]


@SYSTEMD
def test_systemds_complaints_are_heard_at_all(tmp_path: Path) -> None:
    text = units.unit(site_at(tmp_path / "site"), user="root", command=COMMAND)
    assert "NoSuchSetting" in verified(text.replace("UMask=", "NoSuchSetting="), tmp_path)
    assert verified(text.replace("WatchdogSec=90", "WatchdogSec=soon"), tmp_path)


@SYSTEMD
def test_what_it_may_do_is_little(tmp_path: Path) -> None:
    """systemd's own measure, 0 to 10, less is better; 2.0 is called OK, and the network is what is left."""
    path = tmp_path / "mainstay-test.service"
    path.write_text(
        units.unit(site_at(tmp_path / "site"), user="root", command=COMMAND).replace("User=root", "User=nobody")
    )
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_secrets_are_handed_over_and_named_beforehand(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.touch(0o600)
    main = f"ssh: {{user: ops, key: file:{key}, passphrase: systemd:key-phrase, become: {{password: env:SUDO}}}}\n"
    plan = "plans:\n  patch-web: {targets: role=web, ping: 'systemd:ping-url'}\n"
    site = load_site(
        write_site(tmp_path / "site", **{"mainstay.yml": f"site: acme\n{main}", "schedules/web.yml": plan})
    )
    text = units.unit(site, user="nobody-has-this-name", command=COMMAND)
    wanted = [f"{name}:/etc/credstore/{name}" for name in ("key-phrase", "ping-url")]
    assert settings(text, "LoadCredential") == wanted
    assert settings(text, "EnvironmentFile") == ["/etc/mainstay/environment"]
    told = [line for line in text.splitlines() if line.startswith("#")]
    for part in (
        "useradd --system",
        f"chown nobody-has-this-name {key}",
        "/etc/credstore/key-phrase",
        "SUDO=…",
        "install -d",
    ):
        assert any(part in line for line in told), part
    mine = units.unit(site_at(tmp_path / "mine"), user="root", command=COMMAND)
    assert "useradd" not in mine


def test_what_backups_need_is_there_too(tmp_path: Path) -> None:
    repositories = (
        f"repositories:\n  main: {{url: '{tmp_path}/kept/b-{{host}}', password: 'systemd:restic-{{host}}'}}\n"
        f"  one: {{url: '{tmp_path}/one', password: 'file:{tmp_path}/{{host}}'}}\n"
        "  off: {url: 'rest:https://x.example/', password: env:OFF}\n"
    )
    plan = "plans: {nightly: {kind: backup, targets: web1, repository: main, copies: one, sources: {a: {paths: /a}}}}\n"
    more = {"recovery/r.yml": repositories, "schedules/b.yml": plan}
    site = load_site(write_site(tmp_path / "site", **{"mainstay.yml": "site: acme\n"}, **more))
    text = units.unit(site, user="nobody-has-this-name", command=COMMAND)
    assert {f"{tmp_path}/kept", f"{tmp_path}/one"} <= set(settings(text, "ReadWritePaths"))
    # of web1 alone: systemd starts nothing for which a credential is not there
    assert settings(text, "LoadCredential") == ["restic-web1:/etc/credstore/restic-web1"]
    assert settings(text, "EnvironmentFile") == []
    told = [line for line in text.splitlines() if line.startswith("#")]
    for part in (
        f"install -d {tmp_path}/kept",
        f"install -d {tmp_path}/one",
        f"chown nobody-has-this-name {tmp_path}/web1",
    ):
        assert any(part in line for line in told), part


def test_homes_are_hidden_unless_something_in_them_is_needed(tmp_path: Path) -> None:
    site = site_at(tmp_path / "site", "state: sqlite:////var/lib/mainstay/mainstay.db\n")
    text = units.unit(site, user="mainstay", command=COMMAND)
    assert settings(text, "ProtectHome") == ["yes"] and settings(text, "StateDirectory") == ["mainstay"]
    assert settings(text, "ReadWritePaths") == []
    assert settings(units.unit(site, user="m", command=("/home/anna/bin/mainstay",)), "ProtectHome") == ["read-only"]
    fed = site_at(tmp_path / "fed", "state: sqlite:////var/lib/mainstay/mainstay.db\nfeed: /home/anna/www/all.ics\n")
    assert settings(units.unit(fed, user="mainstay", command=COMMAND), "ProtectHome") == ["read-only"]


@SYSTEMD
def test_the_verb_prints_it_for_this_installation(mainstay: Mainstay, app: object, tmp_path: Path) -> None:
    folder = write_site(tmp_path / "served")
    text = mainstay("init", "--systemd", str(folder), "--user", "root", "--grace", "2m").out
    (start,) = settings(text, "ExecStart")
    program = Path(sys.executable).parent / "mainstay"
    assert start == f":{program} serve --site {folder} --grace 120s --when-lost exit"
    (stop,) = settings(text, "TimeoutStopSec")
    assert int(stop) > 120 + telling.PARTING + courier.PARTING, "or its end is taken for one that hangs"
    assert verified(text, tmp_path) == ""
    assert mainstay("init", "--systemd", str(folder), "--json").json["unit"].startswith("# mainstay serve")
    for wrong in (["--user", "bad user"], ["--user", "a", "--user", "b"], ["--sudoers"], ["--grace", "soon"]):
        assert mainstay("init", "--systemd", str(folder), *wrong).code == 2, wrong
    assert mainstay("init", "--grace", "2m", str(tmp_path / "new")).code == 2
    assert mainstay("init", "--systemd", str(tmp_path / "nowhere")).code == 2

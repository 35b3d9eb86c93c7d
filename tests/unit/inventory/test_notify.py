"""notify: of mainstay.yml and ping: of plans, as far as they are more than a list of keys (see tests/cases/sites/bad-notify)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.inventory.errors import Problem
from mainstay.inventory.notify import USUAL, Notify
from mainstay.schedules.check import check_site


def site(root: Path, notify: str, plans: str = "") -> tuple[tuple[Notify, ...], list[Problem]]:
    """(channels, errors) of a site with this notify."""
    files = {
        "mainstay.yml": f"site: a\nssh: {{key: file:key}}\nnotify:{notify}\n",
        "inventory/hosts.yml": "hosts: {web1: {address: 10.0.0.1}}\n",
        "schedules/web.yml": f"plans:\n  patch-web: {{targets: all}}\n{plans}",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "key").touch(0o600)
    loaded, errors, _ = check_site(root)
    return (loaded.site.notify if loaded else ()), errors


def test_one_mapping_is_one_channel(tmp_path: Path) -> None:
    (one,), errors = site(tmp_path, " {command: /usr/local/bin/tell-ops, on: failed, plans: patch-web, remind: 1h}")
    assert errors == []
    assert (one.label, one.on, one.plans, one.remind, one.timeout) == (
        "tell-ops",
        ("failed",),
        ("patch-web",),
        (3600.0,),
        30.0,
    )
    assert one.command == ("/usr/local/bin/tell-ops",)


def test_a_text_is_split_as_a_shell_would_and_no_more(tmp_path: Path) -> None:
    (one,), _ = site(tmp_path, """ {command: "tell 'a b' $(id) ; *"}""")
    assert one.command == ("tell", "a b", "$(id)", ";", "*")
    assert one.on == USUAL


@pytest.mark.parametrize(
    ("notify", "key", "line", "message"),
    [
        ("\n  - {command: a/tell}\n  - {command: [b/tell, x]}", "notify.1", 5, 'there are two channels "tell".'),
        ("\n  - {name: x, command: a}\n  - {name: x, command: b}", "notify.1", 5, 'there are two channels "x".'),
        (" {command: a, plans: patch-wep}", "notify.plans", 3, 'there is no plan "patch-wep".'),
        ("\n  - {command: a, plans: [patch-web, nobody]}", "notify.0.plans.1", 4, 'there is no plan "nobody".'),
    ],
)
def test_what_can_not_be_told(tmp_path: Path, notify: str, key: str, line: int, message: str) -> None:
    _, errors = site(tmp_path, notify)
    assert [(problem.file, problem.key, problem.line, problem.message) for problem in errors] == [
        ("mainstay.yml", key, line, message)
    ]
    assert errors[0].hint


def test_a_plan_that_is_wrong_elsewhere_is_there(tmp_path: Path) -> None:
    _, errors = site(tmp_path, " {command: a, plans: other}", "  other: {targets: all, reboots: never}\n")
    assert [problem.key for problem in errors] == ["plans.other.reboots"]


def test_secrets_of_a_channel_are_among_those_that_are_looked_for(tmp_path: Path) -> None:
    _, errors = site(tmp_path, "\n  - {command: a, env: {TOKEN: file:secrets/none}}")
    assert [(problem.key, problem.line) for problem in errors] == [("notify.0.env.TOKEN", 4)]


def test_no_fault_of_a_ping_holds_its_url(tmp_path: Path) -> None:
    plans = "  p: {targets: all, ping: 'ftp://hc.example/canary-0815'}\n  q: {targets: all, ping: 'https://u:canary-0815@hc.example/'}\n"
    _, errors = site(tmp_path, " {command: a}", plans)
    assert [problem.key for problem in errors] == ["plans.p.ping", "plans.q.ping"]
    assert "canary-0815" not in str(errors)

"""docs/reference/backups.md shows a site without a fault, leaves no key out, and tells the defaults as they are."""

import re
from pathlib import Path

import pytest

from mainstay.inventory.amounts import seconds
from mainstay.inventory.value import Value
from mainstay.recovery.expectations import Expectations
from mainstay.recovery.plan import (
    Assertion,
    BackupPlan,
    Checking,
    Copying,
    MysqlSource,
    PostgresqlSource,
    Proving,
    Pruning,
    Source,
)
from mainstay.recovery.repository import Credentials, Repository
from mainstay.runner.plan import BackupRequired, PatchPlan
from mainstay.schedules.check import check_site

PAGE = (Path(__file__).parents[3] / "docs/reference/backups.md").read_text()
HOSTS = "hosts: {web1: {address: 10.0.0.1, tags: {role: web}}, db1: {address: 10.0.0.2, tags: {role: db}}}\n"


def test_the_site_that_is_shown_has_no_fault(tmp_path: Path) -> None:
    shown = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
    assert sorted(shown) == ["recovery/repositories.yml", "schedules/backup.yml"]
    shown |= {"mainstay.yml": "site: acme\nssh: {key: file:secrets/key}\n", "inventory/hosts.yml": HOSTS}
    for name, content in shown.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    for name in (
        "key",
        "s3",
        *(f"{folder}/{host}" for folder in ("restic", "restic-offsite") for host in ("web1", "db1")),
    ):
        (tmp_path / "secrets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "secrets" / name).touch(0o600)
        (tmp_path / "secrets" / name).write_text("a-secret")
    loaded, errors, warnings = check_site(tmp_path)
    assert (errors, warnings) == ([], [])
    assert loaded is not None
    assert {name: one.guarded for name, one in loaded.repositories.items()} == {"main": True, "offsite": True}


@pytest.mark.parametrize(
    "model",
    [
        Repository,
        Credentials,
        Source,
        PostgresqlSource,
        MysqlSource,
        Expectations,
        Copying,
        Proving,
        Checking,
        Pruning,
        Assertion,
        BackupRequired,
    ],
    ids=lambda model: model.__name__,
)
def test_every_key_is_described(model: type[Value]) -> None:
    own = {"name", "source"} if model is Repository else set()
    text = re.sub(r"```yaml.*?```", "", PAGE, flags=re.DOTALL)
    said = {word for found in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", found)}
    assert [key for key in model.model_fields if key not in own and key not in said] == []


def test_every_key_that_a_backup_plan_has_of_its_own_is_described() -> None:
    own = set(BackupPlan.model_fields) - set(PatchPlan.model_fields) - {"repositories", "order"}
    assert own
    assert [key for key in own if f"| `{key}`" not in PAGE] == []


def test_what_is_said_of_a_plans_defaults_is_so() -> None:
    plan = PAGE.partition("## A backup plan")[2].partition("### Sources")[0]
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^`|]+?)`? \|$", plan, re.MULTILINE))
    given = BackupPlan(targets="all", repository="r", sources={"a": Source(paths=("/a",))})
    for key in ("apply_timeout", "lost_after"):
        assert seconds(told[key]) == getattr(given, key), key
    for key in (
        "parallel",
        "budget",
        "unreachable",
        "restart",
        "reboot",
        "other_updaters",
        "nice",
        "ionice",
        "compression",
    ):
        assert told[key] == str(getattr(given, key)), key
    assert told["waves"] == f"[{given.waves[0].size}]"
    verify, prune = given.verify, given.prune
    assert f"`{{every: {verify.every / 86400:.0f}d, all_within: {verify.all_within / 86400:.0f}d}}`" in plan
    assert f"`{{every: {prune.every / 86400:.0f}d, max_unused: {prune.max_unused}}}`" in plan


@pytest.mark.parametrize(
    ("title", "model"),
    [("### Expectations", Expectations()), ("### Proof", Proving()), ("### Copies", Copying(to="x"))],
)
def test_what_is_said_of_other_defaults_is_so(title: str, model: Value) -> None:
    part = re.split(r"^#", PAGE.partition(title)[2], maxsplit=1, flags=re.MULTILINE)[0]
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^`|]+?)`? \|$", part, re.MULTILINE))
    for key, words in told.items():
        value = getattr(model, key)
        if isinstance(value, float) and words.endswith("%"):
            assert value == float(words[:-1]), key
        elif isinstance(value, float):
            assert value == seconds(words), key
        elif isinstance(value, (bool, int)) and not words.endswith("iB"):
            assert words == str(value).lower(), key

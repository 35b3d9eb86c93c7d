"""Documentation that can't lie: the files shown in docs/reference are a site without a fault, and no key is left out."""

import re
from pathlib import Path

import pytest

from mainstay.inventory.amounts import seconds
from mainstay.inventory.secrets import KINDS
from mainstay.inventory.settings import GroupEntry, HostEntry, SiteFile, SiteSsh
from mainstay.inventory.value import Value
from mainstay.runner.plan import Check, Hook, PatchPlan, Updates
from mainstay.schedules.check import check_site
from mainstay.schedules.windows import Window

REFERENCE = Path(__file__).parents[3] / "docs/reference"
PAGE = (REFERENCE / "inventory.md").read_text()
PLANS = (REFERENCE / "plans.md").read_text()


def test_the_site_that_is_shown_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519").touch(0o600)
    shown = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE + PLANS, re.DOTALL)
    assert [name for name, _ in shown] == ["mainstay.yml", "inventory/hosts.yml", "schedules/web.yml"]
    for name, content in shown:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    loaded, errors, warnings = check_site(tmp_path)
    assert (errors, warnings) == ([], [])
    assert loaded
    assert dict(loaded.site.inventory.groups) == {
        "canary": ("web2",),
        "germany": ("bastion", "db1", "web1"),
        "production": ("db1", "web1"),
    }


@pytest.mark.parametrize("model", [SiteFile, SiteSsh, HostEntry, GroupEntry], ids=lambda model: model.__name__)
def test_every_key_is_described(model: type[SiteFile]) -> None:
    assert [key for key in model.model_fields if f"`{key}`" not in PAGE and f"`{key}." not in PAGE] == []


@pytest.mark.parametrize("model", [PatchPlan, Updates, Check, Hook, Window], ids=lambda model: model.__name__)
def test_every_key_of_plans_is_described(model: type[Value]) -> None:
    own = set() if model is Check else {"name", "source", "prove_first"}
    assert [key for key in model.model_fields if key not in own and f"`{key}`" not in PLANS] == []


def test_what_is_said_of_defaults_is_so() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^`|]+?)`? \|$", PLANS, re.MULTILINE))
    plan, check = PatchPlan(targets="all"), Check(service="x")
    for key in ("reboot_timeout", "apply_timeout", "overrun", "lock_wait", "undo_for"):
        assert seconds(told[key]) == getattr(plan, key), key
    for key in ("timeout", "every"):
        assert seconds(told[key]) == getattr(check, key), key
    for key in (
        "untested",
        "restart",
        "reboot",
        "other_updaters",
        "on_failure",
        "missed",
        "approval",
        "kind",
        "parallel",
        "budget",
    ):
        assert told[key] == str(getattr(plan, key)), key
    assert told["retries"] == str(check.retries)
    assert Hook(command=("x",)).timeout == seconds("5m")


def test_every_kind_of_reference_is_described() -> None:
    assert [kind for kind in KINDS if f"| `{kind}:" not in PAGE] == []

"""Whole sites: each folder of tests/cases/sites holds one, and what `check` has to say about it."""

from pathlib import Path

import pytest

from mainstay.inventory.errors import ConfigError
from mainstay.runner.plans import unavailable
from mainstay.schedules.check import check_site, load_checked
from mainstay.schedules.schema import published

ROOT = Path(__file__).parents[3]
SITES = sorted(path for path in (ROOT / "tests/cases/sites").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", SITES, ids=lambda folder: folder.name)
def test_a_site_gets_exactly_these_problems(folder: Path) -> None:
    loaded, errors, warnings = check_site(folder)
    said = [*(f"error    {problem}" for problem in errors), *(f"warning  {problem}" for problem in warnings)]
    assert "".join(f"{line}\n" for line in said) == (folder / "expected.txt").read_text()
    assert (loaded is None) is bool(errors)


def write(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / {"main": "mainstay.yml", "hosts": "inventory/hosts.yml", "plans": "schedules/web.yml"}[name]
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return root


def test_a_plan_that_names_an_unknown_window(tmp_path: Path) -> None:
    plans = 'windows: {patch-night: {cron: "0 2 * * *", duration: 1h}}\nplans:\n  p:\n    targets: all\n    window: pach-night\n'
    _, errors, _ = check_site(write(tmp_path, main="site: a\n", hosts="hosts: {web1: }\n", plans=plans))
    (problem,) = errors
    assert (problem.file, problem.line, problem.key) == ("schedules/web.yml", 5, "plans.p.window")
    assert problem.hint == 'Did you mean "patch-night"?'


def test_a_window_that_is_wrong_is_not_called_unknown(tmp_path: Path) -> None:
    plans = "windows: {w: {duration: 1h}}\nplans: {p: {targets: all, window: w}}\n"
    _, errors, _ = check_site(write(tmp_path, main="site: a\n", hosts="hosts: {web1: }\n", plans=plans))
    assert [problem.key for problem in errors] == ["windows.w"]


def test_hosts_that_could_not_be_read_are_not_missed_by_plans(tmp_path: Path) -> None:
    plans = "plans: {p: {targets: web1}}\n"
    _, errors, _ = check_site(write(tmp_path, main="site: a\n", hosts="hosts: {web1: {prot: 1}}\n", plans=plans))
    assert [problem.key for problem in errors] == ["hosts.web1.prot"]


def test_a_plan_that_can_not_run_yet_fails_check_and_leaves_the_others_to_run(tmp_path: Path) -> None:
    plans = "plans:\n  good: {targets: all}\n  later: {targets: all, before: {playbook: drain.yml}}\n"
    write(tmp_path, main="site: a\n", hosts="hosts: {web1: }\n", plans=plans)
    loaded, errors, _ = check_site(tmp_path)
    assert loaded is None
    assert [(problem.line, problem.key) for problem in errors] == [(3, "plans.later.before")]
    site = load_checked(tmp_path)
    assert unavailable(site.plans["good"], site.site) == []
    assert unavailable(site.plans["later"], site.site) == errors


def test_a_site_with_an_error_is_not_loaded(tmp_path: Path) -> None:
    write(tmp_path, main="site: a\n", hosts="hosts: {web1: }\n", plans="plans: {p: {targets: nobody}}\n")
    with pytest.raises(ConfigError) as caught:
        load_checked(tmp_path)
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="can't be read"):
        load_checked(tmp_path / "nowhere")


def test_the_published_schema_is_the_one_of_the_code() -> None:
    text = (ROOT / "docs/reference/site.schema.json").read_text()
    assert text == published(), "write it anew: python -m mainstay.schedules.schema > docs/reference/site.schema.json"

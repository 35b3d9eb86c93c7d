from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.inventory.errors import ConfigError, Problem
from mainstay.inventory.site import Site, load_site
from mainstay.runner.plan import PatchPlan
from mainstay.runner.plans import PATCH, load_plans, read_plans, unavailable

HOSTS = """
hosts:
  web1: {address: 10.0.0.1, tags: {role: web, env: prod}}
  web2: {address: 10.0.0.2, tags: {role: web, env: test}}
groups: {canary: {hosts: [web1]}}
"""
FILE = "schedules/web.yml"
WholeSite = Callable[[str], Site]


@pytest.fixture
def site(tmp_path: Path) -> WholeSite:
    def _site(schedules: str) -> Site:
        for name, content in (("mainstay.yml", "site: a\n"), ("inventory/hosts.yml", HOSTS), (FILE, schedules)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        return load_site(tmp_path)

    return _site


def plan(site: WholeSite, *lines: str, targets: str = "all") -> tuple[PatchPlan | None, list[Problem]]:
    """A plan whose own lines begin in line 4."""
    text = "\n".join(["plans:", "  p:", f"    targets: {targets}", *(f"    {line}" for line in lines), ""])
    plans, errors, _ = read_plans(site(text), PATCH)
    found = plans.get("p")
    assert found is None or isinstance(found, PatchPlan)
    return found, errors


def test_the_plan_of_the_design_is_read(site: WholeSite) -> None:
    text = """
plans:
  patch-web:
    kind: patch
    maintenance_type: preventive
    targets: role=web
    window: patch-night
    missed: next-window
    updates: {select: security, min_age: 3d, exclude: ["linux-image-*"], packages: {nginx: 1.10}}
    waves: [1, 25%, {select: canary}, 100%]
    parallel: 20
    budget: 1
    unreachable: 5%
    before: {command: /usr/local/bin/drain web}
    health: [{service: nginx}, {http: "http://{address}/healthz", expect: 200}, {command: /usr/local/bin/smoke}]
    restart: affected
    reboot: when-needed
    other_updaters: fence
    on_failure: rollback-host
    approval: none
"""
    read = load_plans(site(text))["patch-web"]
    assert isinstance(read, PatchPlan)
    assert (read.name, read.source) == ("patch-web", f"{FILE}:3")
    assert read.updates.min_age == 3 * 86400
    assert read.updates.packages == {"nginx": "1.10"}
    assert [str(wave.size or wave.select) for wave in read.waves] == ["1", "25%", "canary", "100%"]
    assert read.before[0].command == ("/usr/local/bin/drain", "web")
    assert [check.label for check in read.health] == [
        "service nginx",
        "http http://{address}/healthz",
        "/usr/local/bin/smoke",
    ]
    assert unavailable(read) == []
    assert PatchPlan.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("reboots: never", "reboots", 'unknown key. Did you mean "reboot"?'),
        ("name: x", "name", "unknown key"),
        ("source: x", "source", "unknown key"),
        ("kind: pacth", "kind", 'Did you mean "patch"?'),
        ("kind: [patch]", "kind", "no kind of plan"),
        ("reboot: sometimes", "reboot", "none of when-needed, always or never"),
        ("reboot: nevr", "reboot", 'Did you mean "never"?'),
        ("maintenance_type: preventative", "maintenance_type", 'Did you mean "preventive"?'),
        ("waves: [0]", "waves.0", "never end"),
        ("waves: [150%]", "waves.0", "more than all"),
        ("waves: [.nan]", "waves.0", "neither a number"),
        ("waves: [-1]", "waves.0", "less than no host"),
        ("waves: []", "waves", "at least one"),
        ("waves: [{select: canary, size: 0}]", "waves.0", "never end"),
        ("waves: [{selct: canary}]", "waves.0.selct", 'Did you mean "select"?'),
        ("waves: [{select: 'role='}]", "waves.0.select", "condition"),
        ("parallel: 0", "parallel", "at least 1"),
        ("parallel: .nan", "parallel", "a number"),
        ("parallel: 1.5", "parallel", "a whole number"),
        ("budget: 101%", "budget", "more than all"),
        ("budget: {cuont: 1}", "budget.cuont", 'Did you mean "count"?'),
        ("soak: 24", "soak", "no unit"),
        ("missed: later", "missed", "none of skip"),
        ("missed: {run-if-late: soon}", "missed", "no duration"),
        ("missed: {run-if-late: 0}", "missed", "no time to be late in"),
        ("missed: {run-if-late: 0h}", "missed", "no time to be late in"),
        ("missed: 'run-if-late: 0'", "missed", "no time to be late in"),
        ("missed: {run-if-late: 90}", "missed", "90 has no unit"),
        ("missed: 'run-if-late'", "missed", "none of skip"),
        ("stage: 0h before", "stage", "no time ahead"),
        ("stage: 4 before", "stage", "no duration"),
        ("stage: 4h after", "stage", "no duration"),
        ("health: [{servce: nginx}]", "health.0.servce", 'unknown key. Did you mean "service"?'),
        ("health: [{service: nginx, tcp: 80}]", "health.0", "exactly one of service"),
        ("health: {service: -x}", "health", "no name of a unit"),
        ("health: [{http: 'ftp://x'}]", "health.0", "neither http"),
        ("health: [{http: 'http://{adress}/'}]", "health.0", "not known"),
        ("health: [{tcp: 70000}]", "health.0", "port"),
        ('health: [{command: "a \'b"}]', "health.0", "not closed"),
        ('health: [{command: ["a\\0"]}]', "health.0.command", "NUL"),
        ("before: {}", "before", "exactly one of command"),
        ("before: {comand: x}", "before.comand", 'Did you mean "command"?'),
        ("updates: {exclude: ['foo;rm -rf /']}", "updates.exclude.0", "neither the name of a package"),
        ("updates: {exclude: ['-oDPkg::Pre-Invoke=x']}", "updates.exclude.0", "neither the name of a package"),
        ("updates: {only: ../x.deb}", "updates.only", "neither the name of a package"),
        ("updates: {packages: {../x.deb: 1}}", "updates.packages.../x.deb", "no name of a package"),
        ("updates: {packages: {nginx: '1;x'}}", "updates.packages.nginx", "no version"),
        ("updates: {allow_remove: ['a b']}", "updates.allow_remove.0", "neither the name of a package"),
        ("updates: {min_age: -1d}", "updates.min_age", "no duration"),
        ("updates: {select: none}", "updates.select", "none of security or all"),
        ("restart_never: ['-x']", "restart_never.0", "neither the name of a unit"),
    ],
)
def test_a_fault_in_a_plan_is_told_at_its_line_and_key(site: WholeSite, line: str, key: str, words: str) -> None:
    made, errors = plan(site, line)
    (problem,) = errors
    assert made is None or "select" in line
    assert (problem.file, problem.line, problem.key) == (FILE, 4, f"plans.p.{key}")
    assert words in str(problem)


@pytest.mark.parametrize("name", ["foo;rm -rf /", "-oDPkg::Post-Invoke::=id", "../x.deb", "a\\nb", "$(id)"])
def test_a_package_that_is_no_package_name_is_refused(site: WholeSite, name: str) -> None:
    for word in ("exclude", "only", "allow_remove", "min_age_except"):
        _, errors = plan(site, f'updates: {{{word}: ["{name}"]}}')
        assert [(p.file, p.line, p.key) for p in errors] == [(FILE, 4, f"plans.p.updates.{word}.0")]
        assert str(errors[0]).isprintable()


def test_a_plan_that_stages_for_no_window_is_refused(site: WholeSite) -> None:
    _, (problem,) = plan(site, "stage: 4h before")
    assert (problem.file, problem.key) == (FILE, "plans.p")
    assert "this plan has none" in str(problem)
    made, errors = plan(site, "stage: 4h before", "window: night")
    assert not errors and made and (made.stage, unavailable(made)) == (14400.0, [])


def test_an_unknown_key_is_answered_with_the_one_that_was_meant(site: WholeSite) -> None:
    _, (problem,) = plan(site, "reboots: never")
    assert (problem.file, problem.line, problem.column, problem.key) == (FILE, 4, 5, "plans.p.reboots")
    assert problem.hint == 'Did you mean "reboot"?'


def test_a_batch_of_none_or_more_than_all_is_refused(site: WholeSite) -> None:
    for size in ("0", "0%", "150%", ".nan", ".inf", "-5", "-5%", "x"):
        _, errors = plan(site, f"waves: [1, {size}]")
        assert [(p.line, p.key) for p in errors] == [(4, "plans.p.waves.1")], size


@pytest.mark.parametrize(
    ("targets", "column", "words"),
    [
        ("role=nobody", 19, "matches no host: no host has the role"),
        ("web9", 14, 'there is no host or group "web9". Did you mean "web'),
        ("role=web and and", 27, "can't stand here"),
        ('"role=web & x"', 24, "Write and."),
        ("''", 14, "is empty"),
    ],
)
def test_targets_are_read_at_check_time_with_their_column(
    site: WholeSite, targets: str, column: int, words: str
) -> None:
    _, errors = plan(site, targets=targets)
    (problem,) = errors
    assert (problem.file, problem.line, problem.column, problem.key) == (FILE, 3, column, "plans.p.targets")
    assert words in str(problem)


def test_a_plan_without_targets_is_refused(site: WholeSite) -> None:
    _, errors, _ = read_plans(site("plans:\n  p: {}\n"), PATCH)
    assert [(p.line, p.key, p.message) for p in errors] == [(2, "plans.p.targets", "is missing")]


def test_names_that_name_nobody_are_warned_about(site: WholeSite) -> None:
    text = "plans:\n  p:\n    targets: role=web or web9\n    waves:\n      - {select: canari}\n      - 100%\n"
    plans, errors, warnings = read_plans(site(text), PATCH)
    assert list(plans) == ["p"]
    assert not errors
    assert [(w.line, w.column, w.key) for w in warnings] == [
        (3, 26, "plans.p.targets"),
        (5, 18, "plans.p.waves.0.select"),
    ]
    assert warnings[1].hint == 'Did you mean "canary"?'


@pytest.mark.parametrize("kind", ["restore", "drill", "playbook", "command"])
def test_a_kind_that_is_not_there_yet_is_an_error_and_never_ignored(site: WholeSite, kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plans(site(f"plans:\n  good: {{targets: all}}\n  nightly:\n    kind: {kind}\n"))
    (problem,) = caught.value.problems
    assert caught.value.exit_code == 2
    assert (problem.file, problem.line, problem.key) == (FILE, 4, "plans.nightly.kind")
    assert "not available yet" in problem.message


def test_what_a_plan_asks_for_and_is_not_there_yet_is_never_ignored(site: WholeSite) -> None:
    lines = [
        "before: {playbook: drain.yml}",
        "after:\n      - {command: x}\n      - {playbook: undrain.yml}",
    ]
    made, errors = plan(site, *lines)
    assert made
    assert not errors
    text = "\n".join(["plans:", "  p:", "    targets: all", *(f"    {line}" for line in lines), ""])
    found = unavailable(made, site(text))
    assert [(p.file, p.line, p.key) for p in found] == [
        (FILE, 4, "plans.p.before"),
        (FILE, 5, "plans.p.after"),
    ]
    assert all("never ignored" in p.message and p.hint for p in found)
    assert [(p.file, p.line) for p in unavailable(made)] == [(FILE, 2)] * 2


def test_a_plan_declared_twice_names_both_places(site: WholeSite, tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules/other.yml").write_text("plans:\n  p: {targets: all}\n")
    _, errors, _ = read_plans(site("plans:\n  p: {targets: all}\n"), PATCH)
    (problem,) = errors
    assert (problem.file, problem.line, problem.key) == (FILE, 2, "plans.p")
    assert "first in schedules/other.yml:2" in problem.message


def test_faults_of_a_file_of_plans(site: WholeSite) -> None:
    for text, key, words in (
        ("plan: {}", "plan", 'Did you mean "plans"?'),
        ("plans: [p]", "plans", "a mapping"),
        ("plans: {'../p': {targets: all}}", "plans.../p", "no name of a plan"),
        ("- p", None, "a mapping"),
        ("plans: {p: patch}", "plans.p", "a mapping"),
        ("plans: {p: {targets: all, health: {http: 'http://u:pw@x/'}}}", "plans.p.health.http", "plain text"),
    ):
        _, errors, _ = read_plans(site(text), PATCH)
        (problem,) = [e for e in errors if e.key != "plans.p.health"]
        assert (problem.file, problem.line, problem.key) == (FILE, 1, key), text
        assert words in str(problem)
        assert "pw" not in problem.message


RACKS = """
hosts:
  w1: {address: 10.0.0.1, tags: {rack: r1}}
  w2: {address: 10.0.0.2, tags: {rack: r1}}
  w3: {address: 10.0.0.3, tags: {rack: r2}}
  w4: {address: 10.0.0.4}
"""


def warned(tmp_path: Path, main: str, *lines: str) -> list[str]:
    text = "\n".join(["plans:", "  p:", "    targets: all", *(f"    {line}" for line in lines), ""])
    for name, content in (("mainstay.yml", f"site: a\n{main}"), ("inventory/hosts.yml", RACKS), (FILE, text)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = load_site(tmp_path)
    _, errors, warnings = read_plans(found, PATCH)
    assert errors == []
    return [str(problem) for problem in (*found.warnings, *warnings)]


def test_a_tag_that_no_host_has_limits_nothing_and_is_warned_of(tmp_path: Path) -> None:
    (site, plan) = warned(tmp_path, "limits: {spread: {zone: 1}}\n", "spread: {rak: 1}")
    assert "mainstay.yml:2" in site and "no host of the site has the tag zone" in site
    assert f"{FILE}:4" in plan and "no host of the plan has the tag rak" in plan and 'Did you mean "rack"?' in plan


def test_hosts_of_a_plan_that_lack_the_tag_are_named(tmp_path: Path) -> None:
    (told,) = warned(tmp_path, "limits: {spread: {rack: 1}}\n", "spread: {rack: 1}")
    assert "w4 of the plan has no tag rack, and is not limited by it" in told


@pytest.mark.parametrize(
    ("main", "lines", "why"),
    [
        ("limits: {parallel: 2}\n", [], "at most 2 of its 4 hosts at once, because of limits.parallel of the site"),
        ("limits: {spread: {rack: 1}}\n", [], "at most 3 of its 4 hosts at once, because of limits.spread of the site"),
        ("", ["spread: {rack: 1}"], "at most 3 of its 4 hosts at once, because of spread: rack: 1"),
    ],
)
def test_a_parallel_that_limits_make_unreachable_is_warned_of(
    tmp_path: Path, main: str, lines: list[str], why: str
) -> None:
    told = warned(tmp_path, main, "parallel: 4", *lines)
    assert any(f"{FILE}:4" in one and why in one for one in told), told
    assert not any("can't be reached" in one for one in warned(tmp_path, main, "parallel: 2", *lines))
    assert not any("can't be reached" in one for one in warned(tmp_path, main, *lines)), "nobody wrote one"


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ("spread: {rack: 0}", "plans.p.spread.rack", "too small"),
        ("spread: {name: 1}", "plans.p.spread.name", "is no tag"),
        ("spread: {'a b': 1}", "plans.p.spread.a b", "no name of a tag"),
        ("spread: rack", "plans.p.spread", "has to be a mapping"),
        ("spread: {rack: many}", "plans.p.spread.rack", "whole number"),
    ],
)
def test_a_spread_that_is_none_is_an_error_at_its_place(site: WholeSite, line: str, key: str, message: str) -> None:
    _, errors = plan(site, line)
    assert [(problem.key, message in problem.message) for problem in errors] == [(key, True)], errors

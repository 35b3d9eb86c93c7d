"""What is told of backup plans as they are written, and of patch plans that require them."""

import json
from pathlib import Path

import pytest
from tests.unit.recovery.backup_site import REPOSITORIES, check, loaded, places, write

from mainstay.inventory.errors import Problem
from mainstay.inventory.value import canonical
from mainstay.recovery.plan import BackupPlan
from mainstay.schedules.check import load_checked

OFFSITE = REPOSITORIES + '  offsite: {url: "/mnt/{host}", password: "file:secrets/other", shared: accepted}\n'
SOURCES = "sources: {etc: {paths: /etc}, shop: {postgresql: {databases: [shop]}}}"


def plan(*lines: str, targets: str = "role=web", sources: str = SOURCES) -> str:
    """A plan whose own lines begin in line 6."""
    first = ["plans:", "  nightly:", "    kind: backup", f"    targets: {targets}", "    repository: main"]
    return "\n".join([*first, *(f"    {line}" for line in lines), f"    {sources}", ""])


def told(root: Path, *lines: str, targets: str = "role=web", sources: str = SOURCES) -> list[Problem]:
    return check(root, plan(*lines, targets=targets, sources=sources), OFFSITE)[0]


def test_a_whole_plan_is_read_and_comes_back_from_a_run_as_it_was(tmp_path: Path) -> None:
    text = """
windows: {night: {on: daily, start: "01:30", duration: 4h}, day: {on: daily, start: "10:00", duration: 4h}}
plans:
  nightly:
    kind: backup
    targets: role=web
    window: night
    repository: main
    copies: [{to: offsite, every: 1d, window: day, upload: 4096}]
    retention: {within: 90d}
    fresh: 30h
    expect: {min_files: 10, drop: 80%}
    prove: {every: 30d, sample: 5, on: controller, check: [{source: shop, database: shop, query: select 1, equals: "1"}]}
    tags: [acme]
    sources:
      etc: {paths: [/etc, "/srv/a b"], exclude: "*.tmp", expect: {min_size: 1MB}}
      list: {files_from: "/usr/local/bin/what --all 'a b'"}
      shop: {postgresql: {databases: [shop]}}
      all: {mysql: {}}
      app: {sqlite: /var/lib/app.db}
      dump: {command: [ldapsearch, -x], filename: ldap.ldif, trailer: "# numEntries", user: openldap}
"""
    site = loaded(tmp_path, text, OFFSITE)
    read = site.plans["nightly"]
    assert isinstance(read, BackupPlan)
    assert list(read.repositories) == ["main", "offsite"]
    assert [(copy.to, copy.window, copy.upload) for copy in read.copies] == [("offsite", "day", 4096)]
    assert read.sources["list"].files_from == ("/usr/local/bin/what", "--all", "a b")
    assert (read.expected("etc").min_files, read.expected("etc").drop, read.expected("shop").drop) == (10, 80.0, 80.0)
    assert read.expected("etc").min_size == 1_000_000
    # a backup's own defaults
    assert ([str(wave.size) for wave in read.waves], str(read.budget), read.reboot, read.restart) == (
        ["100%"],
        "100%",
        "never",
        "none",
    )
    assert BackupPlan.from_json(read.to_json()) == read
    assert read.hash() == BackupPlan.from_json(read.to_json()).hash()


def test_sources_are_taken_in_the_order_in_which_they_are_written(tmp_path: Path) -> None:
    """Also by a run, which has its plan as canonical JSON, whose keys are sorted."""
    sources = "sources: {shop: {postgresql: {databases: [shop]}}, etc: {paths: /etc}, app: {sqlite: /var/lib/app.db}}"
    read = loaded(tmp_path, plan(sources=sources), OFFSITE).plans["nightly"]
    assert isinstance(read, BackupPlan)
    again = BackupPlan.from_json(json.loads(canonical(read.to_json())))
    assert list(read.sources) == list(again.sources) == ["shop", "etc", "app"]
    assert again.hash() == read.hash()
    other = "sources: {etc: {paths: /etc}, shop: {postgresql: {databases: [shop]}}, app: {sqlite: /var/lib/app.db}}"
    sorted_ones = loaded(tmp_path / "sorted", plan(sources=SOURCES), OFFSITE).plans["nightly"]
    assert isinstance(sorted_ones, BackupPlan)
    assert sorted_ones.order == (), "nothing to be said of"
    assert loaded(tmp_path / "other", plan(sources=other), OFFSITE).plans["nightly"].hash() != read.hash()
    problems = check(tmp_path / "by hand", plan("order: [etc]"), OFFSITE)[0]
    assert [one.key for one in problems] == ["plans.nightly.order"]


def test_what_an_approval_is_bound_to_is_what_is_written_and_not_where(tmp_path: Path) -> None:
    before = loaded(tmp_path).plans["nightly"].hash()
    moved = REPOSITORIES.replace("repositories:", "# a line more\nrepositories:")
    assert loaded(tmp_path, repositories=moved).plans["nightly"].hash() == before
    elsewhere = REPOSITORIES.replace("/srv/backup", "/srv/other")
    assert loaded(tmp_path, repositories=elsewhere).plans["nightly"].hash() != before


@pytest.mark.parametrize(
    ("line", "key", "words", "hint"),
    [
        ("copies: ofsite", "copies", 'there is no repository "ofsite"', 'Did you mean "offsite"?'),
        ("copies: [main]", "copies.0", "is where the hosts write to already", None),
        ("copies: [offsite, {to: offsite}]", "copies.1.to", "is named twice", None),
        ("copies: {to: offsite, window: nigth}", "copies.window", 'there is no window "nigth"', None),
        ("copies: {to: offsite, evry: 1d}", "copies.evry", "unknown key", 'Did you mean "every"?'),
        ("prove: {on: db11}", "prove.on", 'there is no host "db11" that could restore', 'Did you mean "db1"?'),
        (
            'prove: {on: "zz[8:9]"}',
            "prove.on",
            'no host "zz[8:9]"',
            "Write controller, host (each its own) or a host's name.",
        ),
        ("prove: {on: contoller}", "prove.on", 'there is no host "contoller"', 'Did you mean "controller"?'),
        ("prove: {on: [db1]}", "prove.on", "has to be a text", None),
        (
            "prove: {check: {source: etc, database: x, query: q, equals: a}}",
            "prove.check.source",
            "etc is no database (paths)",
            None,
        ),
        (
            "prove: {check: [{source: shop, database: shp, query: q, equals: a}]}",
            "prove.check.0.database",
            'shop holds no database "shp"',
            'Did you mean "shop"?',
        ),
        ("prove: {check: {source: s, database: x, query: q, equals: a}}", None, "prove.check asks of s", None),
        ("prove: {check: {source: shop, database: x, query: q}}", "prove.check", "exactly one of equals", None),
        ("retention: {}", "retention", "would keep nothing", None),
        ("expect: {drop: 5}", "expect.drop", "is no share", None),
        ("on_failure: rollback-host", None, "a backup changes nothing that could be rolled back", None),
        ("repositories: {}", "repositories", "unknown key", None),
        ("reboots: never", "reboots", "unknown key", 'Did you mean "reboot"?'),
    ],
)
def test_a_plan_that_is_wrong_is_told_where(
    tmp_path: Path, line: str, key: str | None, words: str, hint: str | None
) -> None:
    (problem,) = told(tmp_path, line)
    place = ("schedules/b.yml", 6, f"plans.nightly.{key}") if key else ("schedules/b.yml", 2, "plans.nightly")
    assert places([problem]) == [place]
    assert words in problem.message
    assert hint is None or problem.hint == hint


@pytest.mark.parametrize(
    ("sources", "key", "words"),
    [
        ("{}", None, "sources: is empty"),
        ("{a: {paths: etc}}", "a.paths", '"etc" is no absolute path'),
        ("{a: {paths: /a, command: b, filename: c}}", "a", "exactly one of paths"),
        ("{a: {command: b}}", "a", "a command needs filename"),
        ('{a: {command: "b \'c", filename: d}}', "a", "a quote in its command is not closed"),
        ("{a: {paths: /a, filename: b}}", "a", "filename and trailer belong to a command"),
        ("{a: {command: b, filename: ../c}}", "a.filename", "is not written as it has to be"),
        ("{A: {paths: /a}}", "A", "is not written as it has to be"),
        ("{a: {pahts: /a}}", "a.pahts", "unknown key"),
        ("{a: {paths: /a, expect: {min_file: 1}}}", "a.expect.min_file", "unknown key"),
        ("{a: {postgresql: {databses: all}}}", "a.postgresql.databses", "unknown key"),
    ],
)
def test_a_source_that_is_wrong_is_told_where(tmp_path: Path, sources: str, key: str | None, words: str) -> None:
    (problem,) = told(tmp_path, sources=f"sources: {sources}")
    place = (6, f"plans.nightly.sources.{key}") if key else (2, "plans.nightly")
    assert (problem.line, problem.key) == place
    assert words in problem.message


@pytest.mark.parametrize(("on", "readers"), [("controller", []), ("host", []), ("db1", ["db1 is given the password"])])
def test_who_can_read_whom_by_a_drill_is_told(tmp_path: Path, on: str, readers: list[str]) -> None:
    errors, warnings = check(tmp_path, plan(f"prove: {{on: {on}}}"), OFFSITE)
    found = [one for one in warnings if one.key == "plans.nightly.prove.on"]
    assert errors == [] and len(found) == len(readers)
    for problem, words in zip(found, readers, strict=True):
        assert problem.message.startswith(words) and problem.line == 6


def test_what_counts_points_is_not_for_a_copy_that_is_append_only_either(tmp_path: Path) -> None:
    more = "{url: 'rest:https://nas.test/{host}/', password: file:secrets/other, shared: accepted, append_only: true}"
    repositories = f"{REPOSITORIES}  nas: {more}\n"
    (problem,) = check(tmp_path, plan("retention: {daily: 7, weekly: 4}", "copies: nas"), repositories)[0]
    assert (problem.line, problem.key) == (6, "plans.nightly.retention")
    assert "daily, weekly counts points, and nas is append-only" in problem.message
    for lines in (
        ("retention: {within: 90d}", "copies: nas"),
        ("retention: {daily: 7}", "copies: {to: nas, keep: all}"),
    ):
        assert check(tmp_path, plan(*lines), repositories)[0] == []


def test_an_unknown_repository(tmp_path: Path) -> None:
    (problem,) = check(tmp_path, plan().replace("repository: main", "repository: mian"), OFFSITE)[0]
    assert (problem.line, problem.column, problem.key) == (5, 17, "plans.nightly.repository")
    assert problem.hint == 'Did you mean "main"?'


def test_what_is_backed_up_twice_is_warned_of(tmp_path: Path) -> None:
    sources = "sources: {a: {paths: [/etc, /srv, /etc/]}, b: {paths: /srv/}, c: {paths: /srv/www}}"
    errors, warnings = check(tmp_path, plan(sources=sources))
    assert errors == []
    assert [(problem.key, problem.message) for problem in warnings] == [
        ("plans.nightly.sources.a.paths.2", '"/etc/" is in this source already.'),
        ("plans.nightly.sources.b.paths", '"/srv/" is in the source a already.'),
    ]


@pytest.mark.parametrize(
    ("path", "exclude", "targets", "told"),
    [
        ("/srv", "[]", "all", True),
        ("/", "[]", "ops", True),
        ("/srv/backup", "[]", "all", True),
        ("/srv/backups", "[]", "all", False),
        ("/srv", "[/srv/backup]", "all", False),
        ("/srv", "[/srv/back*]", "all", True),
        ("/srv", "[]", "role=web", False),
    ],
)
def test_a_repository_is_not_backed_up_into_itself(
    tmp_path: Path, path: str, exclude: str, targets: str, told: bool
) -> None:
    sources = f"sources: {{a: {{paths: [/etc, {path}], exclude: {exclude}}}}}"
    errors, _ = check(tmp_path, plan(targets=targets, sources=sources))
    assert [problem.key for problem in errors] == (["plans.nightly.sources.a.paths.1"] if told else [])


def requiring(wanted: str, targets: str = "role=web") -> str:
    return plan() + f"  patch:\n    targets: {targets}\n    requires: {{backup: {wanted}}}\n"


@pytest.mark.parametrize(
    ("wanted", "targets", "key", "words"),
    [
        ("{newer_than: 24h}", "role=web or db1", "", "no plan backs up db1"),
        ("{newer_than: 24h, plan: nightly}", "all", ".plan", "nightly does not back up db1 and ops"),
        ("{newer_than: 24h, plan: nightyl}", "role=web", ".plan", 'there is no plan "nightyl"'),
        ("{newer_than: 24h, plan: patch}", "role=web", ".plan", 'there is no plan of the kind backup "patch"'),
        ("{plan: nightly}", "role=web", "", "requires nothing: say newer_than"),
        ("{newr_than: 24h}", "role=web", ".newr_than", "unknown key"),
    ],
)
def test_a_backup_that_is_required_and_could_never_be(
    tmp_path: Path, wanted: str, targets: str, key: str, words: str
) -> None:
    errors, _ = check(tmp_path, requiring(wanted, targets))
    (problem,) = errors
    assert (problem.line, problem.key) == (9, f"plans.patch.requires.backup{key}")
    assert words in problem.message


def test_a_backup_plan_that_is_wrong_is_not_missed_by_those_that_rely_on_it(tmp_path: Path) -> None:
    for wanted in ("{newer_than: 24h}", "{newer_than: 24h, plan: nightly}"):
        errors, _ = check(tmp_path, requiring(wanted).replace("kind: backup", "kind: backup\n    nice: 30"))
        assert [problem.key for problem in errors] == ["plans.nightly.nice"]


def test_a_host_that_no_plan_backs_up_keeps_no_other_plan_from_running(tmp_path: Path) -> None:
    site = load_checked(write(tmp_path, requiring("{newer_than: 24h}", "all")))
    assert list(site.plans) == ["nightly", "patch"]


def test_a_proof_that_is_required_and_never_made_is_warned_of(tmp_path: Path) -> None:
    text = requiring("{proved_within: 30d}").replace("    sources:", "    prove: null\n    sources:")
    _, warnings = check(tmp_path, text)
    assert [problem.key for problem in warnings] == ["plans.patch.requires.backup.proved_within"]


@pytest.mark.parametrize(("more", "told"), [((), True), (("keep_proved: 0",), False)])
def test_retention_that_waits_for_a_proof_that_never_comes_is_warned_of(
    tmp_path: Path, more: tuple[str, ...], told: bool
) -> None:
    errors, warnings = check(tmp_path, plan("retention: {within: 90d}", "prove: null", *more))
    assert (errors, [problem.key for problem in warnings]) == ([], ["plans.nightly.retention"] if told else [])


def test_what_counts_points_is_not_for_a_repository_that_is_append_only(tmp_path: Path) -> None:
    repositories = (
        'repositories:\n  main:\n    url: "rest:https://nas.test/{host}/"\n    password: "file:secrets/restic/{host}"\n'
        "    append_only: true\n    write: {user: add, password: file:secrets/add}\n"
        "    maintain: {user: tend, password: file:secrets/tend}\n"
    )
    (problem,) = check(tmp_path, plan("retention: {daily: 7, within: 30d}"), repositories)[0]
    assert "daily counts points, and main is append-only" in problem.message
    assert check(tmp_path, plan("retention: {within: 30d}"), repositories)[0] == []
    assert check(tmp_path, plan("retention: {daily: 7}"))[0] == []

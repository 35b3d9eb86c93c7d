from pathlib import Path

import pytest
from tests.unit.recovery.backup_site import REPOSITORIES, check, loaded, places, write

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repositories import named, readable
from mainstay.recovery.repository import Repository, access
from mainstay.schedules.check import check_site

ALL = "plans: {nightly: {kind: backup, targets: all, repository: main, sources: {etc: {paths: /etc}}}}\n"
ONE = "plans: {nightly: {kind: backup, targets: web1, repository: main, sources: {etc: {paths: /etc}}}}\n"


def test_a_plan_carries_the_repositories_that_it_uses(tmp_path: Path) -> None:
    more = REPOSITORIES + '  spare: {url: "/mnt/{host}", password: "file:secrets/restic/{host}"}\n'
    site = loaded(tmp_path, repositories=more)
    assert sorted(site.repositories) == ["main", "spare"]
    (plan,) = site.plans.values()
    assert list(plan.to_json()["repositories"]) == ["main"]
    main = site.repositories["main"]
    assert (main.name, main.source, main.per_host, main.guarded) == ("main", "recovery/a.yml:2", True, True)
    assert main.address("web1") == "/srv/backup/web1"
    assert plan.shares == {"repository main": 10}


def test_a_path_that_looks_like_a_command_is_a_path(tmp_path: Path) -> None:
    text = 'repositories: {main: {url: "/srv/$(id)/`reboot`; x/{host}", password: "file:secrets/restic/{host}"}}\n'
    main = loaded(tmp_path, repositories=text).repositories["main"]
    assert main.address("web1") == "/srv/$(id)/`reboot`; x/web1"
    found = access(main, "web1", "write", lambda reference: Secret(reference))
    assert (found.url, found.password.reveal()) == ("/srv/$(id)/`reboot`; x/web1", "file:secrets/restic/web1")


@pytest.mark.parametrize(
    ("entry", "key", "words"),
    [
        ("{url: backup, password: file:secrets/other}", "url", "is none of /folder, sftp:"),
        ("{url: /, password: file:secrets/other}", "url", "is none of /folder"),
        ("{url: /srv/../etc, password: file:secrets/other}", "url", "holds a .."),
        ("{url: 's3:https://s3.example/b/{hsot}', password: file:secrets/other}", "url", '"{hsot}" stands for nothing'),
        ("{url: 'rest:https://anna:geheim@x.example/', password: file:secrets/other}", "url", "a secret in plain text"),
        ("{url: /srv/b, password: hunter2}", "password", "a secret in plain text"),
        ("{url: /srv/b, password: 'file:a/{name}'}", "password", '"{name}" stands for nothing'),
        ("{url: /srv/b}", "password", "is missing"),
        ("{url: /srv/b, password: file:secrets/other, pasword: x}", "pasword", "unknown key"),
        ("{url: /srv/b, password: file:secrets/other, shared: yes}", "shared", '"yes" is none of'),
        ("{url: /srv/b, password: file:secrets/other, via: host}", None, "can't reach path by itself"),
        (
            "{url: 'rest:https://x.example/', password: file:secrets/other, via: controller}",
            None,
            "is for folders, sftp and s3",
        ),
        ("{url: 'sftp:u@nas:/b', password: file:secrets/other}", None, "known_hosts: is missing"),
        ("{url: 's3:https://s3.example/b', password: file:secrets/other}", None, "maintain: {user"),
        (
            "{url: 'rest:https://x.example/', password: file:secrets/other, write: {user: a, password: file:secrets/add}, "
            "maintain: {user: b, password: file:secrets/add}}",
            None,
            "write and maintain name the same secret",
        ),
        (
            "{url: 'rest:https://x.example/', password: file:secrets/add, write: {user: a, password: file:secrets/add}}",
            None,
            "password and write name the same secret",
        ),
        ("{url: /srv/b, password: file:secrets/other, name: x}", "name", "unknown key"),
    ],
)
def test_a_repository_that_is_wrong_is_told_where(tmp_path: Path, entry: str, key: str | None, words: str) -> None:
    errors, _ = check(tmp_path, ONE, f"repositories:\n  main: {entry}\n")
    (problem,) = errors
    assert words in problem.message
    assert places(errors) == [("recovery/a.yml", 2, f"repositories.main.{key}" if key else "repositories.main")]
    assert "hunter2" not in str(problem)
    assert "geheim" not in str(problem)


def test_a_repository_that_is_wrong_is_not_called_unknown(tmp_path: Path) -> None:
    errors, _ = check(tmp_path, ONE, "repositories: {main: {url: backup, password: file:secrets/other}}\n")
    assert [problem.key for problem in errors] == ["repositories.main.url"]


def test_what_is_declared_twice_and_what_nobody_knows(tmp_path: Path) -> None:
    write(tmp_path, recovery__b=REPOSITORIES + "repositorys: {}\n", recovery__c="- a\n")
    _, errors, _ = check_site(tmp_path)
    assert [(problem.file, problem.line, problem.column, problem.message) for problem in errors] == [
        ("recovery/b.yml", 2, 3, "this repository is declared twice, first in recovery/a.yml:2."),
        ("recovery/b.yml", 3, 1, "unknown key."),
        ("recovery/c.yml", 1, 1, "has to be a mapping with repositories:"),
    ]
    assert errors[1].hint == 'Did you mean "repositories"?'


def test_a_file_of_recovery_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    write(tmp_path, recovery__b="repositories: [\n")
    _, errors, _ = check_site(tmp_path)
    assert [problem.file for problem in errors] == ["recovery/b.yml"]


@pytest.mark.parametrize(
    ("url", "password", "key", "words"),
    [
        ("/srv/b", "file:secrets/restic/{host}", "url", "db1, ops, web1 and web2 keep their backups in one repository"),
        ("/srv/{host}", "file:secrets/other", "password", "db1, ops, web1 and web2 have one password"),
        ("/srv/b", "file:secrets/other", "url", "each can read what the others keep"),
    ],
)
def test_hosts_that_could_read_each_other_have_to_be_accepted(
    tmp_path: Path, url: str, password: str, key: str, words: str
) -> None:
    def text(more: str = "") -> str:
        return f'repositories:\n  main: {{url: "{url}", password: "{password}"{more}}}\n'

    errors, _ = check(tmp_path, ALL, text())
    assert places(errors) == [("recovery/a.yml", 2, f"repositories.main.{key}")]
    assert words in errors[0].message
    assert check(tmp_path, ALL, text(", shared: accepted")) == ([], [])
    # one host alone shares it with nobody
    assert check(tmp_path, ONE, text()) == ([], [])


def test_two_plans_of_one_host_each_share_a_repository_too(tmp_path: Path) -> None:
    plans = ONE + "  \n"
    plans = plans.replace(
        "}}}}", "}}}, other: {kind: backup, targets: db1, repository: main, sources: {x: {paths: /x}}}}"
    )
    errors, _ = check(tmp_path, plans, "repositories: {main: {url: /srv/b, password: file:secrets/other}}\n")
    assert [problem.message for problem in errors] == [
        "db1 and web1 keep their backups in one repository, and each can read what the others keep."
    ]


def test_one_password_for_two_repositories(tmp_path: Path) -> None:
    text = "repositories:\n  main: {url: /srv/a, password: file:secrets/other}\n"
    text += "  more: {url: /srv/b, password: file:secrets/other}\n"
    plans = "plans:\n  a: {kind: backup, targets: web1, repository: main, sources: {x: {paths: /x}}}\n"
    plans += "  b: {kind: backup, targets: HOST, repository: more, sources: {x: {paths: /x}}}\n"
    errors, _ = check(tmp_path, plans.replace("HOST", "web2"), text)
    assert places(errors) == [("recovery/a.yml", 3, "repositories.more.password")]
    assert "web2 and web1 could read what the other keeps" in errors[0].message
    # of one host: nobody can read more than before, but what is lost is lost twice
    errors, warnings = check(tmp_path, plans.replace("HOST", "web1"), text)
    assert (errors, places(warnings)) == ([], [("recovery/a.yml", 3, "repositories.more.password")])


def test_two_names_for_one_place(tmp_path: Path) -> None:
    text = REPOSITORIES + '  copy: {url: "/srv/backup/{host}/", password: "file:secrets/restic/{host}"}\n'
    errors, _ = check(tmp_path, ONE, text)
    assert places(errors) == [("recovery/a.yml", 3, "repositories.copy.url")]


def test_what_hosts_hold_for_one_repository_must_not_remove_from_another(tmp_path: Path) -> None:
    login = "{user: u, password: file:secrets/add}"
    text = (
        f"repositories:\n  main: {{url: 'rest:https://x.example/', password: file:secrets/other, maintain: {login}}}\n"
    )
    text += f"  two: {{url: 'rest:https://y.example/', password: file:secrets/other, write: {login}}}\n"
    errors, _ = check(tmp_path, ONE, text)
    assert places(errors) == [("recovery/a.yml", 3, "repositories.two.write.password")]


@pytest.mark.parametrize(
    ("more", "guarded"),
    [("", False), (", append_only: true", True)],
)
def test_a_host_that_could_remove_its_backups_is_warned_of(tmp_path: Path, more: str, guarded: bool) -> None:
    text = f"repositories:\n  main: {{url: 'rest:https://x.example/', password: file:secrets/other{more}}}\n"
    errors, warnings = check(tmp_path, ONE, text)
    assert errors == []
    assert places(warnings) == ([] if guarded else [("recovery/a.yml", 2, "repositories.main")])


def test_every_password_that_hosts_need_is_looked_for(tmp_path: Path) -> None:
    write(tmp_path, ALL)
    (tmp_path / "secrets/restic/web1").unlink()
    (tmp_path / "secrets/restic/db1").chmod(0o644)
    _, errors, _ = check_site(tmp_path)
    assert places(errors) == [("recovery/a.yml", 2, "repositories.main.password")]
    assert "secrets/restic/db1" in errors[0].message
    assert "and 1 more" in errors[0].message


def test_a_reference_that_a_hosts_name_makes_wrong(tmp_path: Path) -> None:
    text = 'repositories: {main: {url: "/srv/{host}", password: "env:RESTIC_{host}"}}\n'
    plan = ONE.replace("web1", "web-9")
    write(tmp_path, plan, text, inventory__more="hosts: {web-9: {address: 10.0.0.9}}\n")
    _, errors, _ = check_site(tmp_path)
    assert [(problem.key, problem.message) for problem in errors] == [
        ("repositories.main.password", "for web-9: env: takes the name of a variable")
    ]


def test_who_can_read_whom_in_words() -> None:
    one = Repository(url="/srv/{host}", password="file:secrets/{host}")
    shared = Repository(url="/srv/b", password="file:secrets/other", shared="accepted")
    assert readable(one, {"a", "b"}) == ""
    assert readable(shared, {"a"}) == ""
    assert readable(shared, {"a", "b"}).startswith("a and b keep their backups in one repository")
    assert named(["e", "d", "c", "b", "a"]) == "a, b, c and 2 more"

"""A site with backups, written for one test."""

from __future__ import annotations

from pathlib import Path

from mainstay.inventory.errors import Problem
from mainstay.schedules.check import LoadedSite, check_site

HOSTS = """
hosts:
  web1: {address: 10.0.0.1, tags: {role: web}}
  web2: {address: 10.0.0.2, tags: {role: web}}
  db1: {address: 10.0.0.3, tags: {role: db}}
  ops: {address: 10.0.0.4, controller: true}
"""
REPOSITORIES = 'repositories:\n  main: {url: "/srv/backup/{host}", password: "file:secrets/restic/{host}"}\n'
PLAN = """
plans:
  nightly:
    kind: backup
    targets: role=web
    repository: main
    sources: {etc: {paths: /etc}}
"""
NAMES = ("web1", "web2", "db1", "ops")


def write(root: Path, plans: str = PLAN, repositories: str = REPOSITORIES, **more: str) -> Path:
    """more: file → content, with __ for / (`recovery__b`: recovery/b.yml). Every host has a password."""
    files = {"mainstay": "site: a\nssh: {key: file:secrets/key}\n", "inventory/hosts": HOSTS, "schedules/b": plans}
    files |= {"recovery/a": repositories, **{name.replace("__", "/"): content for name, content in more.items()}}
    for name, content in files.items():
        path = root / f"{name}.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    for name in ("key", "other", "add", "tend", *(f"restic/{host}" for host in NAMES)):
        path = root / "secrets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text("a-secret-of-the-test")
    return root


def check(root: Path, plans: str = PLAN, repositories: str = REPOSITORIES) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings)"""
    _, errors, warnings = check_site(write(root, plans, repositories))
    return errors, warnings


def loaded(root: Path, plans: str = PLAN, repositories: str = REPOSITORIES) -> LoadedSite:
    site, errors, _ = check_site(write(root, plans, repositories))
    assert site is not None, errors
    return site


def places(problems: list[Problem]) -> list[tuple[str | None, int | None, str | None]]:
    return [(problem.file, problem.line, problem.key) for problem in problems]

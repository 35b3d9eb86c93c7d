"""Sites written for one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.inventory.errors import Problem
from mainstay.inventory.site import Site, read_site

Read = Callable[..., tuple[Site, list[Problem]]]
Write = Callable[..., Path]
HOSTS = "inventory/hosts.yml"
MAIN = "site: acme\ntimezone: Europe/Berlin\n"


def one(problems: list[Problem] | tuple[Problem, ...]) -> Problem:
    (problem,) = problems
    return problem


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(hosts="…", main="…", files={"inventory/b.yml": "…"}) → the site's folder."""

    def _write(hosts: str = "", *, main: str = MAIN, files: dict[str, str | bytes] | None = None) -> Path:
        wanted: dict[str, str | bytes] = {"mainstay.yml": main, HOSTS: hosts, **(files or {})}
        for name, content in wanted.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return _write


@pytest.fixture
def read(write: Write) -> Read:
    def _read(*args: object, **kwargs: object) -> tuple[Site, list[Problem]]:
        site, problems = read_site(write(*args, **kwargs))
        assert site is not None, problems
        return site, problems

    return _read

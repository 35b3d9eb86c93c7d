"""What a site says of how it is served: the health endpoint, and how often hosts are looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstay.inventory.errors import Problem
from mainstay.inventory.site import Site

Read = Callable[..., tuple[Site, list[Problem]]]


def test_a_site_says_how_it_is_served(read: Read) -> None:
    site, problems = read(main="site: a\nserve: {health: '[::1]:9477'}\nobserve: daily\n")
    assert not problems
    assert site.health is not None and (site.health.host, site.health.port) == ("::1", 9477)
    assert site.observe == 86400.0
    assert read(main="site: a\nobserve: 2h 30m\n")[0].observe == 9000.0
    plain = read(main="site: a\n")[0]
    assert (plain.health, plain.observe) == (None, None)


@pytest.mark.parametrize(("address", "doubts"), [("0.0.0.0:9477", 1), ("10.0.0.1:9477", 1), ("127.0.0.1:9477", 0)])
def test_a_health_endpoint_for_everybody_is_a_warning(read: Read, address: str, doubts: int) -> None:
    site, problems = read("hosts: {a: }", main=f"site: a\nserve: {{health: '{address}'}}\n")
    assert not problems
    assert [problem.key for problem in site.warnings].count("serve.health") == doubts


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("serve: {health: localhost:80}", "serve.health", "no IP address and port"),
        ("serve: {health: 127.0.0.1}", "serve.health", "no IP address and port"),
        ("serve: {health: '127.0.0.1:70000'}", "serve.health", "no IP address and port"),
        ("serve: {health: '127.0.0:80'}", "serve.health", "no IP address and port"),
        ("serve: {health: '::1:80'}", "serve.health", "no IP address and port"),
        ("serve: {health: '[127.0.0.1]:80'}", "serve.health", "no IP address and port"),
        ("serve: {port: 80}", "serve.port", "unknown key"),
        ("serve: daily", "serve", "a mapping"),
        ("observe: always", "observe", "no duration"),
        ("observe: 5m", "observe", "at least 10m"),
        ("observe: 86400", "observe", "no unit"),
        ("observe: [daily]", "observe", "no duration"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(read: Read, line: str, key: str, words: str) -> None:
    _, problems = read(main=f"site: a\n{line}\n")
    (problem,) = problems
    assert (problem.key, problem.line) == (key, 2) and words in f"{problem.message} {problem.hint}"

"""What every source of hosts keeps to. A new source joins by one line in SOURCES."""

from collections.abc import Callable

import pytest

from mainstay.inventory.document import parse_document
from mainstay.inventory.names import address_of, check_name
from mainstay.inventory.sources.contract import Source
from mainstay.inventory.sources.site_yaml import SiteYaml

GOOD = b"""
hosts:
  web1: {address: 10.0.0.1, tags: {role: web}, groups: [g], port: 2222, become: {password: "env:PW"}}
  web2: {}
groups:
  g: {user: ops, hosts: [web2]}
"""
BAD = b"""
hosts:
  "-oProxyCommand=x": {}
  web1: {address: "$(id)"}
  web2: {password: hunter2}
  good: {}
groups:
  "a;b": {}
  broken: {users: x}
sources: [{nothing: x}]
"""

SOURCES: dict[str, Callable[[bytes], Source]] = {
    "site YAML": lambda content: SiteYaml(parse_document(content, "inventory/hosts.yml")),
}


@pytest.fixture(params=sorted(SOURCES))
def make(request: pytest.FixtureRequest) -> Callable[[bytes], Source]:
    return SOURCES[request.param]


def test_it_gives_hosts_and_groups_with_their_places(make: Callable[[bytes], Source]) -> None:
    records = make(GOOD).load()
    assert records.problems == ()
    assert [(host.name, host.address, host.groups) for host in records.hosts] == [
        ("web1", "10.0.0.1", ("g",)),
        ("web2", "web2", ()),
    ]
    assert records.hosts[0].settings.said() == {"port": 2222, "become": {"password": "env:PW"}}
    assert [(group.name, group.hosts, group.settings.said()) for group in records.groups] == [
        ("g", ("web2",), {"user": "ops"})
    ]
    for spot in [host.spot for host in records.hosts] + [group.spot for group in records.groups]:
        assert spot.source.partition(":")[2].isdigit()


def test_what_is_wrong_is_a_problem_with_its_place_and_the_rest_is_given(make: Callable[[bytes], Source]) -> None:
    records = make(BAD).load()
    assert [host.name for host in records.hosts] == ["good"]
    assert records.groups == ()
    assert records.unread == {"-oProxyCommand=x", "web1", "web2", "a;b", "broken"}
    assert all(problem.file and problem.line and problem.key for problem in records.problems)
    assert len(records.problems) == 6
    assert "hunter2" not in str(records.problems)


def test_what_it_gives_is_checked(make: Callable[[bytes], Source]) -> None:
    for host in make(GOOD).load().hosts:
        check_name(host.name)
        assert address_of(host.address)[0] == host.address


def test_it_says_its_name_and_can_be_asked_twice(make: Callable[[bytes], Source]) -> None:
    source = make(BAD)
    assert source.name
    assert source.load() == source.load()

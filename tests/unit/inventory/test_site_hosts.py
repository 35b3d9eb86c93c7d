"""The hosts of a site: what they may be called, where they are, who they are."""

from __future__ import annotations

import pytest
from tests.unit.inventory.conftest import HOSTS, Read, one


def test_a_cycle_of_jump_hosts_is_told_at_each_of_them(read: Read) -> None:
    _, problems = read("hosts:\n  a: {jump: b}\n  b: {jump: a}\n  c: {jump: a}\n")
    assert [(p.line, p.key) for p in problems] == [(2, "hosts.a.jump"), (3, "hosts.b.jump")]
    assert "a → b → a" in problems[0].message


def test_a_jump_host_for_a_whole_site_is_reached_directly_itself(read: Read) -> None:
    site, problems = read("hosts: {bastion: , w: , near: {jump: none}}", main="site: a\nssh: {jump: bastion}\n")
    assert not problems
    assert [host.ssh.jump for host in site.hosts] == [None, None, "bastion"]


def test_an_option_as_a_host_is_refused(read: Read) -> None:
    _, problems = read('hosts:\n  "-oProxyCommand=touch X": {}\n  web1: {address: "-oProxyCommand=touch X"}\n')
    assert [(p.file, p.line, p.key) for p in problems] == [
        (HOSTS, 2, "hosts.-oProxyCommand=touch X"),
        (HOSTS, 3, "hosts.web1.address"),
    ]


@pytest.mark.parametrize("address", ["a;b", "a\\nb", "$(id)", "a\\0b", "../x", "a b"])
def test_shell_text_and_control_characters_in_a_host_are_refused(read: Read, address: str) -> None:
    _, problems = read(f'hosts:\n  web1: {{address: "{address}"}}\n  "{address}": {{}}\n')
    assert [(p.file, p.line) for p in problems] == [(HOSTS, 2), (HOSTS, 3)]
    assert all(str(problem).isprintable() for problem in problems)


def test_a_path_as_the_name_of_a_host_is_refused(read: Read) -> None:
    problem = one(read("hosts:\n  ../../etc/web1: {address: 10.0.0.1}\n")[1])
    assert (problem.file, problem.line) == (HOSTS, 2)
    assert "no name of a host" in problem.message


def test_an_international_address_is_shown_as_punycode_and_a_mixed_one_refused(read: Read) -> None:
    site, problems = read(
        'hosts:\n  a: {address: bücher.example}\n  b: {address: \u0440aypal.example}\n  c: {address: "web\u202e1"}\n  d\u0430: {}\n'
    )
    assert [(p.line, p.key) for p in problems] == [(3, "hosts.b.address"), (4, "hosts.c.address"), (5, "hosts.d\u0430")]
    assert site.hosts[0].address == "xn--bcher-kva.example"
    note = one(site.warnings)
    assert (note.line, note.key) == (2, "hosts.a.address")
    assert '"bücher.example" is dialled as xn--bcher-kva.example' in note.message


def test_two_names_for_one_address_are_warned_about_and_known(read: Read) -> None:
    site, problems = read(
        "hosts:\n  a: {address: 10.0.0.1}\n  b: {address: 10.0.0.1}\n  c: {address: 10.0.0.1, port: 23}\n"
        "  j: {address: 10.0.0.9}\n  k: {address: 10.0.0.1, jump: j}\n"
        "  v6: {address: '2001:db8::1'}\n  v6b: {address: '2001:DB8:0::1'}\n"
    )
    assert not problems
    assert [(w.file, w.line, w.key) for w in site.warnings] == [(HOSTS, 3, "hosts.b"), (HOSTS, 8, "hosts.v6b")]
    assert "same address as a (10.0.0.1)" in site.warnings[0].message
    assert site.warnings[0].hint == "They are never worked on side by side."
    same = {host.name: site.inventory.same_machine(host) for host in site.hosts}
    assert same == {"a": ("b",), "b": ("a",), "c": (), "j": (), "k": (), "v6": ("v6b",), "v6b": ("v6",)}


def test_a_host_declared_twice_names_both_places(read: Read) -> None:
    _, problems = read("hosts:\n  web1: {}\n", files={"inventory/more.yml": "hosts:\n\n  web1: {}\n  WEB1: {}\n"})
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("inventory/more.yml", 3, "hosts.web1"),
        ("inventory/more.yml", 4, "hosts.WEB1"),
    ]
    assert "first in inventory/hosts.yml:2" in problems[0].message
    assert "by case" in problems[1].message


def test_the_controller_is_known_by_its_own_address_and_the_usual_port(read: Read) -> None:
    site, problems = read(
        "hosts:\n  a: {address: 127.0.0.1}\n  b: {address: 127.0.0.1, port: 2222}\n"
        "  c: {address: 192.0.2.7}\n  d: {address: '::1'}\n"
        "  e: {address: localhost, controller: false}\n"
        "  f: {address: 192.0.2.8, controller: true}\n  g: {address: 127.0.0.1, jump: c}\n"
        "  h: {address: 224.0.0.1}\n  i: {address: 0.0.0.0}\n"
    )
    assert not problems
    assert [host.name for host in site.hosts if host.controller] == ["a", "d", "f"]

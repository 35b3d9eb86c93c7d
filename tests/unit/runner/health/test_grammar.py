"""What a health check or hook may say; a slip is an error of the site, with words that help."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mainstay.runner.health import grammar
from mainstay.runner.plan import Check, Hook


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("5432", "10.0.0.1", ("10.0.0.1", 5432)),
        ("5432", "2001:db8::1", ("2001:db8::1", 5432)),
        ("{address}:80", "10.0.0.1", ("10.0.0.1", 80)),
        ("{address}:80", "2001:db8::1", ("2001:db8::1", 80)),
        ("[2001:db8::2]:80", "10.0.0.1", ("2001:db8::2", 80)),
        ("{name}.example.org:80", "10.0.0.1", ("web1.example.org", 80)),
        ("localhost:65535", "10.0.0.1", ("localhost", 65535)),
    ],
)
def test_where_a_tcp_check_connects(text: str, address: str, expected: tuple[str, int]) -> None:
    assert grammar.tcp(text, address=address, name="web1") == expected


@pytest.mark.parametrize(
    ("url", "address", "host", "port", "target", "authority"),
    [
        ("http://{address}/healthz", "10.0.0.1", "10.0.0.1", 80, "/healthz", "10.0.0.1"),
        ("http://{address}:8080", "2001:db8::1", "2001:db8::1", 8080, "/", "[2001:db8::1]:8080"),
        ("https://{name}.example.org/a?b=c#d", "10.0.0.1", "web1.example.org", 443, "/a?b=c", "web1.example.org"),
    ],
)
def test_what_an_http_check_asks(url: str, address: str, host: str, port: int, target: str, authority: str) -> None:
    asked = grammar.http(url, address=address, name="web1")

    assert (asked.host, asked.port, asked.target, asked.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ({"tcp": "{adress}:80"}, "{adress} is not known; {address} and {name} are"),
        ({"tcp": "0"}, "none from 1 to 65535"),
        ({"tcp": "65536"}, "none from 1 to 65535"),
        ({"tcp": "db"}, "has no port"),
        ({"tcp": "db:"}, "none from 1 to 65535"),
        ({"tcp": "db:80a"}, "none from 1 to 65535"),
        ({"tcp": "2001:db8::1:80"}, "stands in brackets"),
        ({"tcp": "{address:80"}, "a brace without its partner"),
        ({"tcp": "a b:80"}, "names no host"),
        ({"tcp": -1}, "has no port"),
        ({"http": "ftp://x/"}, "neither http:// nor https://"),
        ({"http": "{address}/healthz"}, "neither http:// nor https://"),
        ({"http": "http:///healthz"}, "names no host"),
        ({"http": "http://x:99999/"}, "none from 1 to 65535"),
        ({"http": "http://x:0/"}, "none from 1 to 65535"),
        ({"http": "http://x:/"}, "a colon and no port"),
        ({"http": "http://me:secret@x/"}, "holds a login"),
        ({"http": "http://x/a b"}, "blanks"),
        ({"http": "http://x/\r\nHost: y"}, "blanks, control"),
        ({"http": "http://müsli/"}, "non-ASCII"),
        ({"http": "http://x/{path}"}, "{path} is not known"),
        ({"http": "http://x/", "expect": 99}, "no HTTP status"),
        ({"http": "http://x/", "contains": ""}, "in every answer"),
        ({"tcp": "80", "expect": 200}, "belong to an http check"),
        ({"service": "nginx; rm -rf /"}, "no name of a unit"),
        ({"service": ""}, "no name of a unit"),
        ({"service": "-x"}, "no name of a unit"),
        ({"service": "nginx", "user": "root"}, "user belongs to a command check"),
        ({"command": ""}, "command: there is none"),
        ({"command": "true", "user": "a b"}, "no name of a login"),
        ({"command": "true", "timeout": "0s"}, "without time"),
        ({"service": "nginx", "tcp": "80"}, "exactly one of"),
        ({}, "exactly one of"),
    ],
)
def test_a_slip_in_a_check_is_an_error_of_the_site(check: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Check.model_validate(check)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "check",
    [
        {"service": "nginx"},
        {"service": "getty@tty1.service"},
        {"service": "dev-disk-by\\x2duuid.mount"},
        {"tcp": 22},
        {"http": "https://[2001:db8::1]:8443/x", "expect": 204, "contains": "well"},
        {"command": "/usr/local/bin/smoke --fast 'two words'", "user": "www-data"},
    ],
)
def test_what_is_right_passes_and_stays_as_it_is(check: dict[str, object]) -> None:
    once = Check.model_validate(check)

    assert Check.from_json(once.to_json()) == once


@pytest.mark.parametrize(
    ("name", "unit"),
    [("nginx", "nginx.service"), ("a.socket", "a.socket"), ("php8.2-fpm", "php8.2-fpm.service")],
)
def test_a_service_is_named_in_full(name: str, unit: str) -> None:
    assert grammar.service(name) == unit


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ({"command": ""}, "command: there is none"),
        ({"controller": []}, "controller: there is none"),
        ({"controller": "x", "user": "root"}, "runs on the host"),
        ({"command": "x", "user": "-u"}, "no name of a login"),
        ({"command": "x", "timeout": "0s"}, "without time"),
        ({"command": "x", "playbook": "y"}, "exactly one of"),
    ],
)
def test_a_slip_in_a_hook_is_an_error_of_the_site(hook: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Hook.model_validate(hook)

    assert words in str(caught.value)

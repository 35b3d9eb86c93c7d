"""How a restic process is told where to go: nothing secret, and no address, among its arguments."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access, Kind
from mainstay.recovery.restic.environment import (
    _LINE_BREAK,
    Impossible,
    check_ids,
    copying,
    environment,
    limits,
    location,
    options,
    pattern,
    patterns,
)


def access(kind: Kind, url: str, **more: Any) -> Access:
    return Access("vault", "web1", url, Secret("repo-canary"), "write", kind, **more)


REST = access("rest", "rest:https://backup/web1/", user="web1", secret=Secret("rest-canary"), upload=500)
S3 = access(
    "s3", "s3:https://store/bucket/web1", user="AKIA", secret=Secret("s3-canary"), region="eu-central-1", upload=200
)
SFTP = access("sftp", "sftp:vault@store:/srv", key="/site/keys/id %h", known_hosts="/site/known hosts")
PLAIN = access("path", "/srv/backup: old/x")


def test_each_kind_gets_its_credentials_and_no_other() -> None:
    assert environment(REST) == {
        "RESTIC_REPOSITORY": "rest:https://backup/web1/",
        "RESTIC_PASSWORD": "repo-canary",
        "RESTIC_REST_USERNAME": "web1",
        "RESTIC_REST_PASSWORD": "rest-canary",
    }
    assert environment(S3) == {
        "RESTIC_REPOSITORY": "s3:https://store/bucket/web1",
        "RESTIC_PASSWORD": "repo-canary",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "s3-canary",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    assert set(environment(PLAIN)) == set(environment(SFTP)) == {"RESTIC_REPOSITORY", "RESTIC_PASSWORD"}


def test_a_folder_is_never_taken_for_another_kind() -> None:
    assert location(PLAIN) == "local:/srv/backup: old/x"


def test_arguments_hold_no_secret_and_no_address() -> None:
    for one in (REST, S3, SFTP, PLAIN):
        words = " ".join([*options(one), *limits(one)])
        assert "canary" not in words and one.url not in words


def test_ssh_asks_nothing_and_knows_pinned_keys_alone() -> None:
    (dash, option) = options(SFTP)
    words = _split(option.removeprefix("sftp.args="))

    assert dash == "-o"
    assert words[:4] == ["-F", "none", "-i", "/site/keys/id %%h"]
    for wanted in ("StrictHostKeyChecking=yes", "BatchMode=yes", "GlobalKnownHostsFile=/dev/null", "ForwardAgent=no"):
        assert wanted in words


def test_ssh_reads_the_file_that_was_meant() -> None:
    words = _split(options(SFTP)[1].removeprefix("sftp.args="))
    said = subprocess.run(["ssh", "-G", *words, "store"], capture_output=True, text=True, check=True).stdout

    assert 'userknownhostsfile "/site/known hosts"' in said or "userknownhostsfile /site/known hosts" in said


@pytest.mark.parametrize("path", ['/a"b', "/a'b", "/a\\b", "/a${HOME}", "/a\nb"])
def test_a_file_that_ssh_can_not_be_given_is_refused(path: str) -> None:
    with pytest.raises(Impossible):
        options(access("sftp", "sftp:v@store:/srv", known_hosts=path))


def test_the_lower_limit_holds_for_a_copy() -> None:
    assert limits(REST, S3) == ["--limit-upload", "200"]
    assert limits(PLAIN) == []


def test_a_copy_between_different_kinds_has_both_credentials_and_one_between_two_users_is_refused() -> None:
    told = copying(REST, S3)

    assert told["RESTIC_FROM_REPOSITORY"] == REST.url and told["RESTIC_REPOSITORY"] == S3.url
    assert (told["RESTIC_REST_PASSWORD"], told["AWS_SECRET_ACCESS_KEY"]) == ("rest-canary", "s3-canary")
    assert told["RESTIC_FROM_PASSWORD"] == "repo-canary"
    other = access("rest", "rest:https://other/", user="web1", secret=Secret("another-canary"))
    with pytest.raises(Impossible, match="different users"):
        copying(REST, other)
    with pytest.raises(Impossible, match="different keys"):
        copying(S3, access("s3", "s3:https://other/b", user="AKIB", secret=Secret("s3-canary")))
    assert copying(S3, S3)


@pytest.mark.parametrize(("path", "matching"), [("/a b", "/a b"), ("/[x]*?\\", r"/\[x\]\*\?\\"), ("/$(id)", "/$(id)")])
def test_a_path_is_a_pattern_of_itself_alone(path: str, matching: str) -> None:
    assert pattern(path) == matching


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/a b*", r"/a b\*"),
        ("/$HOME/$", "/$$HOME/$$"),
        ("/end ", "/end[ ]"),
        ("/end\t", "/end[\t]"),
        ("/end\\", r"/end\\"),
        ("/end\u2028", "/end[\u2028]"),
        ("/a\nb\n", f"/a{_LINE_BREAK}b{_LINE_BREAK}"),
        ("/a\rb\v\u0085c", "/a\rb\v\u0085c"),
    ],
)
def test_a_path_is_one_line_of_a_file_of_patterns(path: str, line: str) -> None:
    """That restic reads these lines so is held to in tests/unit/recovery/proving/test_samples.py."""
    assert patterns([path, "/b"]) == [line, "/b"]


@pytest.mark.parametrize(
    "id", ["latest", "9f2b04b2", "", "0" * 63, "0" * 65, "G" * 64, "../../../config", "0" * 64 + "\n"]
)
def test_ids_are_whole(id: str) -> None:
    check_ids(["0" * 64])
    with pytest.raises(ValueError, match="no full id"):
        check_ids(["0" * 64, id])


def _split(text: str) -> list[str]:
    """As restic does: quotes around words, nothing escaped."""
    words: list[str] = []
    word = quote = ""
    for letter in text:
        if quote:
            quote, word = ("", word) if letter == quote else (quote, word + letter)
        elif letter in "'\"":
            quote = letter
        elif letter == " ":
            words, word = [*words, word], ""
        else:
            word += letter
    return [*words, word]

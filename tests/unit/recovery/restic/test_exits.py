"""What an exit status means, by version; and which version is taken."""

from __future__ import annotations

import pytest

from mainstay.recovery.restic.exits import Meaning, meaning
from mainstay.recovery.restic.version import parse_version, refuse_old

V14, V17, V171, V18, V19 = (0, 14, 0), (0, 17, 0), (0, 17, 1), (0, 18, 0), (0, 19, 1)


@pytest.mark.parametrize(
    ("status", "command", "by_version"),
    [
        (0, "backup", {V14: "done", V19: "done"}),
        (1, "backup", {V14: "failed", V19: "failed"}),
        (2, "backup", {V18: "failed", V19: "failed"}),  # Go's own, after a panic
        (3, "backup", {V14: "partial", V18: "partial", V19: "partial"}),
        (3, "forget", {V18: "failed", V19: "partial"}),
        (3, "check", {V19: "failed"}),
        (10, "backup", {V14: "failed", V17: "no-repository", V19: "no-repository"}),
        (11, "prune", {V14: "failed", V17: "locked", V19: "locked"}),
        (12, "backup", {V14: "failed", V17: "failed", V171: "wrong-password", V19: "wrong-password"}),
        (130, "backup", {V18: "interrupted", V19: "interrupted"}),
        (143, "backup", {V18: "interrupted"}),
        (-9, "backup", {V18: "interrupted"}),
        (-15, "check", {V19: "interrupted"}),
        (137, "backup", {V19: "interrupted"}),
        (139, "backup", {V19: "failed"}),  # it crashed
        (-11, "backup", {V19: "failed"}),
        (13, "backup", {V19: "failed"}),
        (255, "backup", {V19: "failed"}),
        (127, "backup", {V19: "failed"}),
    ],
)
def test_meaning(status: int, command: str, by_version: dict[tuple[int, int, int], Meaning]) -> None:
    assert {version: meaning(status, version, command) for version in by_version} == by_version


@pytest.mark.parametrize("status", [*range(1, 256), *range(-31, 0)])
def test_nothing_but_zero_is_done_and_what_is_not_known_has_failed(status: int) -> None:
    known = {3, 10, 11, 12, 129, 130, 137, 141, 143, -1, -2, -9, -13, -15}

    assert meaning(status, V19) != "done"
    assert (meaning(status, V19) == "failed") == (status not in known)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("restic 0.18.0 compiled with go1.24.4 on linux/amd64\n", (0, 18, 0)),
        ("restic 0.19.1-dev (compiled manually) compiled with go1.26.4 on linux/amd64", (0, 19, 1)),
        ('{"message_type":"version","version":"0.19.1","go_version":"go1.26.4"}', (0, 19, 1)),
        ("0.17", (0, 17, 0)),
        ("restic: command not found", None),
        ("", None),
    ],
)
def test_version(said: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(said) == version


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("restic 0.14.0 compiled with go1.19.8 on linux/amd64", False),
        ("restic 0.17.0 compiled with go1.22 on linux/amd64", False),
        ("restic 0.17.1 compiled with go1.22 on linux/amd64", True),
        ("restic 0.19.1 compiled with go1.26 on linux/amd64", True),
        ("restic 1.0.0 compiled with go1.30 on linux/amd64", True),
        ("bash: restic: command not found", False),
    ],
)
def test_an_old_one_is_refused_by_its_version(said: str, taken: bool) -> None:
    why = refuse_old(said)

    assert (why is None) == taken
    if not taken:
        assert "0.17.1 or newer is needed" in str(why)

"""The one quoting, against real shells; and what is made fit for a sentence."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.runner.shell import quote as exported
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.quote import quote, with_env

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.thorough
@pytest.mark.parametrize("shell", [name for name in ("sh", "bash", "busybox", "zsh") if shutil.which(name)])
def test_every_argument_arrives_as_it_is(shell: str) -> None:
    @settings(deadline=None)  # starting a process takes as long as the machine lets it
    @given(st.lists(WORDS, min_size=1, max_size=4))
    def arrives(words: list[str]) -> None:
        argv = [shell, *(["sh"] if shell == "busybox" else []), "-c", quote(["printf", "%s\\0", *words])]
        assert subprocess.run(argv, capture_output=True, check=True).stdout == "".join(f"{w}\0" for w in words).encode()

    arrives()


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_what_can_not_be_an_argv_is_an_error(argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"program|NUL"):
        quote(argv)


def test_an_environment_can_not_smuggle_a_program() -> None:
    assert with_env({"A": "1 2"}, ["ls", "-l"]) == ["A=1 2", "ls", "-l"]
    for env, argv in (
        ({"A B": "1"}, ["ls"]),
        ({"A=B": "1"}, ["ls"]),
        ({"A": "\0"}, ["ls"]),
        ({}, ["LD_PRELOAD=x", "ls"]),
    ):
        with pytest.raises(ValueError, match="can't be"):
            with_env(env, argv)


def test_the_room_exports_the_one_function() -> None:
    assert exported is quote


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred\x1b[0m and\r\nmore\x00", "red and more"),
        (b"\x1b]0;title\x07x\xff", "x\ufffd"),
        ("\u202etxt.exe", "txt.exe"),
        (b"y" * 500, "y" * 299 + "…"),
    ],
)
def test_what_a_host_said_is_made_fit_for_a_sentence(said: bytes | str, shown: str) -> None:
    assert printable(said) == shown

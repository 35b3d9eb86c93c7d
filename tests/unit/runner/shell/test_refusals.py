"""Every word that a host may say no with becomes a sentence; what it may not say, too."""

from __future__ import annotations

import re

import pytest

from mainstay.runner.shell import hostlock, scripts
from mainstay.runner.shell.contract import Fence, FenceRefused, Output, ShellError
from mainstay.runner.shell.fake import FakeHost, FakeShells
from mainstay.runner.shell.refusals import refusal

WORDS = sorted(set(re.findall(r"\bno ([a-z]+)(?![a-z:])", scripts.FENCED + scripts.CHANGE_LOCK + scripts.PLAIN)))
OF_THE_FENCE = {"unowned", "owner", "old", "lock", "busy", "damaged"}


def test_the_words_are_those_of_the_scripts() -> None:
    assert set(WORDS) == OF_THE_FENCE | {"unwritable", "noflock", "nouser"}


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_a_sentence_that_names_the_host(word: str) -> None:
    error = refusal("web1", [word, "one", "two", "three"])
    assert isinstance(error, FenceRefused) is (word in OF_THE_FENCE)
    assert error.message.startswith("web1: ") and "known here" not in error.message
    assert refusal("web1", [word]).host == "web1"


@pytest.mark.parametrize("words", [[], [""], ["never heard"], ["\x1b[31mowner"]])
def test_anything_else_is_an_error_without_its_control_characters(words: list[str]) -> None:
    error = refusal("web1", words)
    assert "\x1b" not in error.message


@pytest.mark.parametrize("said", [b"", b"rubbish", b"mainstay-lock ok\n", b"mainstay-lock ok\na\tb\n"])
def test_a_lock_that_answers_rubbish_is_an_error(said: bytes) -> None:
    there = FakeHost("web1")
    shell = FakeShells([there]).open(there.host())
    shell.run = lambda command: Output(0, said, b"\x1b[31mbroken")  # type: ignore[method-assign]  # as a broken host would
    with pytest.raises(ShellError, match="could not be changed; it said: broken"):
        hostlock.release(shell, Fence(1, "s", "r"))


def test_words_that_would_break_the_hosts_files_are_refused_here() -> None:
    there = FakeHost("web1")
    with pytest.raises(ValueError, match="line"):
        hostlock.acquire(FakeShells([there]).open(there.host()), Fence(1, "s", "r\nstate=other"))
    assert there.contacts == 0


@pytest.mark.parametrize("number", ["9223372036854775807", "1" + "0" * 15, "9" * 5000, "-1", "٣"])
def test_a_host_cannot_drive_the_count_of_all_hosts_over_its_end(number: str) -> None:
    there = FakeHost("web1")
    shell = FakeShells([there]).open(there.host())
    shell.run = lambda command: Output(0, f"fence {number}\n".encode())  # type: ignore[method-assign]  # as it may lie
    assert hostlock.read(shell).fence == 0
    shell.run = lambda command: Output(0, f"mainstay-lock ok\n\t\t\t\t{number}\n".encode())  # type: ignore[method-assign]  # the same
    assert hostlock.acquire(shell, Fence(1, "s", "r")).fence == 0

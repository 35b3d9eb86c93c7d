"""The one place where an argv becomes shell text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def quote(argv: Iterable[str]) -> str:
    """One line of POSIX shell that runs exactly this argv. Raises ValueError for an empty argv and for NUL.

    Login shells that read it right: sh, dash, bash, ksh, zsh, busybox ash.
    """
    words = list(argv)
    if not words:
        raise ValueError("a command needs at least the name of a program")
    for word in words:
        if "\0" in word:
            raise ValueError(f"a NUL can't be part of an argument: {word!r}")
    return " ".join(shlex.quote(word) for word in words)


def assignments(env: Iterable[tuple[str, str]]) -> list[str]:
    """`NAME=value` words for env(1). Raises ValueError for a name that is none."""
    words = []
    for name, value in env:
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name!r} can't be the name of an environment variable")
        words.append(f"{name}={value}")
    return words

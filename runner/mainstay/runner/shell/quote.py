"""The one place where an argv becomes shell text."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence


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


def with_env(env: Mapping[str, str], argv: Sequence[str]) -> list[str]:
    """The words for env(1): `NAME=value…` and the program with its arguments. Raises ValueError for what can't be one."""
    quote(argv)
    if "=" in argv[0]:
        raise ValueError(f"{argv[0]!r} can't be the name of a program: env would take it for a variable")
    for name, value in env.items():
        if not (name.isidentifier() and name.isascii()) or "\0" in value:
            raise ValueError(f"{name!r} can't be the name of an environment variable, or its value holds a NUL")
    return [*(f"{name}={value}" for name, value in env.items()), *argv]

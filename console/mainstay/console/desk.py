"""The translation desk: every way a command can end → exit code, and words for people or for programs."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from mainstay.console import clean
from mainstay.console.screen import Screen
from mainstay.inventory.errors import ConfigError, MainstayError
from mainstay.inventory.redaction import redact

INTERRUPTED = 130
OPENINGS = frozenset(
    (
        "a",
        "all",
        "every",
        "it",
        "its",
        "no",
        "nobody",
        "none",
        "nothing",
        "point",
        "repository",
        "run",
        "that",
        "the",
        "there",
        "this",
    )
)
"""Words that begin a message and are no names."""


class Desk:
    """A context manager around one command line. `code` is what the process exits with."""

    def __init__(self, *, json: bool = False, debug: bool = False) -> None:
        self.code = 0
        self.debug = debug
        self._screen = Screen()
        self._screen.json = json

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Desk:
        """Reads the flags from the raw command line: it may be one that click can't parse."""
        own = list(arguments)
        if "--" in own:
            own = own[: own.index("--")]
        return cls(json="--json" in own, debug="--debug" in own)

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if isinstance(error, SystemExit):
            self.code = error.code if isinstance(error.code, int) else int(error.code is not None)
            return True
        if not isinstance(error, (Exception, KeyboardInterrupt)):
            return False
        if self.debug:
            self._screen.say(*redact(traceback.format_exc()).rstrip().split("\n"))
        self.code = self._report(error)
        return True

    def _report(self, error: BaseException) -> int:
        if isinstance(error, KeyboardInterrupt) or (
            isinstance(error, click.Abort) and isinstance(error.__cause__, KeyboardInterrupt)
        ):
            self._say("interrupted", "Interrupted.")
            return INTERRUPTED
        if isinstance(error, ConfigError):
            self._config(error)
            return error.exit_code
        if isinstance(error, MainstayError):
            self._say(error.kind, error.message, hint=error.hint)
            return error.exit_code
        if isinstance(error, click.ClickException):
            self._say("usage", error.format_message(), hint=_usage_hint(error))
            return 2
        if isinstance(error, click.Abort):
            self._say("usage", "A question was not answered. Nothing was changed.", hint="Say --yes beforehand.")
            return 2
        if isinstance(error, OSError) and error.strerror:
            place = "" if error.filename is None else f"{error.filename}: "  # a write that failed names no file
            self._say("file", f"{place}{error.strerror}.")
            return 1
        self._say(
            "internal",
            f"Something went wrong inside mainstay: {type(error).__name__}: {error}",
            hint="--debug shows where. Runs in flight on hosts are not touched by this: see mainstay runs.",
        )
        return 1

    def _config(self, error: ConfigError) -> None:
        if self._screen.json:
            first, every = error.problems[0], [_problem(problem.as_json()) for problem in error.problems]
            self._screen.data({"error": {"kind": error.kind, **_problem(first.as_json())}, "errors": every})
            return
        for problem in error.problems:
            self._screen.say(redact(str(problem)))
        count = len(error.problems)
        self._screen.say(f"{count} error{'' if count == 1 else 's'}")

    def _say(self, kind: str, message: str, *, hint: str | None = None) -> None:
        text = _fit(message).strip("\n")
        advice = _fit(hint) if hint else None
        if self._screen.json:
            place = {"file": None, "line": None, "key": None}
            self._screen.data({"error": {"kind": kind, "message": text, **place, "hint": advice}})
            return
        text = _sentence(text)
        self._screen.say(*(f"{text}\n{advice}" if advice and "\n" in text else _joined(text, advice)).split("\n"))


def _sentence(text: str) -> str:
    """Messages are clauses where others tell of them; a name or a path at their beginning stays as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0] in OPENINGS else text


def _joined(text: str, hint: str | None) -> str:
    if not hint:
        return text
    return f"{text if text.endswith(('.', '!', '?')) else text + '.'} {hint}"


def _problem(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: _fit(value) if isinstance(value, str) else value for key, value in fields.items()}


def _fit(text: str) -> str:
    """Without secrets and without what steers a terminal. Redacted twice: cleaning brings together what a hostile host
    has spread out with characters that nobody sees."""
    return redact(clean.block(redact(text)))


def _usage_hint(error: click.ClickException) -> str | None:
    if isinstance(error, click.UsageError) and error.ctx is not None and not isinstance(error, NoArgsIsHelpError):
        return f"See {error.ctx.command_path} --help."
    return None

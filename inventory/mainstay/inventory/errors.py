"""What can go wrong, in words that help: what, where, why it matters, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar


class MainstayError(Exception):
    """Root of every error that mainstay raises on purpose. `message` and `hint` never hold a secret.

    `kind` is the stable word that `--json` prints; `exit_code` is part of the command line's contract.
    """

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MainstayError):
    """The command or what it names is wrong; nothing was touched."""

    kind = "usage"
    exit_code = 2


class Refused(MainstayError):
    """Policy said no; nothing was touched."""

    kind = "refused"
    exit_code = 4


class WrongValue(ValueError):
    """A value that a site can't hold. Raised by grammars and validators; its place is added by who knows it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a site. `file` is relative to the site; line and column count from 1; `key` is dotted."""

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    key: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = f"{place}  " if place else ""
        text += f"{self.key}: {self.message}" if self.key else self.message
        return f"{text} {self.hint}" if self.hint else text

    def as_json(self) -> dict[str, str | int | None]:
        return asdict(self)


class ConfigError(UsageError):
    """The site is not right. Carries every problem found, not the first alone."""

    kind = "config"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "a ConfigError names at least one problem"
        super().__init__("\n".join(str(problem) for problem in self.problems))

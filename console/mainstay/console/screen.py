"""Where output goes: answers and JSON to stdout, everything else to stderr. Knows what kind of terminal there is, if any."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mainstay.console import clean
from mainstay.inventory.errors import UsageError

if TYPE_CHECKING:
    from mainstay.console.render.spans import Line

NARROWEST, WIDEST = 80, 120


class Screen:
    """What one command line was told about its output, and the only way to write some."""

    def __init__(self) -> None:
        self.site_dir: Path | None = None
        self.json = False
        self.no_input = False
        self.yes = False
        self.debug = False
        self.log_level: str | None = None
        self.log_format: str | None = None

    def show(self, data: Callable[[], Any], lines: Callable[[], Iterable[Line]]) -> None:
        """The verb's answer, once: as JSON or as text. Only the one that is wanted is made."""
        if self.json:
            self.data(data())
        else:
            self.answer(lines())

    def data(self, value: Any) -> None:
        """One JSON document, indented, to stdout."""
        import json

        self._write(sys.stdout, clean.json_text(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")

    def answer(self, lines: Iterable[Line]) -> None:
        """Text that was asked for: stdout, or stderr where stdout holds JSON."""
        self._styled(sys.stderr if self.json else sys.stdout, lines)

    def say(self, *lines: Line | str) -> None:
        """What is said beside the answer: stderr."""
        from mainstay.console.render.spans import span

        self._styled(sys.stderr, [(span(row),) if isinstance(row, str) else row for row in lines])

    def raw(self, text: str) -> None:
        """Text that is a file's content (a script, CSV): stdout, as it is."""
        self._write(sys.stdout, text)

    def confirm(self, question: str) -> bool:
        """Ask. --yes answers it; with --no-input, or when nobody is there to answer, it is a usage error."""
        if self.yes:
            return True
        hint = "Say --yes to answer it beforehand."
        if self.no_input:
            raise UsageError(f'"{question}" was not answered, because of --no-input. Nothing was changed.', hint=hint)
        self._write(sys.stderr, f"{question} [y/N] ")
        reply = sys.stdin.readline() if sys.stdin else ""
        if not reply:
            self._write(sys.stderr, "\n")
            raise UsageError(f'"{question}" was not answered. Nothing was changed.', hint=hint)
        return reply.strip().lower() in ("y", "yes")

    @property
    def columns(self) -> int:
        wide = shutil.get_terminal_size((100, 24)).columns
        return max(NARROWEST, min(WIDEST, wide))

    @property
    def live(self) -> bool:
        """Whether a table may be drawn over itself on stderr."""
        return _terminal(sys.stderr) and shutil.get_terminal_size((100, 24)).columns >= NARROWEST

    def colour(self, stream: TextIO) -> bool:
        return _terminal(stream) and not os.environ.get("NO_COLOR")

    def _styled(self, stream: TextIO, lines: Iterable[Line]) -> None:
        from mainstay.console.render.spans import ansi, plain

        self._write(stream, ansi(lines) if self.colour(stream) else plain(lines))

    def _write(self, stream: TextIO, text: str) -> None:
        # Whoever reads may go away (`| head`); a run that is being watched goes on all the same.
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                coding = stream.encoding or "ascii"
                stream.write(text.encode(coding, "replace").decode(coding))
            stream.flush()
        except (BrokenPipeError, ValueError):
            _to_nowhere(stream)


def _terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _to_nowhere(stream: TextIO) -> None:
    # So that the interpreter's own flush at its end does not complain either.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
